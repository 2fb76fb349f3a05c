"""Invariants (iii) to (vi): what is left, what was counted, what was logged, and what became of processes."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Final

from photochanger.application.sweep import TURN
from tests.chaos.history import Event, Kind
from tests.chaos.load import LONGEST_SEC, SWITCHED_SLOT
from tests.chaos.reading import Run, Span, Verdict, covered, in_order

TEMPORARY_SEC: Final = 60.0
"""How long after its time a temporary file may be there while database and store are."""


TURN_SEC: Final = TURN.total_seconds()
"""For so long nobody else sweeps where whoever was at it was killed or halted."""

SLOPE_MB_PER_MIN: Final = 1.0


SLOPE_FDS_PER_MIN: Final = 1.0


LONG_LIFE_SEC: Final = 300.0
"""Only a process that lives as long as that has a slope that tells something."""


WARM_UP_SEC: Final = 60.0


def temporary_files_go(run: Run) -> Verdict:
    """No temporary file is older than its deadline and a minute, unless the way to it was barred."""
    verdict = Verdict(invariant="no temporary file outlives its time by a minute")
    worst = 0.0
    faults = [span for name in ("postgres", "store") for span, _ in run.spans(name)]
    turns = [
        Span(span.start, span.end + TURN_SEC) for name in ("kill", "stop") for span, _ in run.spans(name)
    ]
    barred = in_order([*faults, *turns, *run.nobody_there])
    for event in run.of("temporary"):
        verdict.checked += 1
        overdue = event.facts["overdue_sec"]
        overdue -= covered(barred, event.at - overdue, event.at)
        worst = max(worst, overdue)
        if overdue > TEMPORARY_SEC:
            verdict.violated(f"{event.facts['file']} is {overdue:.0f} s overdue", event)
    verdict.figures["longest overdue, s"] = round(worst, 1)
    return verdict


def store_and_database_agree(run: Run) -> Verdict:
    """After a sweep there is no row without its file, no file without its row, and nothing is left."""
    verdict = Verdict(invariant="verify finds nothing, and nothing is left", checked=len(run.jobs))
    for found in run.observation.discrepancies:
        verdict.violated(found)
    return verdict


def counters_add_up(run: Run) -> Verdict:
    """History, jobs, statistics and audit log tell the same."""
    verdict = Verdict(invariant="history, jobs, statistics and audit log add up", checked=1)
    states = Counter(job.state for job in run.jobs.values() if job.finalized_at is not None)
    counted = {state: count for state, count in run.observation.statistics.items() if count}
    if counted != dict(states):
        verdict.violated(f"the statistics have {counted}, and there are {dict(states)}")
    entries = Counter(run.observation.cancel_entries)
    cancelled = {job.job_id for job in run.jobs.values() if job.state == "cancelled"}
    for job_id in sorted(entries.keys() ^ cancelled):
        verdict.violated(f"job {job_id} is cancelled in the {'log' if job_id in entries else 'table'} only")
    verdict.checked += len(cancelled)
    for job_id in (each for each, count in entries.items() if count > 1):
        verdict.violated(f"job {job_id} was cancelled {entries[job_id]} times, says the audit log")
    for request in run.requests:
        if request.invoked.what == "cancel" and request.kind is Kind.OK:
            verdict.checked += 1
            if request.facts["job_id"] not in cancelled:
                verdict.violated("a cancelling was acknowledged, and the job is not", request)
    _check_switches(run, verdict)
    unknown = [job for job in run.jobs.values() if job.content_hash not in run.number_of]
    for job in unknown:
        verdict.violated(f"job {job.job_id} is of a photo that nobody sent", job)
    verdict.figures |= {"jobs": len(run.jobs), **dict(sorted(states.items()))}
    return verdict


def _check_switches(run: Run, verdict: Verdict) -> None:
    """See that the switched slot was changed as often as that was acknowledged, or may have been done."""
    switches = [request for request in run.requests if request.invoked.what == "switch"]
    done = sum(request.kind is Kind.OK for request in switches)
    maybe = sum(request.kind is Kind.UNKNOWN or request.facts.get("status", 0) >= 500 for request in switches)
    verdict.checked += len(switches)
    if not done <= run.observation.switch_entries <= done + maybe:
        verdict.violated(
            f"the audit log has {run.observation.switch_entries} changes of {SWITCHED_SLOT}, "
            f"{done} were acknowledged and {maybe} more may have been made"
        )


def logs_are_clean(run: Run) -> Verdict:
    """No process has logged an error that nobody foresaw, nor a secret."""
    verdict = Verdict(
        invariant="no unforeseen error and no secret in a log", checked=run.observation.log_lines
    )
    for found in run.observation.log_findings:
        verdict.violated(found)
    return verdict


def processes_end_when_asked(run: Run) -> Verdict:
    """No process ends by itself, unless it could not start; all that are asked to, end, and with 0."""
    verdict = Verdict(invariant="processes end when asked to, and only then")
    ready = {event.who for event in run.of("ready")}
    for event in run.of("ended"):
        verdict.checked += 1
        excused = any(run.during(fault, event.at - 15, event.at) for fault in ("postgres", "store"))
        if not event.facts["expected"] and (event.who in ready or not excused):
            verdict.violated("ended by itself", event)
    slowest = 0.0
    for event in run.of("term"):
        if event.kind is not Kind.OK:
            continue
        verdict.checked += 1
        [start] = [
            span.start for span, facts in run.spans("term") if facts["target"] == event.facts["target"]
        ]
        slowest = max(slowest, event.at - start)
        if event.facts["status"] != 0 or event.at - start > LONGEST_SEC + 5:
            verdict.violated(f"asked to end, and took {event.at - start:.1f} s", event)
    for process, status in run.observation.end_statuses.items():
        verdict.checked += 1
        if status != 0:
            verdict.violated(f"{process} ended with {status} when all was over")
    verdict.figures["slowest end, s"] = round(slowest, 1)
    return verdict


def processes_stay_small(run: Run) -> Verdict:
    """Memory and descriptors of processes that live for long stay what they are."""
    verdict = Verdict(invariant="memory and descriptors stay flat")
    lives: dict[str, list[Event]] = defaultdict(list)
    for event in run.of("sample"):
        lives[event.who].append(event)
    worst = {"rss_mb": 0.0, "fds": 0.0}
    for who, samples in lives.items():
        warm = [sample for sample in samples if sample.at >= samples[0].at + WARM_UP_SEC]
        if not warm or warm[-1].at - warm[0].at < LONG_LIFE_SEC:
            continue
        verdict.checked += 1
        for name, limit in (("rss_mb", SLOPE_MB_PER_MIN), ("fds", SLOPE_FDS_PER_MIN)):
            slope = _slope_per_min([(sample.at, float(sample.facts[name])) for sample in warm])
            worst[name] = max(worst[name], slope)
            if slope > limit:
                verdict.violated(f"{who}: {name} grows by {slope:.2f} a minute", warm[0], warm[-1])
    if verdict.checked:
        verdict.figures["steepest, MB a minute"] = round(worst["rss_mb"], 3)
        verdict.figures["steepest, descriptors a minute"] = round(worst["fds"], 3)
    seen = [event.facts for event in run.of("sample")]
    if seen:
        verdict.figures["largest, MB"] = max(each["rss_mb"] for each in seen)
        verdict.figures["most descriptors"] = max(each["fds"] for each in seen)
    return verdict


def _slope_per_min(points: Sequence[tuple[float, float]]) -> float:
    """Return by how much the values grow in a minute, by least squares."""
    mean_at = sum(at for at, _ in points) / len(points)
    mean = sum(value for _, value in points) / len(points)
    spread = sum((at - mean_at) ** 2 for at, _ in points)
    return 60 * sum((at - mean_at) * (value - mean) for at, value in points) / spread if spread else 0.0
