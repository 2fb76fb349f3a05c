"""Where images are worked on: off the event loop, on files that nobody can close under the work.

Whoever is cancelled while a thread decodes for it does not wait for the thread. The workbench then belongs to
the thread: its next read fails, and its files are closed when it is done.
"""

import asyncio
import errno
import io
import os
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Executor
from contextlib import AbstractContextManager, ExitStack, asynccontextmanager, contextmanager
from typing import BinaryIO, Final, TypeAlias, TypeVar, cast

from photochanger.adapters.images.anatomy import CHUNK_BYTES
from photochanger.domain.errors import InvalidImage, PhotoChangerError, StorageUnavailable

_T = TypeVar("_T")

Scratch: TypeAlias = Callable[[], AbstractContextManager[BinaryIO]]
"""Makes an empty file without a name, which vanishes with its context."""

_STORAGE_ERRORS: Final = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EACCES, errno.EMFILE, errno.ENFILE}
)


class _Abandoned(Exception):
    """Nobody waits for this work any more."""


class _IndependentReader(io.RawIOBase):
    """Reads a file through a descriptor and a position of its own."""

    def __init__(self, file: BinaryIO, abandoned: threading.Event) -> None:
        self._descriptor = os.dup(file.fileno())
        self._abandoned = abandoned
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        if self._abandoned.is_set():
            raise _Abandoned
        count = os.preadv(self._descriptor, [buffer], self._at)
        self._at += count
        return count

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at}.get(whence)
        if base is None:
            base = os.fstat(self._descriptor).st_size
        if base + offset < 0:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        self._at = base + offset
        return self._at

    def close(self) -> None:
        if not self.closed:
            os.close(self._descriptor)
        super().close()


class Workbench:
    """The files of one piece of work, all closed together."""

    def __init__(self, scratch: Scratch) -> None:
        self._scratch = scratch
        self._abandoned = threading.Event()
        self._files = ExitStack()

    def reader(self, file: BinaryIO) -> BinaryIO:
        """Return the bytes of `file`, from its beginning, as a file of our own. `file` stays as it is."""
        try:
            file.flush()
            raw = _IndependentReader(file, self._abandoned)
        except io.UnsupportedOperation:  # in memory, so a copy is all it takes
            file.seek(0)
            return self._files.enter_context(io.BytesIO(file.read()))
        return self._files.enter_context(cast("BinaryIO", io.BufferedReader(raw, CHUNK_BYTES)))

    def empty_file(self) -> BinaryIO:
        """Return an empty file without a name."""
        return self._files.enter_context(self._scratch())

    async def run(self, executor: Executor, work: Callable[[], _T]) -> _T:
        """Return what `work` returns in one of the executor's threads; raise what an `ImageEditor` may."""
        future = executor.submit(_translated, work)
        try:
            return await asyncio.wrap_future(future)
        except asyncio.CancelledError:
            self._abandoned.set()
            future.add_done_callback(lambda _: self._files.close())
            raise

    def close(self) -> None:
        """Close every file; those of an abandoned thread are closed when it ends."""
        if not self._abandoned.is_set():
            self._files.close()


@asynccontextmanager
async def workbench(scratch: Scratch) -> AsyncIterator[Workbench]:
    """Return a workbench; its files vanish with the context."""
    bench = Workbench(scratch)
    try:
        yield bench
    finally:
        bench.close()


def _translated(work: Callable[[], _T]) -> _T:
    with _documented_errors():
        return work()


@contextmanager
def _documented_errors() -> Iterator[None]:
    """Let nothing out but our own errors.

    Decoders fed with hostile bytes fail in every way that there is: with OSError, SyntaxError, struct.error,
    MemoryError and more, none of them promised. An OSError with a number is the disk's.
    """
    try:
        yield
    except PhotoChangerError:
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno in _STORAGE_ERRORS:
            raise StorageUnavailable from error
        raise InvalidImage from error
