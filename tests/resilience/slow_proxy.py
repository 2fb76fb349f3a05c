"""A proxy before PostgreSQL, through which its answers come late."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final

from tests.listening import listening
from tests.resilience.postgres import HOST

LATENESSES: Final = {"late": 0.3, "too_late": 3.0}
"""How late every answer is, in seconds: each is waited for, or none of them."""

_CHUNK: Final = 64 * 1024


class SlowProxy:
    """Passes connections on, and everything that is sent at once; answers after a time."""

    def __init__(self, target_port: int) -> None:
        self._target_port = target_port
        self._answers_after_sec = 0.0
        self._is_over = asyncio.Event()
        self.port = 0

    @asynccontextmanager
    async def running(self) -> AsyncIterator["SlowProxy"]:
        """Listen on the loopback interface while the context lasts."""
        at = socket.create_server((HOST, 0), backlog=128)
        self.port = at.getsockname()[1]
        async with listening(self._serve, at, limit=_CHUNK):
            yield self

    @asynccontextmanager
    async def slow(self, answers_after_sec: float) -> AsyncIterator[None]:
        """Have every answer come so late during the context, or at its end, whichever is sooner."""
        self._is_over.clear()
        self._answers_after_sec = answers_after_sec
        try:
            yield
        finally:
            self._answers_after_sec = 0.0
            self._is_over.set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection(HOST, self._target_port, limit=_CHUNK)
        except OSError:
            writer.transport.abort()
            return
        pumps = [
            asyncio.create_task(self._pump(reader, far_writer, is_answer=False)),
            asyncio.create_task(self._pump(far_reader, writer, is_answer=True)),
        ]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.wait(pumps)
            for end in (writer, far_writer):
                end.transport.abort()

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, is_answer: bool
    ) -> None:
        with suppress(OSError):
            while chunk := await reader.read(_CHUNK):
                if is_answer and self._answers_after_sec:
                    with suppress(TimeoutError):
                        async with asyncio.timeout(self._answers_after_sec):
                            await self._is_over.wait()
                writer.write(chunk)
                await writer.drain()
