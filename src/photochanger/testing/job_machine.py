"""Every job repository is a mirror of the state machine, and has one winner in every race."""

import asyncio
import itertools
import random
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from photochanger.application.ports.administration import AuditFilter
from photochanger.application.ports.jobs import JobReading, JobSubmission, Verdict
from photochanger.domain.errors import InvalidTransition
from photochanger.domain.job import MAX_CLAIMS, Job, JobEvent, JobId, JobResult, JobState
from photochanger.domain.media import MediaKind, MediaState
from photochanger.testing.harness import (
    A_SLOT,
    HOUR,
    SECOND,
    Records,
    RecordsContract,
    a_pending_job,
    a_processing_job,
    a_slot,
    an_entry,
    an_image,
    failure,
    new_id,
    present,
    stand_in,
    success,
)

_LEASE = 30 * SECOND
_LONG = 3 * HOUR


async def _pending(records: Records, _: timedelta) -> JobReading:
    return await a_pending_job(records, time_left=HOUR)


async def _released(records: Records, _: timedelta) -> JobReading:
    claimed = await a_processing_job(records, time_left=HOUR, lease=_LONG)
    await records.jobs.release(claimed.job.job_id, fence=1)
    return claimed


async def _processing(records: Records, lease: timedelta) -> JobReading:
    return await a_processing_job(records, time_left=HOUR, lease=lease)


async def _claimed_out(records: Records, lease: timedelta) -> JobReading:
    return await a_processing_job(records, time_left=HOUR, lease=lease, claims=MAX_CLAIMS)


def _ended_by(verdict: Callable[[Records], Awaitable[Verdict]]) -> Callable[..., Awaitable[JobReading]]:
    async def ended(records: Records, _: timedelta) -> JobReading:
        claimed = await a_processing_job(records, time_left=HOUR, lease=_LONG)
        await records.jobs.finalize(claimed.job.job_id, await verdict(records), fence=1)
        return claimed

    return ended


async def _failed(_: Records) -> Verdict:
    return failure()


async def _broken(_: Records) -> Verdict:
    return failure(JobEvent.INTERNALLY_FAILED)


async def _timed_out(records: Records, _: timedelta) -> JobReading:
    pending = await a_pending_job(records, time_left=HOUR)
    await records.time_passes(HOUR)
    await records.jobs.expire([pending.job.job_id])
    return pending


async def _cancelled(records: Records, _: timedelta) -> JobReading:
    claimed = await a_processing_job(records, time_left=HOUR, lease=_LONG)
    await records.jobs.cancel(claimed.job.job_id, entry=an_entry())
    return claimed


ORIGINS: Mapping[str, Callable[[Records, timedelta], Awaitable[JobReading]]] = {
    "pending": _pending,
    "released": _released,
    "processing": _processing,
    "claimed so often that it may not be again": _claimed_out,
    "completed": _ended_by(success),
    "failed_provider": _ended_by(_failed),
    "failed_provider with a stand-in": _ended_by(stand_in),
    "failed_internal": _ended_by(_broken),
    "failed_timeout": _timed_out,
    "cancelled": _cancelled,
}
"""Ways into every state that the repository's methods lead to."""


async def _cause(records: Records, event: JobEvent, job: Job, fence: int, verdict: Verdict) -> None:
    jobs = records.jobs
    match event:
        case JobEvent.CLAIMED:
            await jobs.claim(limit=1_000, lease=_LEASE)
        case JobEvent.RENEWED:
            await jobs.renew(job.job_id, fence=fence, lease=_LEASE, attempts=verdict.attempts)
        case JobEvent.RELEASED:
            await jobs.release(job.job_id, fence=fence)
        case JobEvent.DEADLINE_PASSED:
            await jobs.expire([job.job_id])
        case JobEvent.CANCEL_REQUESTED:
            await jobs.cancel(job.job_id, entry=an_entry())
        case _:
            await jobs.finalize(job.job_id, verdict, fence=fence)


