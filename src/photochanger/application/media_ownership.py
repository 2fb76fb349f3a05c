"""Whose these files are: a media store and a database belong together.

A process with the right store but another database, such as a new one, would take every file for a stray
one; with the right database but another store, such as the folder of a disk that is not mounted, every file
for a lost one. So the store has a mark: a small file that holds the id of the installation, which the
database has as well. And the database remembers that it has marked a store.
"""

import asyncio
from contextlib import suppress
from enum import StrEnum
from typing import Final

from photochanger.application.ports.media import Installation, MediaStore
from photochanger.domain.errors import StorageUnavailable

MARK_KEY: Final = f"installation/00/{32 * '0'}"
"""Made like the keys of media, so that every store takes it, but of a kind that no media have."""

_PAUSE_SEC: Final = 0.1
_LOOKS: Final = 30
"""How often the mark is looked for while somebody else is writing it: it takes them a few milliseconds."""

_MARK_BYTES: Final = 64
_ANOTHERS: Final = (
    "The media store belongs to another database: start with that one, or name this one's folder or bucket."
    " If this database is to delete the files that it does not know and keep its own there, run"
    " photochanger adopt-media"
)
_LOST: Final = (
    "The media store has lost its mark: is the right folder or bucket named, and its disk mounted? If the"
    " files really are gone, run photochanger adopt-media: the results whose files are missing then end"
)
_NOT_MARKED: Final = "The media store could not be marked as this database's"


class Owner(StrEnum):
    """Whose a media store is, as seen from this database."""

    NOBODY = "nobody"
    THIS_DATABASE = "this_database"
    ANOTHER_DATABASE = "another_database"


class CheckMediaOwner:
    """Makes sure that the files are those that the database knows."""

    def __init__(self, *, installation: Installation, store: MediaStore) -> None:
        self._installation = installation
        self._mark = _Mark(store)

    async def __call__(self) -> None:
        """Return where the store is this installation's; an installation's first store becomes it.

        Of several at once that find a store nobody's, one gets it. Raises `StorageUnavailable`, with what to
        do, where the store belongs to another, or is nobody's although this installation has marked one.
        """
        if await self._installation.has_marked_media():
            await self.require()
            return
        own_id = await self._installation.get_id()
        _refuse_unless_own(await self._mark.read_or_write(own_id), own_id)
        await self._installation.media_marked()

    async def require(self) -> None:
        """Return where the store has this installation's mark, and change nothing; else raise the same."""
        _refuse_unless_own(await self._mark.read(), await self._installation.get_id())


class AdoptMedia:
    """Makes a store this installation's, whosever it was: an operator wants it so."""

    def __init__(self, *, installation: Installation, store: MediaStore) -> None:
        self._installation = installation
        self._store = store
        self._mark = _Mark(store)

    async def __call__(self) -> Owner:
        """Mark the store, and return whose it was. Killed in the middle, it leaves nobody's, to be run again.

        Raises `StorageUnavailable` where the store cannot be marked.
        """
        own_id, found = await self._installation.get_id(), await self._mark.read()
        if found != own_id:
            await self._store.delete([MARK_KEY])
            if await self._mark.read_or_write(own_id) != own_id:
                raise StorageUnavailable(_NOT_MARKED)
        await self._installation.media_marked()
        if found is None:
            return Owner.NOBODY
        return Owner.THIS_DATABASE if found == own_id else Owner.ANOTHER_DATABASE


def _refuse_unless_own(owner: str | None, own_id: str) -> None:
    if owner is None:
        raise StorageUnavailable(_LOST)
    if owner != own_id:
        raise StorageUnavailable(_ANOTHERS)


class _Mark:
    """The mark in a store: the id of the installation that it belongs to."""

    def __init__(self, store: MediaStore) -> None:
        self._store = store

    async def read(self) -> str | None:
        """Return whose the store is; None where it is nobody's."""
        content = b""
        try:
            async for chunk in self._store.read(MARK_KEY, 0, _MARK_BYTES):
                content += chunk
        except FileNotFoundError:
            return None
        return content.decode(errors="replace").strip()

    async def read_or_write(self, candidate: str) -> str:
        """Return whose the store is now: the candidate's where it was nobody's, and nobody was quicker."""
        if (owner := await self._settled(candidate)) is None:
            # Nobody writes for so long: what is in the way was left by a process that was killed.
            await self._store.delete([MARK_KEY])
            owner = await self._settled(candidate)
        if owner is None:
            raise StorageUnavailable(_NOT_MARKED)
        return owner

    async def _settled(self, candidate: str) -> str | None:
        """Return whose the store is now; None where somebody else's mark is begun and not done."""
        for _ in range(_LOOKS):
            if (owner := await self.read()) is not None:
                return owner
            if await self._write(candidate):
                return candidate
            await asyncio.sleep(_PAUSE_SEC)
        return None

    async def _write(self, installation_id: str) -> bool:
        # Not found is what is being written where somebody else has taken it for that of a killed process.
        with suppress(FileExistsError, FileNotFoundError):
            async with self._store.create(MARK_KEY) as writer:
                await writer.write(installation_id.encode())
                await writer.commit()
            return True
        return False
