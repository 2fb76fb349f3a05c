"""The bytes of files in memory."""

import hashlib
from collections.abc import AsyncIterator, Collection, Iterator
from contextlib import asynccontextmanager, contextmanager
from io import BytesIO
from typing import BinaryIO, Final

from photochanger.application.ports.media import MediaStore, MediaWriter
from photochanger.domain.errors import StorageUnavailable
from photochanger.domain.media import StoredFile

_CHUNK_BYTES: Final = 256 * 1024


class MemoryMediaStore(MediaStore):
    """Files as bytes objects under their keys; `capacity_bytes` bounds what all of them hold together.

    The keys in `stuck` are those that a deletion fails for, as it may on a disk. While the store `is_down`,
    whatever is asked of it fails.
    """

    def __init__(self, *, capacity_bytes: int | None = None) -> None:
        self.capacity_bytes = capacity_bytes
        self.stuck: set[str] = set()
        self.is_down = False
        self._files: dict[str, bytes] = {}
        self._writers: list[_MemoryWriter] = []

    @asynccontextmanager
    async def create(self, key: str) -> AsyncIterator[MediaWriter]:
        """Return a writer for a new file."""
        self._require_up()
        writer = _MemoryWriter(self, key)
        self._writers.append(writer)
        try:
            yield writer
        finally:
            self._writers.remove(writer)
            writer.close()

    @asynccontextmanager
    async def open(self, key: str) -> AsyncIterator[BinaryIO]:
        """Return the file's bytes as a readable file, for the time of the context."""
        with BytesIO(self._bytes_of(key)) as file:
            yield file

    async def read(self, key: str, start: int = 0, stop: int | None = None) -> AsyncIterator[bytes]:
        """Yield the bytes from `start` up to `stop`, in chunks of at most 256 KiB."""
        content = self._bytes_of(key)[start:stop]
        for position in range(0, len(content), _CHUNK_BYTES):
            yield content[position : position + _CHUNK_BYTES]

    async def local(self, key: str) -> None:
        """Return None for what is there: there are no descriptors in memory."""
        self._bytes_of(key)

    @contextmanager
    def scratch(self) -> Iterator[BinaryIO]:
        """Return an empty file without a name, for work in progress."""
        with _MemoryScratch(self) as file:
            yield file

    async def delete(self, keys: Collection[str]) -> Collection[str]:
        """Delete the files; return the keys that are clear."""
        self._require_up()
        clear = set(keys) - self.stuck
        for key in clear:
            self._files.pop(key, None)
        return clear

    async def keys(self, after: str = "") -> AsyncIterator[str]:
        """Yield the key of every file, whole or partial, that comes after `after`, in ascending order."""
        self._require_up()
        for key in sorted({*self._files, *(writer.key for writer in self._writers)}):
            if key > after:
                yield key

    async def ping(self) -> None:
        """Raise `StorageUnavailable` where there is no room for a byte."""
        self.make_room_for(1)

    def make_room_for(self, size_bytes: int) -> None:
        """Raise `StorageUnavailable` where `size_bytes` more would be too many."""
        self._require_up()
        used = sum(map(len, self._files.values())) + sum(writer.size_bytes for writer in self._writers)
        if self.capacity_bytes is not None and used + size_bytes > self.capacity_bytes:
            raise StorageUnavailable

    def put(self, key: str, content: bytes) -> None:
        """Make a file visible. Raises `FileExistsError` where the key has one."""
        self._require_up()
        if key in self._files:
            raise FileExistsError(key)
        self._files[key] = content

    def _require_up(self) -> None:
        if self.is_down:
            raise StorageUnavailable

    def _bytes_of(self, key: str) -> bytes:
        self._require_up()
        try:
            return self._files[key]
        except KeyError:
            raise FileNotFoundError(key) from None


class _MemoryScratch(BytesIO):
    def __init__(self, store: MemoryMediaStore) -> None:
        super().__init__()
        self._store = store

    def write(self, chunk: bytes | bytearray | memoryview) -> int:  # type: ignore[override]
        self._store.make_room_for(self.tell() + len(chunk))
        return super().write(chunk)


class _MemoryWriter(MediaWriter):
    def __init__(self, store: MemoryMediaStore, key: str) -> None:
        self.key = key
        self._store = store
        self._written = bytearray()
        self._contents: list[BytesIO] = []

    @property
    def size_bytes(self) -> int:
        return len(self._written)

    async def write(self, chunk: bytes | bytearray | memoryview) -> None:
        self._store.make_room_for(len(chunk))
        self._written += chunk

    def contents(self) -> BinaryIO:
        file = BytesIO(bytes(self._written))
        self._contents.append(file)
        return file

    async def commit(self) -> StoredFile:
        content = bytes(self._written)
        self._store.put(self.key, content)
        return StoredFile(size_bytes=len(content), sha256=hashlib.sha256(content).hexdigest())

    def close(self) -> None:
        for file in self._contents:
            file.close()
