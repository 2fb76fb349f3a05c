"""The registry of files in memory."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from photochanger.adapters.memory.records import MediaRow, MemoryRecords
from photochanger.application.ports.media import MediaReading, MediaRegistry
from photochanger.domain.media import (
    MediaEvent,
    MediaId,
    MediaKind,
    MediaObject,
    MediaState,
    StoredImage,
    state_after,
    states_before,
)
from photochanger.domain.retention import has_passed
from photochanger.domain.slot import SlotId

_OFFER_AGAIN_AFTER: Final = timedelta(seconds=30)


class MemoryMediaRegistry(MediaRegistry):
    """The rows of all files, in a dictionary."""

    def __init__(self, records: MemoryRecords) -> None:
        self._records = records

    async def intend(
        self, intents: Sequence[tuple[MediaId, MediaKind]], *, slot_id: SlotId | None, ttl: timedelta
    ) -> None:
        """Record that these files are about to be written."""
        media_ids = [media_id for media_id, _ in intents]
        if len(set(media_ids)) < len(media_ids) or self._records.media.keys() & set(media_ids):
            raise ValueError("a media id is already known")
        now = self._records.clock.now()
        for media_id, kind in intents:
            media = MediaObject(
                media_id=media_id,
                kind=kind,
                slot_id=slot_id,
                state=MediaState.PENDING,
                created_at=now,
                expires_at=now + ttl,
            )
            self._records.media[media_id] = MediaRow(media, offer_at=media.expires_at)

    async def offer(self, image: StoredImage) -> None:
        """Mark a pending provider link as stored."""
        self._records.require_announced([image], kind=MediaKind.PROVIDER_LINK)
        self._records.store_images([image], until=self._records.media[image.media_id].media.expires_at)

    async def fetch(self, media_id: MediaId) -> MediaReading | None:
        """Return the row with the time, and record the first fetching of a provider link."""
        row, now = self._records.media.get(media_id), self._records.clock.now()
        if row is not None and row.media.fetched_at is None and _is_open_link(row.media, now):
            self._records.media[media_id] = replace(row, media=replace(row.media, fetched_at=now))
        return await self.peek(media_id)

    async def peek(self, media_id: MediaId) -> MediaReading | None:
        """Return the row with the time."""
        row = self._records.media.get(media_id)
        return None if row is None else MediaReading(media=row.media, now=self._records.clock.now())

    async def fetched(self, media_ids: Collection[MediaId]) -> Collection[MediaId]:
        """Return those of the files that were ever fetched."""
        rows = (self._records.media.get(media_id) for media_id in media_ids)
        return {row.media.media_id for row in rows if row is not None and row.media.fetched_at is not None}

    async def get(self, media_id: MediaId) -> MediaObject | None:
        """Return the row, or None."""
        row = self._records.media.get(media_id)
        return None if row is None else row.media

    async def condemn(self, media_ids: Collection[MediaId]) -> None:
        """Mark these files for deletion."""
        self._records.condemn(media_ids)

    async def doomed(self, *, limit: int) -> Sequence[MediaObject]:
        """Return up to `limit` files that must go, the oldest first, and mark them `deleting`."""
        now = self._records.clock.now()
        due = [
            (row.offer_at, row.media)
            for row in self._records.media.values()
            if row.media.state is not MediaState.DELETED
            and row.offer_at is not None
            and has_passed(row.offer_at, now=now)
        ]
        due.sort(key=lambda at_and_media: at_and_media[0])
        offered = [replace(media, state=state_after(MediaEvent.ENDED)) for _, media in due[:limit]]
        for media in offered:
            self._records.media[media.media_id] = MediaRow(media, offer_at=now + _OFFER_AGAIN_AFTER)
        return offered

    async def confirm_deleted(self, media_ids: Collection[MediaId]) -> None:
        """Record that these files are gone."""
        for media_id in media_ids:
            row = self._records.media.get(media_id)
            if row is not None and row.media.state in states_before(MediaEvent.CONFIRMED):
                deleted = replace(row.media, state=state_after(MediaEvent.CONFIRMED))
                self._records.media[media_id] = replace(row, media=deleted)

    async def living(self, *, limit: int, after: str = "") -> Sequence[MediaObject]:
        """Return up to `limit` files that are not deleted, in the order of their keys."""
        media = (row.media for row in self._records.media.values())
        living = [each for each in media if each.state is not MediaState.DELETED and each.key > after]
        return sorted(living, key=lambda each: each.key)[:limit]

    async def find(self, media_ids: Collection[MediaId]) -> Mapping[MediaId, MediaObject]:
        """Return the rows that there are, by their id."""
        rows = self._records.media
        return {media_id: rows[media_id].media for media_id in media_ids if media_id in rows}

    async def found(self, files: Collection[tuple[MediaId, MediaKind]]) -> Collection[MediaId]:
        """Take over files that no row expects."""
        return {media_id for media_id, kind in files if self._take_over(media_id, kind)}

    def _take_over(self, media_id: MediaId, kind: MediaKind) -> bool:
        row, now = self._records.media.get(media_id), self._records.clock.now()
        if row is None:
            media = MediaObject(
                media_id=media_id,
                kind=kind,
                slot_id=None,
                state=state_after(MediaEvent.FOUND),
                created_at=now,
                expires_at=now,
            )
        elif row.media.kind is kind and row.media.state in states_before(MediaEvent.FOUND):
            media = replace(row.media, state=state_after(MediaEvent.FOUND), expires_at=now)
        else:
            return False
        self._records.media[media_id] = MediaRow(media, offer_at=now)
        return True

    async def lost(self, media_ids: Collection[MediaId]) -> Collection[MediaId]:
        """Record that these files are not where they were stored."""
        lost, now = set(), self._records.clock.now()
        for media_id in media_ids:
            row = self._records.media.get(media_id)
            if row is not None and row.media.state in states_before(MediaEvent.LOST):
                end = min(row.media.expires_at or now, now)
                media = replace(row.media, state=state_after(MediaEvent.LOST), expires_at=end)
                self._records.media[media_id] = replace(row, media=media)
                lost.add(media_id)
        for job in list(self._records.jobs.values()):
            if job.result is not None and job.result.image.media_id in lost:
                self._records.end_result(job, spared=lost)
        return lost


def _is_open_link(media: MediaObject, now: datetime) -> bool:
    return (
        media.kind is MediaKind.PROVIDER_LINK
        and media.state is MediaState.STORED
        and media.expires_at is not None
        and not has_passed(media.expires_at, now=now)
    )
