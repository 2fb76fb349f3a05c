"""Jobs and their queue in memory."""

from collections.abc import Collection, Sequence
from copy import deepcopy
from dataclasses import replace
from datetime import timedelta

from photochanger.adapters.memory.records import MemoryRecords
from photochanger.application.ports.signals import Topic
from photochanger.application.ports.storage import (
    EndedResults,
    JobReading,
    JobRepository,
    JobSubmission,
    ResultReading,
    Submitted,
    Verdict,
)
from photochanger.domain.audit import AuditEntry
from photochanger.domain.errors import IdempotencyKeyReused, InvalidTransition
from photochanger.domain.job import Job, JobEvent, JobId, JobResult, JobState
from photochanger.domain.retention import has_passed
from photochanger.domain.slot import SlotId


class MemoryJobRepository(JobRepository):
    """Jobs in a dictionary, changed by `Job.apply` alone."""

    def __init__(self, records: MemoryRecords) -> None:
        self._records = records

    async def submit(self, submission: JobSubmission) -> Submitted:
        """Make the job and mark its payload as stored."""
        earlier = self._records.job_for_key(submission.slot.slot_id, submission.idempotency_key)
        if earlier is not None:
            if earlier.content_hash != submission.payload.file.sha256:
                raise IdempotencyKeyReused
            return Submitted(reading=self._records.reading(earlier), replayed=True)
        content_hash = submission.payload.file.sha256
        twin = self._records.twin_of(submission.slot, content_hash) if submission.deduplicate else None
        if twin is not None and not submission.anew:
            return Submitted(reading=self._records.reading(twin), replayed=True)
        self._records.require_announced([submission.payload])
        job = self._new_job(submission)
        self._records.add(job)
        if submission.deduplicate:
            self._records.answers_again[job.slot_id, job.slot_version, content_hash] = job.job_id
        self._records.store_images([submission.payload], until=job.deadline + job.retention)
        self._records.hub.announce(Topic.JOB_PENDING)
        return Submitted(reading=self._records.reading(job), replayed=False)

    def _new_job(self, submission: JobSubmission) -> Job:
        announced_at = self._records.media[submission.payload.media_id].media.created_at
        return Job(
            job_id=submission.job_id,
            slot_id=submission.slot.slot_id,
            slot_version=submission.slot.version,
            configuration=deepcopy(submission.slot.configuration),
            payload_id=submission.payload.media_id,
            content_hash=submission.payload.file.sha256,
            created_at=self._records.clock.now(),
            deadline=announced_at + submission.time_left,
            retention=submission.retention,
            source=submission.source,
            idempotency_key=submission.idempotency_key,
            trace_context=submission.trace_context,
        )

    async def get(self, job_id: JobId) -> JobReading | None:
        """Return the job, or None."""
        job = self._records.jobs.get(job_id)
        return None if job is None else self._records.reading(job)

    async def get_result(self, job_id: JobId) -> ResultReading | None:
        """Return of the job what its result needs, or None."""
        reading = await self.get(job_id)
        return None if reading is None else ResultReading.of(reading)

    async def claim(self, *, limit: int, lease: timedelta) -> Sequence[JobReading]:
        """Take up to `limit` claimable jobs, in the order of their submission."""
        claimed: list[JobReading] = []
        for job in self._records.unfinished():
            if len(claimed) >= limit:
                break
            if self._is_leased(job):
                continue
            if (after := self._change(job.job_id, JobEvent.CLAIMED, lease=lease)) is not None:
                claimed.append(self._records.reading(after))
        return claimed

    def _is_leased(self, job: Job) -> bool:
        """Say so cheaply of the many that are under way; the table has the last word on all others."""
        expires_at = job.lease_expires_at
        return expires_at is not None and not has_passed(expires_at, now=self._records.clock.now())

    async def renew(self, job_id: JobId, *, fence: int, lease: timedelta, attempts: int = 0) -> bool:
        """Extend the lease, if it is still the caller's."""
        return self._change(job_id, JobEvent.RENEWED, fence=fence, lease=lease, attempts=attempts) is not None

    async def release(self, job_id: JobId, *, fence: int) -> bool:
        """Hand the job back, if it is still the caller's."""
        if self._change(job_id, JobEvent.RELEASED, fence=fence) is None:
            return False
        self._records.hub.announce(Topic.JOB_PENDING)
        return True

    async def finalize(self, job_id: JobId, verdict: Verdict, *, fence: int) -> JobReading | None:
        """End the job as `verdict` says, if the caller still holds it."""
        after = self._change(
            job_id,
            verdict.event,
            fence=fence,
            attempts=verdict.attempts,
            failure_reason=verdict.failure_reason,
            result=verdict.result,
        )
        if after is None:
            return None
        self._records.hub.announce(Topic.JOB_FINALIZED, job_id)
        return self._records.reading(after, ended_here=True)

    async def expire(self, job_ids: Collection[JobId]) -> Sequence[JobReading]:
        """End those of the jobs whose deadline has passed, and return the present state of all."""
        known = [job_id for job_id in dict.fromkeys(job_ids) if job_id in self._records.jobs]
        ended = {job_id for job_id in known if self._expire(job_id)}
        return [
            self._records.reading(self._records.jobs[job_id], ended_here=job_id in ended) for job_id in known
        ]

    async def expire_overdue(self, *, limit: int) -> Sequence[JobId]:
        """End up to `limit` jobs whose deadline has passed."""
        ended: list[JobId] = []
        for job in self._records.unfinished():
            if len(ended) >= limit:
                break
            if self._expire(job.job_id):
                ended.append(job.job_id)
        return ended

    def _expire(self, job_id: JobId) -> bool:
        if self._change(job_id, JobEvent.DEADLINE_PASSED) is None:
            return False
        self._records.hub.announce(Topic.JOB_FINALIZED, job_id)
        return True

    async def cancel(self, job_id: JobId, *, entry: AuditEntry) -> JobReading | None:
        """End the job as `cancelled` and add `entry`; else return the job as it is."""
        return self._cancel(job_id, entry) or await self.get(job_id)

    async def cancel_pending(self, slot_id: SlotId, *, entry: AuditEntry) -> Sequence[JobReading]:
        """Do the same for all jobs of the slot that wait for a worker."""
        pending = [
            job.job_id
            for job in self._records.unfinished()
            if job.slot_id == slot_id and job.state is JobState.PENDING
        ]
        cancelled = [self._cancel(job_id, entry) for job_id in pending]
        return [reading for reading in cancelled if reading is not None]

    def _cancel(self, job_id: JobId, entry: AuditEntry) -> JobReading | None:
        after = self._change(job_id, JobEvent.CANCEL_REQUESTED)
        if after is None:
            return None
        self._records.log(replace(entry, subject=job_id))
        self._records.hub.announce(Topic.JOB_FINALIZED, job_id)
        return self._records.reading(after, ended_here=True)

    async def end_results(self, slot_id: SlotId, *, entry: AuditEntry) -> EndedResults:
        """End the time to live of every result of the slot now, and add `entry`."""
        ended = [
            result
            for job in list(self._records.jobs.values())
            if job.slot_id == slot_id and (result := self._records.end_result(job)) is not None
        ]
        self._records.log(entry)
        images = [image for result in ended for image in (result.image, result.preview)]
        return EndedResults(len(ended), sum(image.file.size_bytes for image in images))

    def _change(
        self,
        job_id: JobId,
        event: JobEvent,
        *,
        fence: int | None = None,
        lease: timedelta | None = None,
        attempts: int = 0,
        failure_reason: str | None = None,
        result: JobResult | None = None,
    ) -> Job | None:
        """Let `event` happen to the job; return it as it is then, or None where the table forbids it."""
        job = self._records.jobs.get(job_id)
        if job is None:
            return None
        now = self._records.clock.now()
        try:
            after = job.apply(
                event,
                now=now,
                fence=fence,
                lease=lease,
                attempts=attempts,
                failure_reason=failure_reason,
                result=result,
            )
        except InvalidTransition:
            return None
        if result is not None and after.result_expires_at is not None:
            images = (result.image, result.preview)
            self._records.require_announced(images)
            self._records.store_images(images, until=after.result_expires_at)
        self._records.replace_job(after)
        return after
