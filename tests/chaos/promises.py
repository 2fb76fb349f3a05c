"""Invariant (i): what clients and jobs were promised, and by when."""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Final

from tests.chaos.history import Kind
from tests.chaos.observed import JobFact
from tests.chaos.reading import Request, Run, Span, Verdict, covered, in_order

FINAL_WITHIN_SEC: Final = 5.0
"""How long after its deadline a job may be unfinished while somebody is there to end it."""


STARVING_SEC: Final = 0.25
"""Who has waited for a processor as long as that may have been slow at anything."""

CONNECTING_SEC: Final = 1.0
"""Who sends a request so shortly before a server is asked to end may be too late: it closes its doors before
it has seen the request."""

_WAKING_SEC: Final = 1.0

SETTLING_SEC: Final = 0.25
"""How long after its deadline an answer may come, besides what the control was late."""


RESUMED_SEC: Final = 1.0
"""How long after a process was stopped it may take to answer what is overdue."""


_STATES_TOLD: Final[Mapping[int, frozenset[str]]] = {
    409: frozenset({"cancelled"}),
    502: frozenset({"failed_provider"}),
    504: frozenset({"failed_timeout"}),
}


def every_job_ends_in_time(run: Run) -> Verdict:
    """Every accepted photo has one final state, by its deadline + 5 s in which that was possible."""
    verdict = Verdict(invariant="every job is final by its deadline + 5 s")
    impossible = in_order([*(span for span, _ in run.spans("postgres")), *run.nobody_there])
    latest = 0.0
    for job in run.jobs.values():
        verdict.checked += 1
        end = run.end if job.finalized_at is None else job.finalized_at
        late = end - job.deadline - covered(impossible, job.deadline, end)
        if job.finalized_at is None:
            verdict.violated(f"job {job.job_id} is {job.state}", job)
        elif late > FINAL_WITHIN_SEC:
            verdict.violated(f"job {job.job_id} was final {late:.1f} s after its deadline", job)
        latest = max(latest, late)
    verdict.figures["latest, s after the deadline"] = round(latest, 2)
    return verdict


def nothing_told_is_untrue(run: Run) -> Verdict:
    """What a client was told of a job is what became of it; no job that was told of is missing."""
    verdict = Verdict(invariant="what clients were told is what became of the job")
    for request in run.photos:
        job_id = request.facts.get("job_id")
        if job_id is None or request.kind is Kind.UNKNOWN:
            continue
        verdict.checked += 1
        job = run.jobs.get(job_id)
        if job is None:
            verdict.violated(f"job {job_id} was told of, and there is none", request)
        elif job.content_hash != request.invoked.facts["sha256"]:
            verdict.violated(f"job {job_id} is of another photo", request, job)
        elif not _agrees(request, job):
            verdict.violated(f"job {job_id} is {job.state}, and a client was told otherwise", request, job)
    return verdict


def _agrees(request: Request, job: JobFact) -> bool:
    status, source = request.facts["status"], request.facts.get("source")
    if status == 200:
        is_stand_in = source == "original"
        stand_in = job.state.startswith("failed_") and job.source == "original"
        return stand_in if is_stand_in else job.state == "completed" and job.source == source
    if status == 504 and request.facts.get("failure_reason") is None:
        return True  # the database did not say in time how it ended; see await_outcome.py
    return job.state in _STATES_TOLD.get(status, {job.state})


def everybody_is_answered(run: Run) -> Verdict:
    """Who asked a server that lived got an answer."""
    verdict = Verdict(invariant="everybody whose server lived was answered")
    reasons: Counter[str] = Counter()
    for request in run.requests:
        verdict.checked += 1
        reason = "never" if request.ended is None else request.facts.get("reason")
        if reason is None or reason == "hung up":
            continue
        reasons[reason] += 1
        if not _may_be_unanswered(run, request, reason):
            verdict.violated(f"{request.facts['server']} lived, and did not answer ({reason})", request)
    verdict.figures |= {f"without an answer: {reason}": count for reason, count in reasons.items()}
    return verdict


def _may_be_unanswered(run: Run, request: Request, reason: str) -> bool:
    server, end = request.facts["server"], min(request.end, run.end)
    if reason == "refused":  # nothing was sent yet
        return run.is_gone(server, end) or run.during("stop", request.invoked.at, end, target=server)
    return run.was_killed(server, end) or any(
        request.invoked.at > since - CONNECTING_SEC for since in _closing_times(run, server)
    )


