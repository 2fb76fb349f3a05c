"""The control: how late answers are that nothing delays but this machine and the load generator itself.

The control server holds each request for exactly as long as it is asked, and does nothing else. What its
answers are late, the answers of PhotoChanger may be late as well: the checker allows for it.
"""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final

import aiohttp

from tests.chaos.history import History

HELD_SEC: Final = 0.5
PROBES: Final = 4
"""So many requests are held at any time, at different phases."""


@asynccontextmanager
async def controlled(history: History) -> AsyncIterator[None]:
    """Measure during the context; every measurement is in the history."""
    command = [sys.executable, "-m", "tests.chaos.control"]
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe)
    assert process.stdout is not None
    assert process.stdin is not None
    port = int(await process.stdout.readline())
    probes = [asyncio.create_task(_probe(history, port, number)) for number in range(PROBES)]
    try:
        yield
    finally:
        for probe in probes:
            probe.cancel()
        await asyncio.wait(probes)
        process.stdin.close()
        await process.wait()


async def _probe(history: History, port: int, number: int) -> None:
    await asyncio.sleep(HELD_SEC * number / PROBES)
    connector = aiohttp.TCPConnector(force_close=True)
    async with aiohttp.ClientSession(connector=connector) as session:
        while True:
            sent_at = history.now
            async with session.post(f"http://127.0.0.1:{port}/", data=b"photo") as answer:
                late_sec = history.now - sent_at - HELD_SEC
                await answer.read()
            history.tell("control", "control", sent_at=round(sent_at, 3), late_sec=round(late_sec, 4))


async def _serve() -> None:
    async def hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.CancelledError, asyncio.IncompleteReadError, OSError):
            await reader.readuntil(b"\r\n\r\n")
            await asyncio.sleep(HELD_SEC)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(hold, "127.0.0.1", 0)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    async with server:
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(_serve())
