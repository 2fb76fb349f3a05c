"""The media store in an S3-compatible service.

A key `payload/ab/ab12…` is the object of that name below the prefix. What is received waits in a scratch file
on this machine until it is committed; what is opened is brought into one. Nothing outside the prefix is asked
for, listed or deleted.

A bucket that keeps old versions would keep what was deleted: `check` refuses it.
"""

import asyncio
import hashlib
import re
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection, Iterator
from contextlib import (
    AbstractContextManager,
    ExitStack,
    aclosing,
    asynccontextmanager,
    contextmanager,
    suppress,
)
from typing import BinaryIO, Final, TypeAlias

import obstore
from obstore.exceptions import BaseError

from photochanger.adapters.object_store.bucket import Bucket
from photochanger.adapters.object_store.checking import check_bucket
from photochanger.adapters.object_store.client import DOWNLOAD_SEC, connect
from photochanger.adapters.object_store.deletion import Deletion
from photochanger.adapters.object_store.faults import NOT_SATISFIABLE, answered, code_of, translated
from photochanger.adapters.object_store.local_files import append, body_of, reader_of
from photochanger.adapters.object_store.uploads import PART, PART_BYTES, SINGLE_BYTES, Uploads
from photochanger.application.ports.media import MediaStore, MediaWriter
from photochanger.domain.errors import StorageUnavailable
from photochanger.domain.media import StoredFile

CHUNK_BYTES: Final = 256 * 1024

PAGE_KEYS: Final = 1000
"""As many as one answer of a listing holds."""

_KEY = re.compile(r"([a-z]+(?:_[a-z]+)*)/([0-9a-f]{2})/(\2[0-9a-f]{30})")
_NOTHING_THERE: Final = "ping"

Scratch: TypeAlias = Callable[[], AbstractContextManager[BinaryIO]]
"""Makes an empty file without a name, which vanishes with its context."""


