"""Lists of jobs in memory."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from copy import deepcopy
from datetime import datetime

from photochanger.adapters.memory.records import MemoryRecords
from photochanger.application.ports.administration import JobCursor, JobFilter, JobHistory
from photochanger.domain.job import Job, JobId, JobSource, JobState
from photochanger.domain.retention import has_passed
from photochanger.domain.slot import SlotId


class MemoryJobHistory(JobHistory):
    """Jobs out of a dictionary, sorted whenever they are asked for."""

    def __init__(self, records: MemoryRecords) -> None:
        self._records = records

    async def page(self, wanted: JobFilter, *, limit: int, after: JobCursor | None = None) -> Sequence[Job]:
        """Return up to `limit` jobs that follow the cursor."""
        found = [
            job
            for job in self._newest_first()
            if _matches(job, wanted) and (after is None or _place(job) < (after.created_at, after.job_id))
        ]
        return deepcopy(found[:limit])

    async def latest(
        self, source: JobSource, states: Collection[JobState] | None = None
    ) -> Mapping[SlotId, Job]:
        """Return the newest job of each slot, of those from `source` and in `states`."""
        newest: dict[SlotId, Job] = {}
        for job in self._newest_first():
            if job.source is source and (states is None or job.state in states):
                newest.setdefault(job.slot_id, job)
        return deepcopy(newest)

    async def with_results(self, slot_id: SlotId, *, limit: int) -> Sequence[Job]:
        """Return up to `limit` of the slot's jobs whose result has not expired."""
        now = self._records.clock.now()
        found = [
            (job.finalized_at, job.job_id, job)
            for job in self._records.jobs.values()
            if job.slot_id == slot_id
            and job.finalized_at is not None
            and job.result_expires_at is not None
            and not has_passed(job.result_expires_at, now=now)
        ]
        found.sort(key=lambda each: each[:2], reverse=True)
        return [deepcopy(job) for *_, job in found[:limit]]

    def _newest_first(self) -> Iterable[Job]:
        return sorted(self._records.jobs.values(), key=_place, reverse=True)


def _place(job: Job) -> tuple[datetime, JobId]:
    return job.created_at, job.job_id


def _matches(job: Job, wanted: JobFilter) -> bool:
    return (
        wanted.slot_id in {None, job.slot_id}
        and (wanted.states is None or job.state in wanted.states)
        and wanted.source in {None, job.source}
        and (wanted.since is None or job.created_at >= wanted.since)
        and (wanted.until is None or job.created_at < wanted.until)
    )
