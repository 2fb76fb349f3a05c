"""Invariant (i) as well: no request is refused without a fault that explains it."""

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Final

from tests.chaos.history import Kind
from tests.chaos.load import LONGEST_SEC, SWITCHED_SLOT
from tests.chaos.reading import Request, Run, Verdict

AFTER_A_FAULT_SEC: Final = 5.0
"""How long after a fault of database, store or provider answers may tell of it."""


BREAKER_SEC: Final = 50.0
"""How long after a fault of the provider calls may be kept from it: twice the breaker's longest pause."""


def refusals_have_a_cause(run: Run) -> Verdict:
    """No photo is refused without a fault that explains it, and none with an undocumented answer."""
    verdict = Verdict(invariant="every refusal has a cause")
    codes: Counter[str] = Counter()
    for request in run.requests:
        status = request.facts.get("status")
        if request.kind is not Kind.FAIL or status is None:
            continue
        verdict.checked += 1
        code = str(request.facts.get("code"))
        codes[f"{status} {code}"] += 1
        cause = _CAUSES.get(code)
        start, end = request.invoked.at, request.end
        if cause is None or not cause(run, request, start, end):
            verdict.violated(f"{request.invoked.what} was answered {status} {code} without a cause", request)
    verdict.figures |= dict(sorted(codes.items()))
    return verdict


def _provider_failed(run: Run, request: Request, start: float, end: float) -> bool:
    return run.during("provider", start, end, after_sec=BREAKER_SEC) or _cut_short(run, start, end)


def _cut_short(run: Run, start: float, end: float) -> bool:
    """Say whether the job may have been so late that its call was cut short by the deadline."""
    return any(
        run.during(fault, start - LONGEST_SEC, end) for fault in ("kill", "stop", "term", "postgres", "store")
    )


def _timed_out(run: Run, request: Request, start: float, end: float) -> bool:
    faults = ("kill", "stop", "term", "postgres", "store", "provider")
    return any(run.during(fault, start - LONGEST_SEC, end, after_sec=AFTER_A_FAULT_SEC) for fault in faults)


def _fault(name: str, after_sec: float = AFTER_A_FAULT_SEC) -> Callable[[Run, Request, float, float], bool]:
    return lambda run, _request, start, end: run.during(name, start, end, after_sec=after_sec)


def _cancelled(run: Run, request: Request, _start: float, _end: float) -> bool:
    if request.invoked.what == "cancel":
        return True  # the job was final already
    job = run.jobs.get(request.facts.get("job_id") or "")
    return job is not None and job.state == "cancelled"


def _switched_off(_run: Run, request: Request, _start: float, _end: float) -> bool:
    return request.invoked.facts.get("slot_id") == SWITCHED_SLOT


def _wrong_clock(run: Run, request: Request, _start: float, _end: float) -> bool:
    server = request.facts["server"]
    return any(event.facts.get("FAKETIME") for event in run.of("started") if event.who == server)


def _changed_by_an_unheard_request(_run: Run, request: Request, _start: float, _end: float) -> bool:
    return request.invoked.what == "switch"


_CAUSES: Final[Mapping[str, Callable[[Run, Request, float, float], bool]]] = {
    "database_unavailable": _fault("postgres"),
    "storage_unavailable": _fault("store"),
    "shutting_down": _fault("term", 0.0),
    "timeout": _timed_out,
    "provider_error": _provider_failed,
    "provider_no_image": _provider_failed,
    "provider_quota_exhausted": _provider_failed,
    "job_finalized": _cancelled,
    "slot_disabled": _switched_off,
    "gallery_disabled": _switched_off,
    "version_conflict": _changed_by_an_unheard_request,
    "not_authenticated": _wrong_clock,
    "token_expired": _wrong_clock,
}