async def _verdicts(records: Records, event: JobEvent) -> Sequence[Verdict]:
    """Return the verdicts that `event` can have; for one that has none, one that must have no effect."""
    match event:
        case JobEvent.SUCCEEDED:
            return [await success(records)]
        case JobEvent.PROVIDER_FAILED | JobEvent.INTERNALLY_FAILED:
            return [failure(event), await stand_in(records, event)]
        case _:
            return [failure()]


def _expected(job: Job, event: JobEvent, fence: int, verdict: Verdict, now: datetime) -> Job:
    try:
        return job.apply(
            event,
            now=now,
            fence=fence,
            lease=_LEASE,
            attempts=verdict.attempts,
            failure_reason=verdict.failure_reason,
            result=verdict.result,
        )
    except InvalidTransition:
        return job


def _moments(job: Job) -> Sequence[datetime | None]:
    return (job.lease_expires_at, job.started_at, job.finalized_at)


class JobMachineContract(RecordsContract):
    """Compares the repository with `Job.apply`, and lets finalisers race."""

    @pytest.fixture
    def racing_records(self, records: Records) -> Records:
        """Return records on a clock that runs by itself; override where that of `records` does not."""
        return records

    @pytest.mark.parametrize("event", JobEvent)
    @pytest.mark.parametrize("origin", ORIGINS)
    async def test_it_does_what_the_state_machine_does(
        self, records: Records, origin: str, event: JobEvent
    ) -> None:
        for lapsed, overdue, wrong_fence in itertools.product((False, True), repeat=3):
            for verdict in await _verdicts(records, event):
                reading = await ORIGINS[origin](records, SECOND if lapsed else _LONG)
                if lapsed or overdue:
                    await records.time_passes(HOUR if overdue else 2 * SECOND)
                await self._compare(records, reading, event, verdict, wrong_fence=wrong_fence)
                await records.time_passes(2 * HOUR)
                await records.jobs.expire([reading.job.job_id])

    async def _compare(
        self, records: Records, reading: JobReading, event: JobEvent, verdict: Verdict, *, wrong_fence: bool
    ) -> None:
        before = await present(records, reading)
        fence = before.job.fence + 1 if wrong_fence else before.job.fence
        await _cause(records, event, before.job, fence, verdict)
        after = await present(records, reading)
        earliest = _expected(before.job, event, fence, verdict, before.now)
        latest = _expected(before.job, event, fence, verdict, after.now)
        for low, moment, high in zip(_moments(earliest), _moments(after.job), _moments(latest), strict=True):
            assert (low is None) == (moment is None)
            assert low is None or moment is None or high is None or low <= moment <= high
        lease_expires_at, started_at, finalized_at = _moments(earliest)
        assert earliest == replace(
            after.job, lease_expires_at=lease_expires_at, started_at=started_at, finalized_at=finalized_at
        )

    async def test_of_success_and_timeout_one_wins(self, racing_records: Records) -> None:
        outcomes = await race_success_against_timeout(racing_records, rounds=200)
        assert set(outcomes) == {JobState.COMPLETED, JobState.FAILED_TIMEOUT}

    async def test_of_success_timeout_and_cancellation_one_wins(self, racing_records: Records) -> None:
        outcomes = await race_success_against_timeout(racing_records, rounds=200, at_once=16, cancelling=True)
        assert set(outcomes) == {JobState.COMPLETED, JobState.FAILED_TIMEOUT, JobState.CANCELLED}


async def race_success_against_timeout(
    records: Records, *, rounds: int, at_once: int = 32, cancelling: bool = False
) -> Sequence[JobState]:
    """Let a worker and a waiting request end `rounds` jobs around their deadlines; return the outcomes.

    With `cancelling`, an administrator cancels each of them at the same time. Raises `AssertionError` where a
    job has not exactly one winner, or its files do not fit the outcome.
    """
    outcomes: list[JobState] = []
    aim = _Aim()

    async def run() -> None:
        while len(outcomes) < rounds:
            if (outcome := await _one_round(records, aim, cancelling=cancelling)) is not None:
                outcomes.append(outcome)

    await asyncio.gather(*(run() for _ in range(at_once)))
    return outcomes