def _closing_times(run: Run, server: str) -> Iterator[float]:
    """Yield when the server was asked to end: where it was halted shortly before, when it was halted."""
    for span, facts in run.spans("term"):
        if facts["target"] == server:
            halts = [halt for halt, of in run.spans("stop") if of.get("target") == server]
            before = [halt.start for halt in halts if halt.overlaps(span.start - CONNECTING_SEC, span.start)]
            yield min([span.start, *before])


def answers_come_in_time(run: Run) -> Verdict:
    """Held requests are answered by their deadline + 250 ms + what the control was late."""
    verdict = Verdict(invariant="held requests are answered by their deadline + 250 ms")
    lates: list[float] = []
    for request in run.photos:
        if "took_sec" not in request.facts or _was_halted(run, request):
            continue
        verdict.checked += 1
        late = request.head_at - request.due
        lates.append(max(0.0, late))
        if late > SETTLING_SEC:
            allowed = SETTLING_SEC + _allowance_sec(run, request)
            if late > allowed:
                verdict.violated(f"{late:.3f} s after the deadline, {allowed:.3f} s allowed", request)
    if lates:
        lates.sort()
        verdict.figures["after the deadline"] = sum(late > 0 for late in lates)
        verdict.figures["latest, s"] = round(lates[-1], 3)
    verdict.figures["control: latest, s"] = round(run.worst_control_sec, 3)
    return verdict


def _allowance_sec(run: Run, request: Request) -> float:
    """Return how late the machine made the answer: on the way from and to us, and in its server.

    The server may have waited for a processor when the request came, and when its deadline did.
    """
    server = request.facts["server"]
    starved = [
        run.starved_sec(server, request.invoked.at, request.invoked.at + _WAKING_SEC),
        run.starved_sec(server, request.due, request.head_at),
    ]
    return run.allowance_sec(request.invoked.at, request.head_at) + sum(starved)


def _was_halted(run: Run, request: Request) -> bool:
    """Say whether the server was halted meanwhile, and answered what was overdue soon after it went on.

    What came while it was halted it reads when it goes on, and cannot know for how long that has waited.
    """
    halts = [span for span, facts in run.spans("stop") if facts.get("target") == request.facts["server"]]
    return any(
        span.overlaps(request.invoked.at, request.head_at)
        and request.head_at <= max(_due_of_a_halted(request, span), span.end) + RESUMED_SEC
        for span in halts
    )


def _due_of_a_halted(request: Request, halt: Span) -> float:
    unread_sec = halt.end - request.invoked.at if halt.start <= request.invoked.at else 0.0
    return request.due + max(0.0, unread_sec)


def no_time_out_is_early(run: Run) -> Verdict:
    """Nobody is told 504 before the deadline of the photo's job."""
    verdict = Verdict(invariant="no 504 comes early")
    for request in run.photos:
        if request.facts.get("status") != 504 or request.kind is Kind.UNKNOWN:
            continue
        verdict.checked += 1
        job = run.jobs.get(request.facts.get("job_id") or "")
        due = request.due
        if job is not None and run.first_sent[request.same_photo] < request.invoked.at:
            due = min(due, job.deadline)  # an earlier request of the same photo may have made it
        early = due - request.head_at
        if early > 0.001 and job is not None and _was_taken_in_slowly(run, request, job, early):
            verdict.figures["early, as it was taken in slowly"] = 1 + int(
                verdict.figures.get("early, as it was taken in slowly", 0)
            )
        elif early > 0.001:
            verdict.violated(f"504, {early:.3f} s before the deadline", request, job)
    return verdict


def _was_taken_in_slowly(run: Run, request: Request, job: JobFact, early: float) -> bool:
    """Say whether the job's deadline is early because its photo's row took long to be written.

    The database reads its clock before it writes the row, the server reads its own when that has come back
    (`SubmitPhoto.receive`): what lies between is missing from the job's time, and nobody makes up for more
    than a quarter of a second.
    """
    start, end = request.invoked.at, job.created_at
    was_slow = run.during("postgres", start, end, after_sec=1.0) or run.starved_sec(
        request.facts["server"], start, end
    ) > min(early, STARVING_SEC)
    return was_slow and early <= end - start
