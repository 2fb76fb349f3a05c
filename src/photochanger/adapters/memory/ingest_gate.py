"""The gate for photos in memory."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from math import ceil
from statistics import fmean, pstdev

from photochanger.adapters.memory.records import MediaRow, MemoryRecords
from photochanger.application.ports.admission import (
    PACE_JOBS,
    PACES_LOOK_AT_JOBS,
    SLOW_SHARE,
    IngestGate,
    Passage,
)
from photochanger.domain.job import Job, JobSource, JobState
from photochanger.domain.media import MediaEvent, MediaId, MediaKind, MediaObject, MediaState, states_before
from photochanger.domain.rate import Rate
from photochanger.domain.retention import has_passed
from photochanger.domain.slot import SlotId
from photochanger.domain.waiting import Pace, SlotTraffic, Traffic


class MemoryIngestGate(IngestGate):
    """The rate's state as one moment; what goes on is counted when it is asked for."""

    def __init__(self, records: MemoryRecords) -> None:
        self._records = records

    async def enter(
        self, media_id: MediaId, *, slot_id: SlotId, ttl: timedelta, rate: Rate | None
    ) -> Passage:
        """Let a photo in if the rate does, and announce its payload."""
        now, traffic = self._records.clock.now(), await self.traffic()
        row = self._announcement(media_id, slot_id, ttl)
        if rate is not None:
            arrival = rate.arrive(self._records.tat, now)
            self._records.tat = arrival.tat
            wait_sec, has_entered = arrival.wait.total_seconds(), arrival.is_let_in
        else:
            wait_sec, has_entered = 0.0, True
        if has_entered:
            self._records.media[media_id] = row
        return Passage(has_entered=has_entered, wait_sec=wait_sec, traffic=traffic)

    def _announcement(self, media_id: MediaId, slot_id: SlotId, ttl: timedelta) -> MediaRow:
        row, now = self._records.media.get(media_id), self._records.clock.now()
        if row is None:
            media = MediaObject(
                media_id=media_id,
                kind=MediaKind.PAYLOAD,
                slot_id=slot_id,
                state=MediaState.PENDING,
                created_at=now,
                expires_at=now + ttl,
            )
            return MediaRow(media, offer_at=media.expires_at)
        is_free = row.media.slot_id is None and row.media.kind is MediaKind.PAYLOAD
        if not is_free or row.media.state not in states_before(MediaEvent.STORED):
            raise ValueError("a media id is already known")
        return replace(row, media=replace(row.media, slot_id=slot_id))

    async def leave(self, media_id: MediaId, *, rate: Rate | None) -> None:
        """Take back what `enter` did."""
        if rate is not None:
            self._records.tat = rate.take_back(self._records.tat)
        self._records.condemn([media_id])

    async def traffic(self) -> Traffic:
        """Return what is going on now."""
        now = self._records.clock.now()
        slots: dict[SlotId, SlotTraffic] = defaultdict(SlotTraffic)
        for row in self._records.media.values():
            slot_id = row.media.slot_id
            if slot_id is not None and self._is_on_the_way(row.media):
                before = slots[SlotId(slot_id)]
                slots[SlotId(slot_id)] = replace(before, on_the_way=before.on_the_way + 1)
        for job in self._records.unfinished():
            if not has_passed(job.deadline, now=now):
                slots[job.slot_id] = self._with(slots[job.slot_id], job)
        places = [places for places, until in self._records.workers.values() if places and until > now]
        return Traffic(slots=dict(slots), places=sum(places) if places else None)

    def _is_on_the_way(self, media: MediaObject) -> bool:
        return (
            media.kind is MediaKind.PAYLOAD
            and media.state is MediaState.PENDING
            and media.expires_at is not None
            and not has_passed(media.expires_at, now=self._records.clock.now())
        )

    def _with(self, slot: SlotTraffic, job: Job) -> SlotTraffic:
        if job.state is JobState.PENDING or job.started_at is None:
            return replace(slot, waiting=slot.waiting + 1)
        elapsed = self._records.clock.now() - job.started_at
        return replace(
            slot,
            in_service=slot.in_service + 1,
            in_service_sec=slot.in_service_sec + elapsed.total_seconds(),
        )

    async def paces(self) -> Sequence[Pace]:
        """Return how long the last jobs of each slot took."""
        booths = [job for job in self._records.jobs.values() if job.source is JobSource.BOOTH]
        ended = [(job.finalized_at, job) for job in booths if job.finalized_at is not None]
        ended.sort(key=lambda at_and_job: at_and_job[0], reverse=True)
        last: dict[SlotId, list[Job]] = defaultdict(list)
        for _, job in ended[:PACES_LOOK_AT_JOBS]:
            if job.started_at is not None and len(last[job.slot_id]) < PACE_JOBS:
                last[job.slot_id].append(job)
        return [pace for jobs in last.values() if jobs for pace in _paces(jobs)]

    async def tell_of_workers(self, process_id: str, *, places: int, ttl: timedelta) -> None:
        """Record how many jobs a process can do at once."""
        self._records.workers[process_id] = (places, self._records.clock.now() + ttl)


def _paces(jobs: Sequence[Job]) -> Sequence[Pace]:
    by_provider: dict[str, list[Job]] = defaultdict(list)
    for job in jobs:
        by_provider[job.configuration.call.provider].append(job)
    return [_pace(provider, of_provider) for provider, of_provider in by_provider.items()]


def _pace(provider: str, jobs: Sequence[Job]) -> Pace:
    seconds = [_seconds(job) for job in jobs]
    completed = sorted(_seconds(job) for job in jobs if job.state is JobState.COMPLETED)
    return Pace(
        slot_id=jobs[0].slot_id,
        provider=provider,
        jobs=len(jobs),
        mean_sec=fmean(seconds),
        deviation_sec=pstdev(seconds),
        slow_sec=completed[ceil(SLOW_SHARE * len(completed)) - 1] if completed else 0.0,
    )


def _seconds(job: Job) -> float:
    if job.finalized_at is None or job.started_at is None:
        raise ValueError("the job was not done")
    return (job.finalized_at - job.started_at).total_seconds()
