"""Looking whether all is as it should be, without changing anything."""

import hashlib
from collections.abc import AsyncIterator, Sequence
from typing import Final

from photochanger.application.compare_media import PAGE, Compared, CompareMedia
from photochanger.application.ports.housekeeping import Housekeeping
from photochanger.application.ports.media import MediaRegistry, MediaStore
from photochanger.domain.consistency import Code, Discrepancy
from photochanger.domain.media import MediaObject, MediaState

LIMIT: Final = 1000
"""So many discrepancies of one kind between records are told at most."""


class Verify:
    """Finds everything that contradicts something else: records, and files. The program may be running."""

    def __init__(
        self,
        *,
        registry: MediaRegistry,
        store: MediaStore,
        housekeeping: Housekeeping,
        compare: CompareMedia,
    ) -> None:
        self._registry = registry
        self._store = store
        self._housekeeping = housekeeping
        self._compare = compare

    async def __call__(self, *, contents: bool = False) -> AsyncIterator[Compared]:
        """Yield what is wrong, some at a time; with `contents`, also which files' bytes have changed.

        Raises `StorageUnavailable` where the store is not this database's, or is not there.
        """
        yield Compared(0, await self._housekeeping.discrepancies(limit=LIMIT))
        async for compared in self._compare():
            yield compared
        if contents:
            async for page in self._stored():
                yield Compared(0, await self._changed(page))

    async def _stored(self) -> AsyncIterator[Sequence[MediaObject]]:
        after = ""
        while page := await self._registry.living(limit=PAGE, after=after):
            yield [media for media in page if media.state is MediaState.STORED]
            after = page[-1].key

    async def _changed(self, page: Sequence[MediaObject]) -> Sequence[Discrepancy]:
        changed = [media for media in page if not await self._is_as_stored(media)]
        rows = await self._registry.find([media.media_id for media in changed]) if changed else {}
        return [
            Discrepancy(code=Code.FILE_CHANGED, subject=row.key)
            for row in rows.values()
            if row.state is MediaState.STORED
        ]

    async def _is_as_stored(self, media: MediaObject) -> bool:
        digest, size_bytes = hashlib.sha256(), 0
        try:
            async for chunk in self._store.read(media.key):
                digest.update(chunk)
                size_bytes += len(chunk)
        except FileNotFoundError:
            return True  # the comparison finds that, if it is so
        return (size_bytes, digest.hexdigest()) == (media.size_bytes, media.sha256)
