"""A TCP proxy that cuts connections where it is told to."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from enum import Enum

from tests.listening import listening

_CHUNK = 16 * 1024


class Way(Enum):
    """The direction of a connection."""

    REQUEST = "request"
    ANSWER = "answer"


@dataclass(frozen=True, slots=True)
class Cut:
    """Reset the connection after so many bytes in one direction."""

    way: Way
    after_bytes: int


class CuttingProxy:
    """Passes connections on to `target_port`; `cuts` tells for each, by its number, where to cut it."""

    def __init__(self, target_port: int, cuts: Callable[[int], Cut | None]) -> None:
        self._target_port = target_port
        self._cuts = cuts
        self.accepted = 0
        self.made = 0
        self.port = 0

    @asynccontextmanager
    async def running(self) -> AsyncIterator["CuttingProxy"]:
        """Listen on the loopback interface while the context lasts."""
        at = socket.create_server(("127.0.0.1", 0))
        # Small, so that a cut in a request meets a sender who is still at it.
        at.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _CHUNK)
        self.port = at.getsockname()[1]
        async with listening(self._serve, at, limit=_CHUNK):
            yield self

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number, self.accepted = self.accepted, self.accepted + 1
        cut = self._cuts(number)
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target_port, limit=_CHUNK)
        limits = {way: cut.after_bytes if cut and cut.way is way else None for way in Way}
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(_pump(reader, far_writer, limits[Way.REQUEST]))
                group.create_task(_pump(far_reader, writer, limits[Way.ANSWER]))
        except* _CutHere:
            self.made += 1
            for end in (writer, far_writer):
                end.transport.abort()
        except* OSError:
            pass  # an end has left by itself
        finally:
            for end in (writer, far_writer):
                end.close()
                with suppress(OSError):
                    await end.wait_closed()


class _CutHere(Exception):
    """The place has been reached."""


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, limit: int | None) -> None:
    passed = 0
    while chunk := await reader.read(_CHUNK):
        if limit is not None and passed + len(chunk) >= limit:
            writer.write(chunk[: limit - passed])
            with suppress(OSError):
                await writer.drain()
            raise _CutHere
        passed += len(chunk)
        writer.write(chunk)
        await writer.drain()
    if writer.can_write_eof():
        writer.write_eof()