class _Aim:
    """When to act so that it takes effect around the deadline: the earlier, the slower the machine is."""

    def __init__(self) -> None:
        self._takes_sec = 0.0

    def before(self, deadline: float, *, latest: float) -> float:
        """Return how many seconds from now to act."""
        earliest = -0.06 - 2 * self._takes_sec
        return deadline - time.monotonic() + random.uniform(earliest, latest)

    def took(self, seconds: float) -> None:
        """Take into account how long it took this time."""
        self._takes_sec += (seconds - self._takes_sec) / 50


async def _one_round(records: Records, aim: _Aim, *, cancelling: bool) -> JobState | None:
    """Submit a job, claim one, and race for it; None where the machine was too slow to claim in time."""
    payload, image, preview = an_image(), an_image(), an_image()
    kinds = {payload: MediaKind.PAYLOAD, image: MediaKind.RESULT, preview: MediaKind.PREVIEW}
    await records.media.intend(
        [(each.media_id, kind) for each, kind in kinds.items()], slot_id=A_SLOT, ttl=HOUR
    )
    job_id = JobId(new_id())
    await records.jobs.submit(
        JobSubmission(job_id=job_id, slot=a_slot(), payload=payload, time_left=SECOND / 5, retention=HOUR)
    )
    claimed = await records.jobs.claim(limit=1, lease=HOUR)
    if not claimed:
        # Else the overdue would pile up at the head of the queue, and make a slow machine ever slower.
        await records.jobs.expire([job_id])
        return None
    result = JobResult(image=image, preview=preview)
    verdict = Verdict(event=JobEvent.SUCCEEDED, attempts=1, result=result)
    return await _race(records, claimed[0], verdict, aim, cancelling=cancelling)


async def _race(
    records: Records, claimed: JobReading, verdict: Verdict, aim: _Aim, *, cancelling: bool
) -> JobState:
    deadline = time.monotonic() + claimed.seconds_to_deadline
    job_id, fence = claimed.job.job_id, claimed.job.fence
    latest = 0.03 if cancelling else 0.01  # a time-out is only seen where both of the others are late

    async def work() -> JobReading | None:
        await asyncio.sleep(aim.before(deadline, latest=latest))
        began = time.monotonic()
        try:
            return await records.jobs.finalize(job_id, verdict, fence=fence)
        finally:
            aim.took(time.monotonic() - began)

    async def wait() -> JobReading:
        await asyncio.sleep(deadline - time.monotonic() - 0.002)
        while True:
            [reading] = await records.jobs.expire([job_id])
            if reading.job.is_finalized:
                return reading
            await asyncio.sleep(max(0.001, reading.seconds_to_deadline))

    async def cancel() -> JobReading | None:
        if not cancelling:
            return None
        await asyncio.sleep(aim.before(deadline, latest=latest))
        return await records.jobs.cancel(job_id, entry=an_entry())

    completed, seen, cancelled = await asyncio.gather(work(), wait(), cancel())
    assert completed is None or completed.job == seen.job
    won = {  # the time-out may also have been written by the round that submitted the job
        JobState.COMPLETED: completed is not None,
        JobState.FAILED_TIMEOUT: seen.job.failure_reason == "timeout",
        JobState.CANCELLED: cancelled is not None and cancelled.ended_here,
    }
    [winner] = [state for state, has_won in won.items() if has_won]
    assert seen.job.state is winner
    assert winner is JobState.FAILED_TIMEOUT or not seen.ended_here
    assert seen.job.finalized_at is not None
    assert (seen.job.finalized_at < seen.job.deadline) == (winner is not JobState.FAILED_TIMEOUT)
    entries = await records.audit.page(AuditFilter(subject=job_id), limit=2)
    assert len(entries) == (winner is JobState.CANCELLED)
    assert verdict.result is not None
    media = await records.media.get(verdict.result.image.media_id)
    assert media is not None
    assert media.state is (MediaState.PENDING if completed is None else MediaState.STORED)
    return seen.job.state
