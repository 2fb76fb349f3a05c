"""What administrators do to jobs and their results."""

from photochanger.application.ports.jobs import EndedResults, JobReading, JobRepository
from photochanger.domain.audit import Actor, AuditAction, AuditEntry
from photochanger.domain.errors import JobFinalized, JobNotFound, SlotNotFound
from photochanger.domain.job import parse_job_id
from photochanger.domain.slot import parse_slot_id


class CancelJob:
    """Ends a job that is not final. The booth that waits for it gets an error at once."""

    def __init__(self, jobs: JobRepository) -> None:
        self._jobs = jobs

    async def __call__(self, job_id: str, actor: Actor) -> JobReading:
        """Return the cancelled job; raises `JobNotFound`, and `JobFinalized` where it came too late."""
        known = parse_job_id(job_id)
        entry = AuditEntry(action=AuditAction.JOB_CANCELLED, actor=actor, subject=job_id)
        reading = await self._jobs.cancel(known, entry=entry) if known else None
        if reading is None:
            raise JobNotFound
        if not reading.ended_here:
            raise JobFinalized
        return reading


class CleanSlot:
    """Ends the life of all of a slot's results before their time. Jobs under way are not touched."""

    def __init__(self, jobs: JobRepository) -> None:
        self._jobs = jobs

    async def __call__(self, slot_id: str, actor: Actor) -> EndedResults:
        """Return what was ended; the links answer 410 from now on. Raises `SlotNotFound`."""
        known = parse_slot_id(slot_id)
        if known is None:
            raise SlotNotFound
        entry = AuditEntry(action=AuditAction.SLOT_CLEANED, actor=actor, subject=known)
        return await self._jobs.end_results(known, entry=entry)
