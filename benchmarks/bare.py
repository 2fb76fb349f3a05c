"""The bare endpoint that the whole job is held against: takes the same form to a file, sends a file back.

Run as `python -m benchmarks.bare PORT FILE [sendfile] [hold=SECONDS]`; with `sendfile` the kernel sends the
file, else it goes out in chunks; what is posted to `/hold` is answered 504 so many seconds after its head
came. It does what nobody could leave out, and nothing else: the same server, the same parser, one file
written, one file sent. No database, no job, no checks.
"""

import asyncio
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import uvloop
from multipart import PushMultipartParser

from photochanger.entrypoints.http.server import listen, make_server
from photochanger.entrypoints.http.streaming import ZERO_COPY_SEND

_CHUNK = 256 * 1024


class BareEndpoint:
    """An ASGI application of one route."""

    def __init__(self, answer: Path, *, by_kernel: bool = False, hold_sec: float = 0.0) -> None:
        self._answer = answer
        self._by_kernel = by_kernel
        self._hold_sec = hold_sec

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        arrived = time.monotonic()
        if scope["method"] == "POST":
            await self._take(scope, receive)
        if scope["path"] == "/hold":
            await self._hold(arrived + self._hold_sec, send)
            return
        with self._answer.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            headers = [(b"content-length", b"%d" % size), (b"content-type", b"image/jpeg")]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            if self._by_kernel:
                await send(
                    {"type": ZERO_COPY_SEND, "file": file, "offset": 0, "count": size, "more_body": True}
                )
            while not self._by_kernel and (chunk := file.read(_CHUNK)):
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    async def _hold(self, deadline: float, send: Any) -> None:
        while (left := deadline - time.monotonic()) > 0:  # noqa: ASYNC110 - uvloop's timers may be early
            await asyncio.sleep(max(left, 0.001))
        headers = [(b"content-length", b"0")]
        await send({"type": "http.response.start", "status": 504, "headers": headers})
        await send({"type": "http.response.body", "body": b""})

    async def _take(self, scope: Any, receive: Any) -> None:
        declared = dict(scope["headers"])[b"content-type"].decode()
        with (
            PushMultipartParser(declared.partition("boundary=")[2]) as parser,
            tempfile.TemporaryFile() as file,
        ):
            more = True
            while more:
                message = await receive()
                for event in parser.parse(message["body"]):
                    if isinstance(event, bytes | bytearray):
                        file.write(event)
                more = message["more_body"]


def main() -> None:
    """Serve on the port until the process is ended."""
    port, answer = int(sys.argv[1]), Path(sys.argv[2])
    words = sys.argv[3:]
    hold_sec = next((float(word.removeprefix("hold=")) for word in words if word.startswith("hold=")), 0.0)
    server = make_server(BareEndpoint(answer, by_kernel="sendfile" in words, hold_sec=hold_sec))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(server.serve(sockets=[listen("127.0.0.1", port)]))


if __name__ == "__main__":
    main()
