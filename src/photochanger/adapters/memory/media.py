"""The registry of files in memory."""

from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Final

from photochanger.adapters.memory.records import MediaRow, MemoryRecords
from photochanger.application.ports.storage import MediaRegistry
from photochanger.domain.media import MediaId, MediaKind, MediaObject, MediaState
from photochanger.domain.retention import has_passed
from photochanger.domain.slot import SlotId

_OFFER_AGAIN_AFTER: Final = timedelta(seconds=30)


class MemoryMediaRegistry(MediaRegistry):
    """The rows of all files, in a dictionary."""

    def __init__(self, records: MemoryRecords) -> None:
        self._records = records

    async def intend(
        self, intents: Sequence[tuple[MediaId, MediaKind]], *, slot_id: SlotId, ttl: timedelta
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
            row
            for row in self._records.media.values()
            if row.media.state is not MediaState.DELETED and has_passed(row.offer_at, now=now)
        ]
        due.sort(key=lambda row: row.offer_at)
        offered = [replace(row.media, state=MediaState.DELETING) for row in due[:limit]]
        for media in offered:
            self._records.media[media.media_id] = MediaRow(media, offer_at=now + _OFFER_AGAIN_AFTER)
        return offered

    async def confirm_deleted(self, media_ids: Collection[MediaId]) -> None:
        """Record that these files are gone."""
        for media_id in media_ids:
            row = self._records.media.get(media_id)
            if row is not None and row.media.state is MediaState.DELETING:
                deleted = replace(row.media, state=MediaState.DELETED)
                self._records.media[media_id] = replace(row, media=deleted)
