"""The bytes of a stored file, for whoever delivers it."""

from collections.abc import AsyncIterator
from typing import BinaryIO

from photochanger.application.ports.media import MediaStore


class Content:
    """The bytes of one file in the media store, read when they are asked for.

    Both ways raise `FileNotFoundError` once the file is gone; whoever has it open keeps it.
    """

    def __init__(self, store: MediaStore, key: str) -> None:
        self._store = store
        self._key = key

    def read(self, start: int = 0, stop: int | None = None) -> AsyncIterator[bytes]:
        """Yield the bytes from `start` up to `stop`."""
        return self._store.read(self._key, start, stop)

    async def local(self) -> BinaryIO | None:
        """Return the file, open, where it is on this machine; else None. The caller closes it."""
        return await self._store.local(self._key)
