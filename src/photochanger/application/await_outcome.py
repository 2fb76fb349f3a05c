"""Waiting for a job to be final, until the deadline and not a moment longer."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import TypeAlias

from photochanger.application.gathering import Gathered
from photochanger.application.identifiers import new_job_id
from photochanger.application.ports.clock import Clock
from photochanger.application.ports.jobs import JobReading, JobRepository
from photochanger.application.ports.signals import Signals, Subscription, Topic
from photochanger.domain.errors import (
    DatabaseUnavailable,
    DeadlineExceeded,
    JobFinalized,
    JobNotFound,
    PhotoChangerError,
    error_with_code,
)
from photochanger.domain.job import Job, JobId, JobState

POLL_SEC = 2.0
"""How often a waiter looks for itself, in case a signal was lost."""

_TIMER_EARLY_SEC = 0.001
"""By how much a timer of uvloop may fire too early (benchmarks/README.md, ASGI servers)."""

SETTLING_SEC = 0.15
"""How long after the deadline a waiter lets the database settle who won, before it answers without it."""


_Read: TypeAlias = Callable[[JobId], Awaitable[JobReading | None]]


@dataclass(frozen=True, slots=True)
class Expected:
    """A job that is about to be made, and whose end is listened for already."""

    job_id: JobId
    finalized: Subscription


class AwaitOutcome:
    """Holds a request until its job is final.

    At the deadline the waiter itself ends the job as `failed_timeout`; whether it or a worker was first is
    decided by the database, and the waiter reports what the database says. Where the database does not
    answer, the deadline is kept all the same, and the sweeper ends the job later.
    """

    def __init__(self, *, jobs: JobRepository, signals: Signals, clock: Clock) -> None:
        self._signals = signals
        self._clock = clock
        self._jobs = jobs
        self._expire = Gathered(_by_id(jobs.expire))
        self._poll = Gathered(_by_id(jobs.get_many))

    @contextmanager
    def expecting(self) -> Iterator[Expected]:
        """Give the id of a job to come; who awaits it in the context need not look for it first."""
        job_id = new_job_id()
        with self._signals.subscribe(Topic.JOB_FINALIZED, job_id) as finalized:
            yield Expected(job_id, finalized)

    async def __call__(
        self, job_id: JobId, *, deadline: float, is_own: bool = False, expected: Expected | None = None
    ) -> JobReading:
        """Return the final job; `deadline` is on the monotonic clock, in seconds.

        A time-out is not told before `deadline` where it is the job's own (`is_own`), or is about to come.
        A job that was `expected` is known not to have been final when that began.
        Raises `JobNotFound`, or `DeadlineExceeded` where the job is not final at the deadline: the database
        does not answer, or the job is an older one with a later deadline of its own.
        """
        is_new = expected is not None and expected.job_id == job_id
        listening = (
            nullcontext(expected.finalized)
            if expected is not None and is_new
            else self._signals.subscribe(Topic.JOB_FINALIZED, job_id)
        )
        with listening as finalized:
            read: _Read | None = None if is_new else self._jobs.get
            while (left := deadline - self._clock.monotonic()) > 0:
                reading = await _unless_away(read(job_id), left + SETTLING_SEC / 4) if read else None
                if reading is not None and reading.job.is_finalized:
                    return await self._not_early(reading, deadline, is_own=is_own)
                # Near the deadline only a signal is worth a look: the next thing is to settle. And a look may
                # have taken its time.
                poll = self._left(deadline) > 1.5 * POLL_SEC
                heard = await finalized.wait(POLL_SEC if poll else self._left(deadline))
                read = self._jobs.get if heard else self._poll if poll else None
        return await self._settle(job_id, until=deadline + SETTLING_SEC)

    async def _not_early(self, reading: JobReading, deadline: float, *, is_own: bool) -> JobReading:
        """Return the reading, one of a time-out not before the deadline.

        The database began to count before us, by as long as its answer took; so others may have ended the
        job already. Whoever waits for an older job is told at once.
        """
        is_soon = is_own or self._left(deadline) < SETTLING_SEC
        if reading.job.state is JobState.FAILED_TIMEOUT and is_soon:
            await asyncio.sleep(self._left(deadline) + _TIMER_EARLY_SEC)
        return reading

    def _left(self, deadline: float) -> float:
        return max(0.0, deadline - self._clock.monotonic())

    async def _settle(self, job_id: JobId, *, until: float) -> JobReading:
        try:
            async with asyncio.timeout(max(SETTLING_SEC / 2, self._left(until))):
                while True:
                    reading = await self._expire(job_id)
                    if reading is None:
                        raise JobNotFound
                    if reading.job.is_finalized:
                        return reading
                    if reading.seconds_to_deadline > SETTLING_SEC:
                        raise DeadlineExceeded
                    await asyncio.sleep(max(0.001, reading.seconds_to_deadline))
        except (DatabaseUnavailable, TimeoutError) as unavailable:
            raise DeadlineExceeded from unavailable


def _by_id(
    read: Callable[[Collection[JobId]], Awaitable[Iterable[JobReading]]],
) -> Callable[[Collection[JobId]], Awaitable[Mapping[JobId, JobReading]]]:
    async def ask(job_ids: Collection[JobId]) -> Mapping[JobId, JobReading]:
        return {reading.job.job_id: reading for reading in await read(job_ids)}

    return ask


async def _unless_away(reading: Awaitable[JobReading | None], patience_sec: float) -> JobReading | None:
    """Return the job; None where the database cannot say now, for it may before the deadline."""
    try:
        async with asyncio.timeout(patience_sec):
            found = await reading
    except (DatabaseUnavailable, TimeoutError):
        return None
    if found is None:
        raise JobNotFound
    return found


def error_of(job: Job) -> PhotoChangerError | None:
    """Return the error that a final job means for whoever waits for its picture.

    None where there is a picture: the finished one, or the stand-in of a job that failed.
    """
    if job.result is not None:
        return None
    match job.state:
        case JobState.CANCELLED:
            return JobFinalized("The job was cancelled")
        case _:
            return error_with_code(job.failure_reason or "internal_error")()
