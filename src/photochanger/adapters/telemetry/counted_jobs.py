"""Counts jobs as they end: each one once, by whoever ended it."""

from collections.abc import Collection, Sequence
from datetime import timedelta

from photochanger.adapters.telemetry.metrics import Metrics
from photochanger.application.ports import (
    Claimed,
    EndedResults,
    JobReading,
    JobRepository,
    JobSubmission,
    Place,
    ResultReading,
    Submitted,
    Verdict,
)
from photochanger.domain.audit import AuditEntry
from photochanger.domain.concurrency import UNLIMITED, ConcurrencyLimits
from photochanger.domain.job import FAILURE_REASON_OF, JobEvent, JobId, JobState
from photochanger.domain.slot import SlotId


class CountedJobs(JobRepository):
    """Another job repository, with the counts of ended jobs and of their pictures kept beside it."""

    def __init__(self, jobs: JobRepository, metrics: Metrics) -> None:
        self._jobs = jobs
        self._metrics = metrics

    async def submit(self, submission: JobSubmission) -> Submitted:
        """Make the job."""
        return await self._jobs.submit(submission)

    async def get(self, job_id: JobId) -> JobReading | None:
        """Return the job."""
        return await self._jobs.get(job_id)

    async def get_many(self, job_ids: Collection[JobId]) -> Sequence[JobReading]:
        """Return the jobs."""
        return await self._jobs.get_many(job_ids)

    async def get_result(self, job_id: JobId) -> ResultReading | None:
        """Return what the job's result needs."""
        return await self._jobs.get_result(job_id)

    async def claim(self, *, limit: int, lease: timedelta, limits: ConcurrencyLimits = UNLIMITED) -> Claimed:
        """Take jobs."""
        return await self._jobs.claim(limit=limit, lease=lease, limits=limits)

    async def move(self, job_id: JobId, *, fence: int, provider: str, places: int | None) -> Place:
        """Take a place at another provider, or wait for it."""
        return await self._jobs.move(job_id, fence=fence, provider=provider, places=places)

    async def renew(self, job_id: JobId, *, fence: int, lease: timedelta, attempts: int = 0) -> bool:
        """Extend the lease."""
        return await self._jobs.renew(job_id, fence=fence, lease=lease, attempts=attempts)

    async def release(self, job_id: JobId, *, fence: int) -> bool:
        """Hand the job back."""
        return await self._jobs.release(job_id, fence=fence)

    async def finalize(self, job_id: JobId, verdict: Verdict, *, fence: int) -> JobReading | None:
        """End the job, and count it if this call did."""
        reading = await self._jobs.finalize(job_id, verdict, fence=fence)
        if reading is not None:
            self._count(reading)
        return reading

    async def expire(self, job_ids: Collection[JobId]) -> Sequence[JobReading]:
        """End overdue jobs, and count those that this call did."""
        readings = await self._jobs.expire(job_ids)
        for reading in readings:
            self._count(reading)
        return readings

    async def expire_overdue(self, *, limit: int) -> Sequence[JobId]:
        """End overdue jobs, and count them."""
        ended = await self._jobs.expire_overdue(limit=limit)
        for _ in ended:
            self._metrics.job_finalized(JobState.FAILED_TIMEOUT, FAILURE_REASON_OF[JobEvent.DEADLINE_PASSED])
        return ended

    async def cancel(self, job_id: JobId, *, entry: AuditEntry) -> JobReading | None:
        """Cancel the job, and count it if this call did."""
        reading = await self._jobs.cancel(job_id, entry=entry)
        if reading is not None:
            self._count(reading)
        return reading

    async def cancel_pending(self, slot_id: SlotId, *, entry: AuditEntry) -> Sequence[JobReading]:
        """Cancel the jobs that wait for a worker, and count them."""
        readings = await self._jobs.cancel_pending(slot_id, entry=entry)
        for reading in readings:
            self._count(reading)
        return readings

    async def end_results(self, slot_id: SlotId, *, entry: AuditEntry) -> EndedResults:
        """End the slot's results."""
        return await self._jobs.end_results(slot_id, entry=entry)

    def _count(self, reading: JobReading) -> None:
        if not reading.ended_here:
            return
        self._metrics.job_finalized(reading.job.state, reading.job.failure_reason)
        if reading.job.result is not None:
            self._metrics.picture_finished(reading.job.result.source)
