"""Jobs and their queue in memory."""

import math
from collections import Counter
from collections.abc import Collection, Sequence
from copy import deepcopy
from dataclasses import replace
from datetime import timedelta

from photochanger.adapters.memory.records import MemoryRecords, ProviderPlace
from photochanger.application.ports.jobs import (
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
from photochanger.application.ports.signals import Topic
from photochanger.domain.audit import AuditEntry
from photochanger.domain.concurrency import UNLIMITED, ConcurrencyLimits
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
        made = self._records.jobs.get(submission.job_id)
        if made is not None and made.payload_id == submission.payload.media_id:
            return Submitted(reading=self._records.reading(made), replayed=False)
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

    async def get_many(self, job_ids: Collection[JobId]) -> Sequence[JobReading]:
        """Return those of the jobs that exist."""
        return [reading for job_id in job_ids if (reading := await self.get(job_id)) is not None]

    async def get_result(self, job_id: JobId) -> ResultReading | None:
        """Return of the job what its result needs, or None."""
        reading = await self.get(job_id)
        return None if reading is None else ResultReading.of(reading)

    async def claim(self, *, limit: int, lease: timedelta, limits: ConcurrencyLimits = UNLIMITED) -> Claimed:
        """Take up to `limit` claimable jobs, in the order of their submission."""
        claimed: list[JobReading] = []
        held = self._held()
        at_slots = Counter(job.slot_id for job in held)
        at_providers = Counter(self._records.places[job.job_id].provider for job in held)
        for job in self._records.unfinished():
            slot_id, provider = job.slot_id, job.configuration.call.provider
            if limit <= 0 or not self._can(job, JobEvent.CLAIMED, lease=lease):
                continue
            if len(claimed) >= limit:
                return Claimed(claimed, others_wait=True)
            if at_slots[slot_id] >= limits.slots.get(slot_id, math.inf) or (
                at_providers[provider] >= limits.providers.get(provider, math.inf)
            ):
                continue
            if (after := self._change(job.job_id, JobEvent.CLAIMED, lease=lease)) is not None:
                at_slots[slot_id] += 1
                at_providers[provider] += 1
                claimed.append(self._records.reading(after))
        others_wait = any(self._can(job, JobEvent.CLAIMED, lease=lease) for job in self._records.unfinished())
        return Claimed(claimed, others_wait=others_wait)

    def _held(self) -> Sequence[Job]:
        """Return the jobs that hold places, or wait for one at their provider."""
        now = self._records.clock.now()
        jobs = [self._records.jobs[job_id] for job_id in self._records.places]
        return [job for job in jobs if job.lease_expires_at and not has_passed(job.lease_expires_at, now=now)]

    async def move(self, job_id: JobId, *, fence: int, provider: str, places: int | None) -> Place:
        """Give up the job's place at its present provider, and take one at another, or wait for it."""
        job = self._records.jobs.get(job_id)
        if job is None or not self._can(job, JobEvent.RENEWED, fence=fence, lease=timedelta()):
            return Place.LOST
        present = self._records.places[job_id]
        if present == ProviderPlace(provider):
            return Place.TAKEN
        is_awaited = places is not None and len(self._before(job, provider)) >= places
        self._records.places[job_id] = ProviderPlace(provider, is_awaited=is_awaited)
        if present.provider != provider:
            self._records.hub.announce(Topic.PLACE_FREED)
        return Place.AWAITED if is_awaited else Place.TAKEN

    def _before(self, job: Job, provider: str) -> Sequence[Job]:
        """Return the other jobs that have a place at the provider, or have waited longer for one."""
        places = self._records.places
        return [
            other
            for other in self._held()
            if other is not job
            and places[other.job_id].provider == provider
            and (not places[other.job_id].is_awaited or self._records.is_earlier(other, job))
        ]

    def _can(self, job: Job, event: JobEvent, *, lease: timedelta, fence: int | None = None) -> bool:
        try:
            job.apply(event, now=self._records.clock.now(), fence=fence, lease=lease)
        except InvalidTransition:
            return False
        return True

    async def renew(self, job_id: JobId, *, fence: int, lease: timedelta, attempts: int = 0) -> bool:
        """Extend the lease, if it is still the caller's."""
        return self._change(job_id, JobEvent.RENEWED, fence=fence, lease=lease, attempts=attempts) is not None

    async def release(self, job_id: JobId, *, fence: int) -> bool:
        """Hand the job back, if it is still the caller's."""
        if self._change(job_id, JobEvent.RELEASED, fence=fence) is None:
            return False
        self._records.hub.announce(Topic.JOB_PENDING)
        self._records.hub.announce(Topic.PLACE_FREED)
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
