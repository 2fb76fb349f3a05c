"""The checker finds every kind of violation in a history that has it, and none in one that has none."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest

from tests.chaos.checker import check
from tests.chaos.history import Event, History, Kind, read_history
from tests.chaos.load import SWITCHED_SLOT
from tests.chaos.observed import JobFact, Observation

JOB = JobFact(
    job_id="job-1",
    slot_id="slot-002",
    slot_version=2,
    content_hash="hash-1",
    idempotency_key=None,
    state="completed",
    failure_reason=None,
    fence=1,
    attempts=1,
    created_at=10.1,
    deadline=30.0,
    finalized_at=11.0,
    source="provider",
    result_sha256="picture-1",
)
PICTURE: Final[dict[str, Any]] = {"picture_sha256": "picture-1", "shows_photo": 1, "shows_call": 7}
GIVEN: Final[dict[str, Any]] = {
    "status": 200,
    "took_sec": 1.0,
    "job_id": "job-1",
    "source": "provider",
    **PICTURE,
}
REFUSED: Final[dict[str, Any]] = {
    "status": 504,
    "took_sec": 20.0,
    "code": "timeout",
    "job_id": "job-1",
    "failure_reason": "timeout",
}


def operation(
    number: int, at: float, until: float | None, what: str, kind: Kind = Kind.OK, **facts: Any
) -> list[Event]:
    """Return an operation of a client: what was asked, and what came of it, unless nothing ever did."""
    who = "auditor" if what == "audit" else "a client"
    what = "result" if what == "audit" else what
    asked = {name: value for name, value in facts.items() if name in _ASKED}
    begun = Event(at=at, who=who, what=what, kind=Kind.INVOKE, operation=number, facts=asked)
    if until is None:
        return [begun]
    return [begun, replace(begun, at=until, kind=kind, facts=facts)]


_ASKED = {"photo", "sha256", "slot_id", "key", "server"}


def photo(number: int, at: float, until: float | None, kind: Kind = Kind.OK, **facts: Any) -> list[Event]:
    """Return the sending of the photo of `JOB`, unless `facts` say that it was another one."""
    sent = {"photo": 1, "sha256": "hash-1", "slot_id": "slot-002", "key": None, "server": "serve-0.1"}
    return operation(number, at, until, "photo", kind, **{**sent, **facts})


def call(at: float, number: int = 7, by: str = "worker-0.1", answer: str = "ok") -> Event:
    """Return a call of the provider with the photo of `JOB`."""
    return told(at, "provider", "call", photo=1, call=number, by=by, answer=answer)


def told(at: float, who: str, what: str, **facts: Any) -> Event:
    """Return an event that is no operation."""
    return Event(at=at, who=who, what=what, kind=Kind.INFO, operation=0, facts=facts)


def fault(number: int, at: float, until: float, what: str, **facts: Any) -> list[Event]:
    """Return a fault that was injected."""
    begun = Event(at=at, who="nemesis", what=what, kind=Kind.INVOKE, operation=number, facts=facts)
    return [begun, replace(begun, at=until, kind=Kind.OK)]


START = [
    *(told(1.0, who, "ready", after_sec=1.0) for who in ("serve-0.1", "worker-0.1", "worker-1.1")),
    told(5.0, "serve-0.1", "sample", rss_mb=100.0, fds=40),
    told(6.0, "watch", "temporary", overdue_sec=3.0, file="payload x"),
]
AUDITED = operation(90, 60.0, 60.1, "audit", status=200, job_id="job-1", server="serve-0.1", **PICTURE)
GOOD = Observation(
    events=[*START, *photo(1, 10.0, 11.1, **GIVEN), call(10.5), *AUDITED],
    jobs=[JOB],
    statistics={"completed": 1, "cancelled": 0},
    end_statuses={"serve-0.1": 0},
    log_lines=9,
)


def broken(observation: Observation) -> Mapping[str, Sequence[str]]:
    """Return what was found, by invariant."""
    return {verdict.invariant: verdict.violations for verdict in check(observation) if verdict.violations}


def of(*events: Event, jobs: Sequence[JobFact] = (JOB,), **more: Any) -> Observation:
    """Return an observation of these events, whose statistics agree with the jobs."""
    states = {job.state: sum(other.state == job.state for other in jobs) for job in jobs if job.finalized_at}
    given = {"events": [*START, *events], "jobs": jobs, "statistics": states, **more}
    return replace(GOOD, **given)


def test_a_good_run_is_found_good_and_was_looked_at() -> None:
    assert broken(GOOD) == {}
    looked_at = {verdict.invariant: verdict.checked for verdict in check(GOOD)}
    idle = {name for name, count in looked_at.items() if not count}
    assert idle == {
        "no 504 comes early",
        "every refusal has a cause",
        "processes end when asked to, and only then",
        "memory and descriptors stay flat",
    } - {"processes end when asked to, and only then"}


FINAL = "every job is final by its deadline + 5 s"
TOLD = "what clients were told is what became of the job"
ANSWERED = "everybody whose server lived was answered"
IN_TIME = "held requests are answered by their deadline + 250 ms"
EARLY = "no 504 comes early"
CAUSE = "every refusal has a cause"
STORED = "a picture given is the stored one, of the right photo, to the end"
ONE_PICTURE = "no job delivers two different pictures"
CALLS = "every repeated call of the provider has a cause"
ONE_JOB = "one key is one job, and so are twins"
TEMPORARY = "no temporary file outlives its time by a minute"
VERIFY = "verify finds nothing, and nothing is left"
COUNTERS = "history, jobs, statistics and audit log add up"
LOGS = "no unforeseen error and no secret in a log"
PROCESSES = "processes end when asked to, and only then"
FLAT = "memory and descriptors stay flat"

SENT = photo(1, 10.0, 11.1, **GIVEN)
UNFINISHED = replace(JOB, state="processing", finalized_at=None, source=None, result_sha256=None)
LATE = replace(JOB, state="failed_timeout", finalized_at=35.2, source=None, result_sha256=None)
TIMED_OUT = replace(LATE, finalized_at=30.0)
OTHER = replace(
    JOB, job_id="job-2", created_at=13.0, deadline=33.0, finalized_at=14.0, result_sha256="picture-2"
)
CANCELLED = replace(TIMED_OUT, state="cancelled", failure_reason="cancelled", finalized_at=12.0)
KILLED = fault(50, 10.7, 10.7, "kill", target="worker-0.1", phase="ready")
STARVED = told(14.0, "worker-0.1", "starved", since=10.6, for_sec=3.0)
HALTED = fault(50, 10.7, 14.0, "stop", target="worker-0.1")
DOWN = fault(50, 29.0, 36.0, "postgres", mode="fast")
BEFORE = fault(50, 8.0, 10.0, "postgres", mode="fast")


@pytest.mark.parametrize(
    ("invariant", "observation"),
    [
        (
            FINAL,
            of(
                *photo(1, 10.0, 11.1, Kind.UNKNOWN, reason="hung up"),
                call(10.5),
                told(99.0, "x", "over"),
                jobs=[UNFINISHED],
            ),
        ),
        (
            FINAL,
            of(
                *photo(1, 10.0, 11.1, Kind.UNKNOWN, reason="hung up"),
                call(10.5),
                told(99.0, "x", "over"),
                jobs=[LATE],
            ),
        ),
        (TOLD, of(*photo(1, 10.0, 11.1, **{**GIVEN, "job_id": "job-9"}), call(10.5), *AUDITED)),
        (TOLD, of(*photo(1, 10.0, 11.1, **{**GIVEN, "source": "original"}), call(10.5), *AUDITED)),
        (TOLD, of(*photo(1, 10.0, 31.0, Kind.FAIL, **REFUSED), call(10.5), *KILLED, *AUDITED)),
        (
            TOLD,
            of(
                *photo(1, 10.0, 11.1, **{**GIVEN, "sha256": "hash-2", "photo": 2}),
                *SENT,
                call(10.5),
                *AUDITED,
            ),
        ),
        (ANSWERED, of(*SENT, *photo(2, 12.0, 13.0, Kind.UNKNOWN, reason="cut"), call(10.5), *AUDITED)),
        (ANSWERED, of(*SENT, *photo(2, 12.0, 13.0, Kind.FAIL, reason="refused"), call(10.5), *AUDITED)),
        (ANSWERED, of(*SENT, *photo(2, 12.0, 52.0, Kind.UNKNOWN, reason="no answer"), call(10.5), *AUDITED)),
        (ANSWERED, of(*SENT, *photo(2, 12.0, None), call(10.5), *AUDITED)),
        (IN_TIME, of(*photo(1, 10.0, 31.0, **{**GIVEN, "took_sec": 20.3}), call(10.5), *AUDITED)),
        (
            IN_TIME,
            of(
                *photo(1, 10.0, 33.0, **{**GIVEN, "took_sec": 22.9}),
                call(10.5),
                *AUDITED,
                *fault(3, 9.0, 10.5, "stop", target="serve-0.1"),
            ),
        ),
        (
            EARLY,
            of(
                *photo(1, 10.0, 29.9, Kind.FAIL, **{**REFUSED, "took_sec": 19.9}),
                call(10.5),
                *KILLED,
                jobs=[TIMED_OUT],
            ),
        ),
        (CAUSE, of(*photo(1, 10.0, 30.0, Kind.FAIL, **REFUSED), call(10.5), jobs=[TIMED_OUT])),
        (
            CAUSE,
            of(
                *SENT,
                *photo(2, 12.0, 13.0, Kind.FAIL, status=500, took_sec=1.0, code="internal_error"),
                call(10.5),
                *KILLED,
                *AUDITED,
            ),
        ),
        (
            CAUSE,
            of(
                *SENT,
                *photo(2, 12.0, 13.0, Kind.FAIL, status=503, took_sec=1.0, code="database_unavailable"),
                call(10.5),
                *KILLED,
                *AUDITED,
            ),
        ),
        (STORED, of(*photo(1, 10.0, 11.1, **{**GIVEN, "picture_sha256": "picture-2"}), call(10.5), *AUDITED)),
        (STORED, of(*photo(1, 10.0, 11.1, **{**GIVEN, "shows_photo": 2}), call(10.5), *AUDITED)),
        (STORED, of(*SENT, call(10.5))),
        (
            ONE_PICTURE,
            of(
                *SENT,
                *photo(2, 12.0, 12.1, **{**GIVEN, "picture_sha256": "picture-2", "shows_call": 8}),
                call(10.5),
                *AUDITED,
            ),
        ),
        (CALLS, of(*SENT, call(10.5), call(10.9, 8, "worker-1.1"), *AUDITED)),
        (CALLS, of(*SENT, call(10.5, by="worker-1.1"), *KILLED, call(10.9, 8), *AUDITED)),
        (CALLS, of(*SENT, *BEFORE, call(10.5), call(14.9, 8, "worker-1.1"), *AUDITED)),
        (CALLS, of(*SENT, *(call(10.5 + at, answer="overloaded") for at in (0, 0.1, 0.2)), *AUDITED)),
        (CALLS, of(call(10.5), jobs=[])),
        (ONE_JOB, of(*SENT, call(10.5), call(13.5, 8), *AUDITED, jobs=[JOB, OTHER])),
        (
            ONE_JOB,
            of(
                *photo(1, 10.0, 11.1, key="k", **GIVEN),
                *photo(2, 12.0, 14.0, key="k", **{**GIVEN, "job_id": "job-2"}),
                call(10.5),
                call(13.5, 8),
                *AUDITED,
                jobs=[replace(JOB, idempotency_key="k"), replace(OTHER, idempotency_key="k")],
            ),
        ),
        (ONE_JOB, of(*SENT, *AUDITED)),
        (
            TEMPORARY,
            of(
                *SENT,
                call(10.5),
                told(80.0, "watch", "temporary", overdue_sec=61.0, file="payload x"),
                *AUDITED,
            ),
        ),
        (VERIFY, of(*SENT, call(10.5), *AUDITED, discrepancies=["verify: row_without_file result/x"])),
        (COUNTERS, of(*SENT, call(10.5), *AUDITED, statistics={"completed": 2})),
        (COUNTERS, of(call(10.5), *photo(1, 10.0, 11.1, Kind.UNKNOWN, reason="hung up"), jobs=[CANCELLED])),
        (COUNTERS, of(*SENT, call(10.5), *AUDITED, cancel_entries=["job-1"])),
        (
            COUNTERS,
            of(
                *SENT,
                call(10.5),
                *AUDITED,
                *operation(3, 12.0, 12.1, "cancel", status=200, job_id="job-1", server="serve-0.1"),
            ),
        ),
        (
            COUNTERS,
            of(
                *SENT,
                call(10.5),
                *AUDITED,
                *operation(3, 12.0, 12.1, "switch", status=200, server="serve-0.1"),
            ),
        ),
        (COUNTERS, of(*SENT, call(10.5), *AUDITED, jobs=[JOB, replace(OTHER, content_hash="hash-9")])),
        (LOGS, of(*SENT, call(10.5), *AUDITED, log_findings=["serve-0.1: Traceback"])),
        (
            PROCESSES,
            of(*SENT, call(10.5), *AUDITED, told(70.0, "worker-1.1", "ended", status=1, expected=False)),
        ),
        (
            PROCESSES,
            of(*SENT, call(10.5), *AUDITED, *fault(3, 12.0, 13.0, "term", target="serve-0.1", status=1)),
        ),
        (
            PROCESSES,
            of(*SENT, call(10.5), *AUDITED, *fault(3, 12.0, 40.0, "term", target="serve-0.1", status=0)),
        ),
        (PROCESSES, of(*SENT, call(10.5), *AUDITED, end_statuses={"serve-0.1": -9})),
        (
            FLAT,
            of(
                *SENT,
                call(10.5),
                *AUDITED,
                *(
                    told(10.0 + at, "worker-0.1", "sample", rss_mb=100 + at / 50, fds=40)
                    for at in range(0, 500, 5)
                ),
            ),
        ),
        (
            FLAT,
            of(
                *SENT,
                call(10.5),
                *AUDITED,
                *(
                    told(10.0 + at, "worker-0.1", "sample", rss_mb=100.0, fds=40 + at // 50)
                    for at in range(0, 500, 5)
                ),
            ),
        ),
    ],
)
def test_a_violation_is_found(invariant: str, observation: Observation) -> None:
    assert invariant in broken(observation)


UNHEARD = photo(1, 10.0, 11.1, Kind.UNKNOWN, reason="hung up")


@pytest.mark.parametrize(
    "observation",
    [
        of(*SENT, call(10.5), *KILLED, call(10.9, 8, "worker-1.1"), *AUDITED),
        of(*SENT, call(10.5), *HALTED, call(14.9, 8, "worker-1.1"), *AUDITED),
        of(*SENT, call(10.5), STARVED, call(14.9, 8, "worker-1.1"), *AUDITED, *KILLED),
        of(
            *SENT, call(10.5, answer="overloaded"), call(10.8, 8), *AUDITED, *fault(3, 10.0, 11.0, "provider")
        ),
        of(*UNHEARD, call(10.5), *DOWN, told(99.0, "x", "over"), jobs=[replace(LATE, finalized_at=40.0)]),
        of(*photo(1, 10.0, 30.1, Kind.FAIL, **REFUSED), call(10.5), *KILLED, jobs=[TIMED_OUT]),
        of(
            *SENT,
            call(10.5),
            *AUDITED,
            told(80.0, "watch", "temporary", overdue_sec=61.0, file="x"),
            *fault(3, 20.0, 30.0, "store"),
        ),
        of(
            *SENT,
            call(10.5),
            *AUDITED,
            told(80.0, "watch", "temporary", overdue_sec=61.0, file="x"),
            *fault(3, 20.0, 20.1, "kill", target="worker-1.1"),
        ),
        of(
            *SENT,
            call(10.5),
            *AUDITED,
            *photo(2, 12.0, 13.0, Kind.UNKNOWN, reason="cut"),
            *fault(3, 12.5, 12.6, "kill", target="serve-0.1"),
        ),
        of(
            *photo(1, 10.0, 31.0, **{**GIVEN, "took_sec": 20.3}),
            call(10.5),
            *AUDITED,
            told(31.0, "control", "control", sent_at=30.0, late_sec=0.1),
        ),
        of(
            *photo(1, 10.0, 33.0, **{**GIVEN, "took_sec": 22.9}),
            call(10.5),
            *AUDITED,
            *fault(3, 20.0, 32.5, "stop", target="serve-0.1"),
        ),
        of(
            *photo(1, 10.0, 33.0, **{**GIVEN, "took_sec": 22.9}),
            call(10.5),
            *AUDITED,
            *fault(3, 9.0, 13.5, "stop", target="serve-0.1"),
        ),
        of(*UNHEARD, call(10.5), jobs=[CANCELLED], cancel_entries=["job-1"]),
        of(
            *SENT,
            call(10.5),
            *AUDITED,
            *operation(3, 12.0, 12.1, "switch", Kind.UNKNOWN, reason="cut", server="serve-0.1"),
            *fault(4, 12.0, 12.1, "kill", target="serve-0.1"),
            switch_entries=1,
        ),
    ],
)
def test_what_a_fault_explains_is_no_violation(observation: Observation) -> None:
    assert broken(observation) == {}


def test_with_kills_only_there_are_no_more_extra_calls_than_kills() -> None:
    again = [call(11.0, 8), call(12.0, 9), call(13.0, 10)]
    found = broken(of(*SENT, call(10.5), *KILLED, *again, *AUDITED))
    assert found[CALLS] == ["3 extra calls with 1 kills"]


def test_a_violation_says_where_to_look() -> None:
    [violation, _] = broken(of(*SENT, call(10.5), call(10.9, 8, "worker-1.1"), *AUDITED))[CALLS]
    for needed in ("photo 1", "10.500", "10.900", "worker-1.1", "job-1"):
        assert needed in violation


def test_a_history_is_read_as_it_was_written(tmp_path: Path) -> None:
    history = History(tmp_path / "history.jsonl")
    number = history.invoke("booth 1", "photo", slot_id=SWITCHED_SLOT)
    history.complete(number, "booth 1", "photo", Kind.FAIL, status=404)
    history.tell("provider", "call", photo=3)
    history.close()
    assert read_history(tmp_path / "history.jsonl") == history.events
