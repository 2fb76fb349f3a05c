"""A program in small that has a server as a task: `python -m benchmarks.asgi_servers.embed NAME PORT`.

On one loop: the server, a worker, a client, and the program's own SIGTERM handler. Prints what was found.
"""

import asyncio
import contextlib
import importlib
import json
import logging
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from typing import Any

from benchmarks.asgi_servers import apps
from benchmarks.asgi_servers.serve import (
    GRANIAN,
    HOST,
    HYPERCORN,
    UVICORN,
    UVICORN_H11,
    granian_options,
    hypercorn_config,
)


def main() -> None:
    """Run the program and print its findings as JSON."""
    name, port = sys.argv[1], int(sys.argv[2])
    logging.disable(logging.CRITICAL)
    factory = None if name == UVICORN_H11 else importlib.import_module("uvloop").new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        print(json.dumps(runner.run(_program(name, port))))


async def _program(name: str, port: int) -> dict[str, Any]:
    loop = asyncio.get_running_loop()
    terminated = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, terminated.set)
    serving, stop = _embedded(name, port)
    task = asyncio.ensure_future(serving)
    facts = await _facts(port)
    held = asyncio.create_task(_held(port))
    await asyncio.sleep(0.3)
    os.kill(os.getpid(), signal.SIGTERM)
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(terminated.wait(), 1)
    stop()
    answer = await asyncio.wait_for(held, 8)
    await asyncio.wait({task}, timeout=5)
    ended = task.done()
    return {
        "same process": facts["pid"] == os.getpid(),
        "same loop": facts["loop"] == id(loop),
        "our SIGTERM handler ran": terminated.is_set(),
        "held request at stop": answer,
        "server ended": ended,
        "our loop went on": await _goes_on(),
    }


def _embedded(name: str, port: int) -> tuple[Awaitable[Any], Callable[[], Any]]:
    """Return a coroutine that serves on the running loop, and a function that asks it to stop."""
    if name == GRANIAN:
        server = importlib.import_module("granian.server.embed").Server(apps.app, **granian_options(port))
        return server.serve(), server.stop
    if name == HYPERCORN:
        stop = asyncio.Event()
        serve = importlib.import_module("hypercorn.asyncio").serve
        return serve(apps.app, hypercorn_config(port), shutdown_trigger=stop.wait), stop.set
    return _embedded_uvicorn(port, "httptools" if name == UVICORN else "h11")


def _embedded_uvicorn(port: int, http: Any) -> tuple[Awaitable[Any], Callable[[], Any]]:
    import uvicorn  # noqa: PLC0415 - the other candidates are measured without it

    from photochanger.entrypoints.http.server import EmbeddedServer  # noqa: PLC0415

    config = uvicorn.Config(
        apps.app, host=HOST, port=port, http=http, ws="none", log_config=None, access_log=False
    )
    server = EmbeddedServer(config)
    return server.serve(), lambda: setattr(server, "should_exit", True)


async def _facts(port: int) -> dict[str, Any]:
    """Return what the application says of itself, as soon as it answers."""
    async with asyncio.timeout(5):
        while (raw := await _asked(port)) is None:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    return dict(json.loads(raw.partition(b"\r\n\r\n")[2]))


async def _asked(port: int) -> bytes | None:
    try:
        reader, writer = await asyncio.open_connection(HOST, port)
    except OSError:
        return None
    writer.write(b"GET /seen HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    raw = await reader.read()
    writer.close()
    return raw


async def _held(port: int) -> str:
    reader, writer = await asyncio.open_connection(HOST, port)
    writer.write(b"POST /hold?t=1.2 HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
    try:
        return (await reader.read(12))[9:].decode() or "closed"
    except ConnectionError:
        return "reset"


async def _goes_on() -> bool:
    ticks = 0

    async def worker() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0.01)
            ticks += 1

    work = asyncio.create_task(worker())
    await asyncio.sleep(0.1)
    work.cancel()
    return ticks > 0


if __name__ == "__main__":
    main()
