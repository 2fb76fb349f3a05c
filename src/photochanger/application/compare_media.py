"""Comparing the files in the media store with the rows that know them."""

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final

from photochanger.application.media_ownership import CheckMediaOwner
from photochanger.application.ports.media import MediaRegistry, MediaStore
from photochanger.domain.consistency import Code, Discrepancy
from photochanger.domain.media import MediaId, MediaKind, MediaObject, MediaState, parse_media_key

PAGE: Final = 500
"""How many files and rows are compared at once."""


@dataclass(frozen=True, slots=True)
class Compared:
    """How many files and rows were come past since the last time, and what differs among them."""

    files: int
    discrepancies: Sequence[Discrepancy]


class CompareMedia:
    """Finds where files and rows differ, while the program goes on writing and deleting.

    Both come in the order of their keys, a page at a time, so that memory does not grow with their number.
    What is seen of one may be older than what is seen of the other. Therefore every difference is looked at
    again, in the order in which it could not be one: of a file the row first and then whether it is still
    there, of a row the file first and then whether it still says `stored`. And nothing is said of files that
    are not this database's: the store's mark is looked for before anything else, and between what was seen of
    a file and what is said of it. So a disk that goes away in the middle has lost nothing.
    """

    def __init__(self, *, registry: MediaRegistry, store: MediaStore, owner: CheckMediaOwner) -> None:
        self._registry = registry
        self._store = store
        self._owner = owner

    async def __call__(self) -> AsyncIterator[Compared]:
        """Yield what differs, page by page; also where nothing does, so that the caller may rest.

        Raises `StorageUnavailable` where the store is not this database's, or is not there, from then on.
        """
        await self._owner.require()
        page: list[tuple[str | None, MediaObject | None]] = []
        async for pair in self._side_by_side():
            page.append(pair)
            if len(page) == PAGE:
                yield await self._compared(page)
                page = []
        yield await self._compared(page)

    async def _compared(self, page: Sequence[tuple[str | None, MediaObject | None]]) -> Compared:
        strays = [key for key, media in page if key is not None and media is None]
        missing = [
            media
            for key, media in page
            if key is None and media is not None and media.state is MediaState.STORED
        ]
        return Compared(len(page), [*await self._strays(strays), *await self._missing(missing)])

    async def _side_by_side(self) -> AsyncIterator[tuple[str | None, MediaObject | None]]:
        """Yield every file and every row, in the order of their keys; together where they belong together."""
        async with aclosing(self._media_keys()) as keys, aclosing(self._rows()) as rows:
            key, media = await anext(keys, None), await anext(rows, None)
            while key is not None or media is not None:
                has_file = key is not None and (media is None or key <= media.key)
                has_row = media is not None and (key is None or media.key <= key)
                yield key if has_file else None, media if has_row else None
                key = await anext(keys, None) if has_file else key
                media = await anext(rows, None) if has_row else media

    async def _media_keys(self) -> AsyncGenerator[str, None]:
        async for key in self._store.keys():
            if parse_media_key(key) is not None:
                yield key

    async def _rows(self) -> AsyncGenerator[MediaObject, None]:
        after = ""
        while page := await self._registry.living(limit=PAGE, after=after):
            for media in page:
                yield media
            after = page[-1].key

    async def _strays(self, keys: Sequence[str]) -> Sequence[Discrepancy]:
        if not keys:
            return []
        ids = {key: media_of(key)[1] for key in keys}
        rows = await self._registry.find(list(ids.values()))
        strays = [(key, code) for key in keys if (code := _judged(key, rows.get(ids[key]))) is not None]
        found = [Discrepancy(code=code, subject=key) for key, code in strays if await self._is_there(key)]
        if found:
            await self._owner.require()
        return found

    async def _is_there(self, key: str) -> bool:
        """Say whether there is anything under the key, whole or partial."""
        async for found in self._store.keys(after=key[:-1]):
            if found >= key:
                return found == key
        return False

    async def _missing(self, media: Sequence[MediaObject]) -> Sequence[Discrepancy]:
        missing = await self._not_whole(media)
        if missing:
            await self._owner.require()
            missing = await self._not_whole(missing)  # the disk may have come back just now
        rows = await self._registry.find([each.media_id for each in missing]) if missing else {}
        return [
            Discrepancy(code=Code.ROW_WITHOUT_FILE, subject=row.key)
            for row in rows.values()
            if row.state is MediaState.STORED
        ]

    async def _not_whole(self, media: Sequence[MediaObject]) -> Sequence[MediaObject]:
        return [each for each in media if not await self._is_whole(each.key)]

    async def _is_whole(self, key: str) -> bool:
        try:
            async for _ in self._store.read(key, 0, 0):
                pass
        except FileNotFoundError:
            return False
        return True


def _judged(key: str, media: MediaObject | None) -> Code | None:
    """Return what is wrong with a file whose row is this, if anything is."""
    if media is None or media.key != key:
        return Code.FILE_WITHOUT_ROW
    return Code.FILE_AFTER_DELETION if media.state is MediaState.DELETED else None


def media_of(key: str) -> tuple[MediaKind, MediaId]:
    """Return the kind and the id of the file with this key; raises `ValueError` for a key of another kind."""
    parsed = parse_media_key(key)
    if parsed is None:
        raise ValueError("not a key of media")
    return parsed
