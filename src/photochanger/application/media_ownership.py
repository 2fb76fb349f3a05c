"""Whose files these are: a media store and a database belong together.

A process with the right store but another database, such as a new one, would take every file for a stray one.
So the store has a mark: a small file that holds the id of the installation, which the database has as well.
"""

import asyncio
from contextlib import suppress
from typing import Final

from photochanger.application.ports.storage import Installation, MediaStore
from photochanger.domain.errors import StorageUnavailable

MARK_KEY: Final = f"installation/00/{32 * '0'}"
"""Made like the keys of media, so that every store takes it, but of a kind that no media have."""

_PAUSE_SEC: Final = 0.1
_LOOKS: Final = 30
"""How often the mark is looked for while somebody else is writing it: it takes them a few milliseconds."""

_MARK_BYTES: Final = 64
_ANOTHERS: Final = (
    "The media store belongs to another database: start with that one, or, if this database is to delete the"
    f" files that it does not know and keep its own there, delete the file {MARK_KEY} from the store first"
)


class CheckMediaOwner:
    """Makes sure, when a process starts, that the files are those that its database knows."""

    def __init__(self, *, installation: Installation, store: MediaStore) -> None:
        self._installation = installation
        self._store = store

    async def __call__(self) -> None:
        """Return where the store is this installation's; where it was nobody's until now, it becomes it.

        Of several at once that find it nobody's, one gets it. Raises `StorageUnavailable`, with what to do,
        where it belongs to another.
        """
        own_id = await self._installation.get_id()
        if await self._owner(own_id) != own_id:
            raise StorageUnavailable(_ANOTHERS)

    async def _owner(self, candidate: str) -> str:
        if (owner := await self._read_or_write(candidate)) is None:
            # Nobody writes for so long: what is in the way was left by a process that was killed.
            await self._store.delete([MARK_KEY])
            owner = await self._read_or_write(candidate)
        if owner is None:
            raise StorageUnavailable("The media store could not be marked as this database's")
        return owner

    async def _read_or_write(self, candidate: str) -> str | None:
        """Return whose the store is now; None where somebody else's mark is begun and not done."""
        for _ in range(_LOOKS):
            if (owner := await self._read()) is not None:
                return owner
            if await self._write(candidate):
                return candidate
            await asyncio.sleep(_PAUSE_SEC)
        return None

    async def _read(self) -> str | None:
        content = b""
        try:
            async for chunk in self._store.read(MARK_KEY, 0, _MARK_BYTES):
                content += chunk
        except FileNotFoundError:
            return None
        return content.decode(errors="replace").strip()

    async def _write(self, installation_id: str) -> bool:
        # Not found is what is being written where somebody else has taken it for that of a killed process.
        with suppress(FileExistsError, FileNotFoundError):
            async with self._store.create(MARK_KEY) as writer:
                await writer.write(installation_id.encode())
                await writer.commit()
            return True
        return False
