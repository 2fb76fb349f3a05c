"""The bare endpoint that the whole job is held against: takes the same form to a file, sends a file back.

Run as `python -m benchmarks.bare PORT FILE [sendfile]`; with the last word the kernel sends the file, else it
goes out in chunks. It does what nobody could leave out, and nothing else: the same server, the same parser,
one file written, one file sent. No database, no job, no checks.
"""

import asyncio
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import uvloop
from multipart import PushMultipartParser

from photochanger.entrypoints.http.server import listen, make_server
from photochanger.entrypoints.http.streaming import ZERO_COPY_SEND

_CHUNK = 256 * 1024


class BareEndpoint:
    """An ASGI application of one route."""

    def __init__(self, answer: Path, *, by_kernel: bool = False) -> None:
        self._answer = answer
        self._by_kernel = by_kernel

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["method"] == "POST":
            await self._take(scope, receive)
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
    server = make_server(BareEndpoint(answer, by_kernel="sendfile" in sys.argv[3:]))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(server.serve(sockets=[listen("127.0.0.1", port)]))


if __name__ == "__main__":
    main()
