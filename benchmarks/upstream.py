"""An image service that costs next to nothing: it reads a request and answers with a ready-made picture.

Run as `python -m benchmarks.upstream PORT PICTURE`. It answers what Gemini's `generateContent` and OpenAI's
`/v1/images/edits` answer, with the same picture as base64. `GET /delay/2.5` has it wait so many seconds
before each answer from then on; `GET /calls` says how many pictures it has sent. Nothing of a request is
looked at but its length: it is the floor that gateways are measured from, not a test of what they send.
"""

import asyncio
import json
import re
import sys
from base64 import b64encode
from pathlib import Path
from typing import Final, cast

import uvloop

_BUFFER_BYTES: Final = 1 << 20
_LENGTH: Final = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_CHUNKED: Final = re.compile(rb"\r\ntransfer-encoding: *chunked", re.IGNORECASE)
_LAST_CHUNK: Final = b"0\r\n\r\n"


def _answer(document: object) -> bytes:
    return _with_head(json.dumps(document).encode())


def _with_head(body: bytes) -> bytes:
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def gemini_answer(picture: str) -> object:
    """Return what Gemini answers: ai.google.dev/api/generate-content."""
    part = {"inlineData": {"mimeType": "image/jpeg", "data": picture}}
    return {
        "candidates": [{"content": {"role": "model", "parts": [part]}, "finishReason": "STOP", "index": 0}],
        "usageMetadata": {"promptTokenCount": 265, "candidatesTokenCount": 1290, "totalTokenCount": 1555},
        "modelVersion": "gemini-2.5-flash-image",
        "responseId": "fake",
    }


def openai_answer(picture: str) -> object:
    """Return what OpenAI answers: platform.openai.com/docs/api-reference/images/createEdit."""
    return {"created": 1_700_000_000, "data": [{"b64_json": picture}]}


class Service:
    """The answers, made once, and how long each takes."""

    def __init__(self, picture: bytes) -> None:
        text = b64encode(picture).decode()
        self.gemini, self.openai = _answer(gemini_answer(text)), _answer(openai_answer(text))
        self.delay_sec = 0.0
        self.calls = 0

    def answer(self, line: bytes) -> tuple[bytes, float]:
        """Return what the request with this first line is answered, and after how many seconds."""
        path = line.split(b" ")[1]
        if path.startswith(b"/delay/"):
            self.delay_sec = float(path.removeprefix(b"/delay/"))
        if line.startswith(b"GET"):
            return _answer(self.calls), 0.0
        self.calls += 1
        return (self.gemini if path.endswith(b":generateContent") else self.openai), self.delay_sec


class _Connection(asyncio.BufferedProtocol):
    def __init__(self, service: Service) -> None:
        self._service = service
        self._buffer = memoryview(bytearray(_BUFFER_BYTES))
        self._transport: asyncio.Transport | None = None
        self._begin()

    def _begin(self) -> None:
        self._head, self._tail = b"", b""
        self._left: int | None = None
        """How much of the body is to come; None before the head's end, -1 where only its end will tell."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by its class

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        if self._left is None:
            self._head += bytes(self._buffer[:nbytes])
            head, end, body = self._head.partition(b"\r\n\r\n")
            if not end:
                return
            found = _LENGTH.search(head)
            self._left = -1 if _CHUNKED.search(head) else int(found[1]) if found else 0
            self._count(len(body), body)
        else:
            self._count(nbytes, bytes(self._buffer[max(0, nbytes - len(_LAST_CHUNK)) : nbytes]))

    def _count(self, size: int, end: bytes) -> None:
        assert self._left is not None
        if self._left >= 0:
            self._left -= size
            is_whole = self._left <= 0
        else:
            self._tail = (self._tail + end)[-len(_LAST_CHUNK) :]
            is_whole = self._tail == _LAST_CHUNK
        if is_whole:
            self._reply(self._head.partition(b"\r\n")[0])
            self._begin()

    def _reply(self, line: bytes) -> None:
        answer, delay_sec = self._service.answer(line)
        assert self._transport is not None
        if delay_sec:
            asyncio.get_running_loop().call_later(delay_sec, self._transport.write, answer)
        else:
            self._transport.write(answer)


async def _serve(port: int, picture: bytes) -> None:
    service = Service(picture)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Connection(service), "127.0.0.1", port)
    await server.serve_forever()


def main() -> None:
    """Serve until the process is ended."""
    port, picture = int(sys.argv[1]), Path(sys.argv[2]).read_bytes()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(port, picture))


if __name__ == "__main__":
    main()
