"""A proxy before PostgreSQL that cuts a connection at a statement: before it arrives, or its answer."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from enum import Enum
from typing import Final

from tests.listening import listening
from tests.resilience.postgres import HOST

_CHUNK: Final = 64 * 1024


class Cut(Enum):
    """When the connection ends."""

    BEFORE = "before the statement arrives"
    AFTER = "after it was committed, before its answer arrives"


class StatementProxy:
    """Passes connections on. The next statement with the text that it is armed with is its connection's last.

    Only whole statements carry their text: those that are not prepared yet.
    """

    def __init__(self, target_port: int) -> None:
        self._target_port = target_port
        self._text: bytes | None = None
        self._cut = Cut.BEFORE
        self.has_cut = asyncio.Event()
        self.port = 0

    def arm(self, text: bytes, cut: Cut) -> None:
        """Cut the connection of the next statement that holds `text`."""
        self._text, self._cut = text, cut
        self.has_cut.clear()

    @asynccontextmanager
    async def running(self) -> AsyncIterator["StatementProxy"]:
        """Listen on the loopback interface while the context lasts."""
        at = socket.create_server((HOST, 0))
        self.port = at.getsockname()[1]
        async with listening(self._serve, at, limit=_CHUNK):
            yield self

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection(HOST, self._target_port, limit=_CHUNK)
        answers = asyncio.create_task(_pump(far_reader, writer))
        try:
            while chunk := await reader.read(_CHUNK):
                if self._text is not None and self._text in chunk:
                    answers.cancel()
                    await asyncio.wait([answers])
                    await self._cut_here(chunk, far_reader, far_writer)
                    return
                far_writer.write(chunk)
                await far_writer.drain()
        except OSError:
            pass  # an end has left by itself
        finally:
            answers.cancel()
            for end in (writer, far_writer):
                end.transport.abort()

    async def _cut_here(
        self, chunk: bytes, far_reader: asyncio.StreamReader, far_writer: asyncio.StreamWriter
    ) -> None:
        self._text = None
        if self._cut is Cut.AFTER:
            far_writer.write(chunk)
            # What is said of a statement in autocommit is said when it is committed.
            assert await far_reader.read(_CHUNK)
        self.has_cut.set()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while chunk := await reader.read(_CHUNK):
            writer.write(chunk)
            await writer.drain()
        writer.close()