class ObjectMediaStore(MediaStore):
    """Keeps files in a bucket. Call `check` before the first use.

    `scratch` makes the files in work, on a disk of this machine with room for the photos that are on their
    way. `single_bytes` and `part_bytes` say how files are sent (`uploads`).
    """

    def __init__(
        self,
        bucket: Bucket,
        *,
        scratch: Scratch,
        single_bytes: int = SINGLE_BYTES,
        part_bytes: int = PART_BYTES,
    ) -> None:
        self._bucket = bucket
        self._scratch = scratch
        self._client = connect(bucket)
        self._downloads = connect(bucket, request_sec=DOWNLOAD_SEC)
        self._uploads = Uploads(self._client, single_bytes=single_bytes, part_bytes=part_bytes)
        self._deletion = Deletion(bucket, self._uploads)
        self._withdrawals: set[asyncio.Task[None]] = set()

    @property
    def is_conditional(self) -> bool:
        """Whether the service itself sees to it that a key is written once; known after `check`."""
        return self._uploads.is_conditional

    async def check(self) -> None:
        """Try all that the store will need, with a small object that is gone afterwards.

        Raises `StorageUnavailable` with one sentence that says what is wrong, and which variable to look at.
        """
        self._uploads.is_conditional = await check_bucket(self._client, self._bucket)

    async def ping(self) -> None:
        """Have the service list nothing; see the port."""
        with self.scratch() as file, translated():
            append(file, memoryview(b"ready"))
        async with answered():
            async for _page in obstore.list(self._client, _NOTHING_THERE):
                pass

    @asynccontextmanager
    async def create(self, key: str) -> AsyncIterator[MediaWriter]:
        """Return a writer for a new file; see the port."""
        path = _checked(key)
        with self.scratch() as file:
            writer = _Writer(file, path, self._uploads, self._withdraw_later)
            try:
                yield writer
            finally:
                writer.close()

    @asynccontextmanager
    async def open(self, key: str) -> AsyncIterator[BinaryIO]:
        """Return the file's bytes as a local file; see the port."""
        with self.scratch() as file:
            async with aclosing(self.read(key)) as chunks:
                async for chunk in chunks:
                    with translated():
                        append(file, memoryview(chunk))
            file.seek(0)
            yield file

    async def read(self, key: str, start: int = 0, stop: int | None = None) -> AsyncGenerator[bytes, None]:
        """Yield the bytes from `start` up to `stop` in chunks of at most 256 KiB; see the port.

        They are asked for once, and come as they are taken. A service that is interrupted is asked for the
        rest; where the key was deleted meanwhile, `StorageUnavailable` is raised then.
        """
        found = await self._found(_checked(key), start, stop)
        if found is None:
            return
        stream = found.stream(CHUNK_BYTES)
        while True:
            async with answered():
                try:
                    received = await anext(stream)
                except StopAsyncIteration:
                    return
            for position in range(0, len(received), CHUNK_BYTES):
                yield bytes(received[position : position + CHUNK_BYTES])

    async def _found(self, path: str, start: int, stop: int | None) -> "obstore.GetResult | None":
        """Begin a download; None where the file is there and has no such bytes."""
        options: obstore.GetOptions = {}
        is_empty = stop is not None and start >= stop
        if is_empty:
            options["head"] = True
        elif stop is not None:
            options["range"] = (start, stop)
        elif start:
            options["range"] = {"offset": start}
        async with answered():
            try:
                found = await obstore.get_async(self._downloads, path, options=options)
            except BaseError as error:
                if code_of(error) == NOT_SATISFIABLE:
                    return None
                raise
        return None if is_empty else found

    async def local(self, _key: str) -> None:
        """Return None: the bytes are in the service."""

    @contextmanager
    def scratch(self) -> Iterator[BinaryIO]:
        """Return an empty file without a name; see the port."""
        with self._scratch() as file:
            yield file

    async def delete(self, keys: Collection[str]) -> Collection[str]:
        """Delete the files and the marks of unfinished uploads, if there are any; see the port."""
        return await self._deletion([_checked(key) for key in keys])

    async def keys(self, after: str = "") -> AsyncIterator[str]:
        """Yield the keys of files, whole or partial, as the pages of the listing come; see the port.

        Raises `StorageUnavailable` also where the service does not list names in their order, as S3's
        directory buckets do not.
        """
        pages, last = obstore.list(self._client, offset=after or None, chunk_size=PAGE_KEYS), after
        while True:
            async with answered():
                try:
                    page = await anext(pages)
                except StopAsyncIteration:
                    return
            for item in page:
                key = item["path"].removesuffix(PART)  # beside the file itself, as the service sorts them
                if key == last or not _KEY.fullmatch(key):
                    continue
                if key < last:
                    raise StorageUnavailable("The object store does not list names in their order")
                yield (last := key)

    def _withdraw_later(self, path: str, uploading: asyncio.Task[None]) -> None:
        withdrawal = asyncio.create_task(self._withdraw(path, uploading))
        self._withdrawals.add(withdrawal)
        withdrawal.add_done_callback(self._withdrawals.discard)

    async def _withdraw(self, path: str, uploading: asyncio.Task[None]) -> None:
        # Nobody learned that the file was stored: it must not be there. Only the service's answer tells
        # whether it is, so that is waited for, but not by the caller who gave up.
        await asyncio.wait({uploading})
        if not uploading.cancelled() and uploading.exception() is None:
            with suppress(StorageUnavailable):
                await self._uploads.remove(path)


class _Writer(MediaWriter):
    """Collects the bytes in a scratch file, and sends it when it is whole."""

    def __init__(
        self,
        file: BinaryIO,
        path: str,
        uploads: Uploads,
        withdraw: Callable[[str, asyncio.Task[None]], None],
    ) -> None:
        self._file = file
        self._path = path
        self._uploads = uploads
        self._withdraw = withdraw
        self._hash = hashlib.sha256()
        self._size = 0
        self._readers = ExitStack()
        self._usable = True

    async def write(self, chunk: bytes | bytearray | memoryview) -> None:
        self._require_usable()
        whole = memoryview(chunk).cast("B")
        self._usable = False
        with translated():
            self._hash.update(whole)
            append(self._file, whole)
        self._size += len(whole)
        self._usable = True

    def contents(self) -> BinaryIO:
        return self._readers.enter_context(reader_of(self._file))

    async def commit(self) -> StoredFile:
        self._require_usable()
        self._usable = False
        with translated():
            body = body_of(self._file)
        given_up = asyncio.Event()
        uploading = asyncio.create_task(self._uploads.put(self._path, body, given_up))
        try:
            await asyncio.shield(uploading)
        except asyncio.CancelledError:
            given_up.set()
            self._withdraw(self._path, uploading)
            raise
        return StoredFile(size_bytes=self._size, sha256=self._hash.hexdigest())

    def close(self) -> None:
        self._readers.close()

    def _require_usable(self) -> None:
        if not self._usable:
            raise StorageUnavailable("The file could not be written")


def _checked(key: str) -> str:
    if not _KEY.fullmatch(key):
        raise ValueError("not a key of the media store")
    return key
