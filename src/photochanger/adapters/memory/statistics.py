"""Statistics in memory: everything is counted whenever it is asked for."""

from collections import defaultdict
from collections.abc import Mapping
from datetime import datetime, timedelta

from photochanger.adapters.memory.records import MemoryRecords
from photochanger.application.ports.administration import Statistics
from photochanger.domain.job import Job, JobSource, JobState
from photochanger.domain.media import MediaState
from photochanger.domain.slot import SlotId
from photochanger.domain.statistics import (
    HOUR,
    SETTLED_AFTER,
    Period,
    Present,
    SlotTallies,
    Tally,
    bucket_of,
    counted,
)


class MemoryStatistics(Statistics):
    """Counts out of a dictionary. Nothing is added up; it is only remembered how far it would be."""

    def __init__(self, records: MemoryRecords) -> None:
        self._records = records

    async def tallies(self, period: Period) -> SlotTallies:
        """Return the tallies of the period by slot and bucket."""
        by_slot: dict[SlotId, list[Job]] = defaultdict(list)
        for _, job in self._ended(period.start, period.end):
            by_slot[job.slot_id].append(job)
        return {slot_id: _by_bucket(jobs, period.bucket) for slot_id, jobs in by_slot.items()}

    async def series(self, period: Period) -> Mapping[datetime, Tally]:
        """Return the same for all slots together."""
        return _by_bucket([job for _, job in self._ended(period.start, period.end)], period.bucket)

    async def present(self) -> Present:
        """Return what is going on now."""
        now = self._records.clock.now()
        waiting = [job for job in self._records.unfinished() if job.state is JobState.PENDING]
        stored = [row.media for row in self._records.media.values() if row.media.state is MediaState.STORED]
        return Present(
            queue_depth=len(waiting),
            oldest_wait_sec=max([(now - job.created_at).total_seconds() for job in waiting], default=0),
            under_way=sum(job.state is JobState.PROCESSING for job in self._records.unfinished()),
            media_bytes=sum(media.size_bytes or 0 for media in stored),
        )

    async def roll_up(self, *, limit: int) -> int:
        """Say of up to `limit` hours that their jobs are added up."""
        over = bucket_of(self._records.clock.now() - SETTLED_AFTER, HOUR)
        first = min(
            (ended_at for ended_at, _ in self._ended(self._records.added_up_until, over)), default=over
        )
        begin = bucket_of(first, HOUR)
        until = max(self._records.added_up_until, min(over, begin + limit * HOUR))
        self._records.added_up_until = until
        return max(0, (until - begin) // HOUR)

    def _ended(self, start: datetime, end: datetime) -> list[tuple[datetime, Job]]:
        return [
            (job.finalized_at, job)
            for job in [*self._records.jobs.values(), *self._records.forgotten]
            if job.source is JobSource.BOOTH
            and job.finalized_at is not None
            and start <= job.finalized_at < end
        ]


def _by_bucket(jobs: list[Job], length: timedelta) -> Mapping[datetime, Tally]:
    by_bucket: dict[datetime, list[Job]] = defaultdict(list)
    for job in jobs:
        if job.finalized_at is not None:
            by_bucket[bucket_of(job.finalized_at, length)].append(job)
    return {start: counted(among) for start, among in by_bucket.items()}
