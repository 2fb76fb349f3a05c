"""Parts of files on their way from the disk to a client, inside the kernel (`sendfile`).

Bytes go past the transport, through a descriptor of our own for its socket: an event loop refuses to watch a
transport's own. That is in order while the transport has nothing left to write, and nobody else writes.
"""

import asyncio
import errno
import os
import time
from collections.abc import Iterator, Mapping
from typing import Any, Final

TURN_BYTES: Final = 512 * 1024
"""As much as one connection sends before the others have their turn. A disk that has to be waited for keeps
the event loop for no longer than this takes."""

_CHUNK_BYTES: Final = 256 * 1024

_REFUSALS: Final = frozenset({errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP})
"""What file systems say that have no `sendfile`: sendfile(2)."""

HAS_SENDFILE: Final = hasattr(os, "sendfile")


def part_of_file(message: Mapping[str, Any]) -> tuple[int, int, int]:
    """Return descriptor, position and length of what an ASGI message wants sent.

    Without an offset that is from the file's position on, without a count to its end.
    """
    file: int = message["file"].fileno()
    start: int | None = message.get("offset")
    if start is None:
        start = os.lseek(file, 0, os.SEEK_CUR)
    count: int | None = message.get("count")
    return file, start, os.fstat(file).st_size - start if count is None else count


class FileTooShort(Exception):
    """The file ended before what was announced had been sent."""


class SendfileRefused(Exception):
    """The system cannot send this file so; nothing was sent."""


class Sending:
    """So many bytes of a file, from a position on, to a connected socket; used once.

    `moved_at` is when it got on last, on the monotonic clock. Errors of the socket and of the file are raised
    as the system reports them (`OSError`).
    """

    def __init__(self, connection: int, file: int, start: int, count: int) -> None:
        """Prepare to send; all descriptors stay the caller's."""
        self._connection = os.dup(connection)
        self._file = file
        self._start = self._position = start
        self._end = start + count
        self._done: asyncio.Future[None] | None = None
        self.moved_at = time.monotonic()

    async def run(self) -> bool:
        """Send the bytes as fast as the client takes them; say whether all were sent, or it was stopped.

        Raises `FileTooShort` and `SendfileRefused`.
        """
        try:
            if not self._take_turn():
                await self._take_turns()
        finally:
            os.close(self._connection)
        return self._position == self._end

    def stop(self) -> None:
        """Send nothing more; `run` returns."""
        if self._done is not None and not self._done.done():
            self._done.set_result(None)

    async def _take_turns(self) -> None:
        loop = asyncio.get_running_loop()
        self._done = loop.create_future()
        loop.add_writer(self._connection, self._turn)
        try:
            await self._done
        finally:
            loop.remove_writer(self._connection)

    def _turn(self) -> None:
        if self._done is None or self._done.done():
            return
        try:
            if self._take_turn():
                self._done.set_result(None)
        except Exception as error:  # noqa: BLE001 -- raised where it is waited for
            self._done.set_exception(error)

    def _take_turn(self) -> bool:
        """Send what fits into one turn; say whether that was all."""
        wanted = min(TURN_BYTES, self._end - self._position)
        try:
            sent = os.sendfile(self._connection, self._file, self._position, wanted) if wanted else 0
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno in _REFUSALS and self._position == self._start:
                raise SendfileRefused from error
            raise
        if wanted and not sent:
            raise FileTooShort
        self._position += sent
        self.moved_at = time.monotonic()
        return self._position == self._end


def chunks_of(file: int, start: int, count: int) -> Iterator[bytes]:
    """Yield so many bytes of a file, from a position on. Raises `FileTooShort`."""
    end = start + count
    while start < end:
        chunk = os.pread(file, min(_CHUNK_BYTES, end - start), start)
        if not chunk:
            raise FileTooShort
        start += len(chunk)
        yield chunk
