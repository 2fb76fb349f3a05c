"""Answers whose bytes flow from the media store to the socket, as plain ASGI.

The framework's own file answer reads ahead in threads: twice the time, and memory by the megabyte.
"""

from base64 import b64encode
from collections.abc import AsyncIterator, Mapping
from typing import Any, BinaryIO, Final, Protocol, cast

from litestar.types import Receive, Scope, Send

from photochanger.application.content import Content
from photochanger.domain.errors import PhotoChangerError, ResultExpired

ZERO_COPY_SEND: Final = "http.response.zerocopysend"
"""ASGI's extension by which the server sends a part of an open file; the application closes the file.
https://asgi.readthedocs.io/en/latest/extensions.html#zero-copy-send"""


class Body(Protocol):
    """What follows the head of an answer."""

    async def send_by(self, send: Send) -> None:
        """Send all of it, but for the message that ends the answer."""


class StreamedResponse:
    """An answer with a body of known length, or without any."""

    def __init__(self, headers: Mapping[str, str], body: Body | None = None, *, status: int = 200) -> None:
        self.status = status
        self.headers = headers
        self._body = body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 -- ASGI
        """Send the answer."""
        encoded = [(name.lower().encode(), value.encode("latin-1")) for name, value in self.headers.items()]
        await send({"type": "http.response.start", "status": self.status, "headers": encoded})
        if self._body is not None:
            await self._body.send_by(send)
        await send({"type": "http.response.body", "body": b"", "more_body": False})


class Chunks:
    """A body that comes in chunks."""

    def __init__(self, chunks: AsyncIterator[bytes]) -> None:
        self._chunks = chunks

    async def send_by(self, send: Send) -> None:
        """Send each as soon as the one before has been taken."""
        async for chunk in self._chunks:
            await send({"type": "http.response.body", "body": chunk, "more_body": True})


class FilePart:
    """A body that is a part of an open file, which the server sends and this closes."""

    def __init__(self, file: BinaryIO, start: int, stop: int) -> None:
        self._file = file
        self._start = start
        self._stop = stop

    async def send_by(self, send: Send) -> None:
        """Have the server send it."""
        message = {
            "type": ZERO_COPY_SEND,
            "file": self._file,
            "offset": self._start,
            "count": self._stop - self._start,
            "more_body": True,
        }
        with self._file:
            await send(cast("Any", message))


async def stored_body(
    scope: Scope, content: Content, start: int, stop: int, *, gone: type[PhotoChangerError] = ResultExpired
) -> Body:
    """Return a stored file's bytes from `start` to `stop` as a body, in the way that costs the least here.

    Raises `gone`: a file that is missing was removed since its row was read. Once this has returned, the
    file is open, and removing it does not disturb the answer.
    """
    if ZERO_COPY_SEND in (scope.get("extensions") or {}):
        try:
            file = await content.local()
        except FileNotFoundError as error:
            raise gone from error
        if file is not None:
            return FilePart(file, start, stop)
    return Chunks(await from_first_chunk(content.read(start, stop), gone=gone))


async def from_first_chunk(
    chunks: AsyncIterator[bytes], *, gone: type[PhotoChangerError] = ResultExpired
) -> AsyncIterator[bytes]:
    """Return the same chunks, the first of them already read, so that a missing file is found in time.

    Raises `gone`: a file that is missing was removed since its row was read.
    """
    try:
        first = await anext(chunks, b"")
    except FileNotFoundError as error:
        raise gone from error
    return _chained(first, chunks)


async def _chained(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    del first  # or it would stay in memory until the last chunk has been sent
    async for chunk in rest:
        yield chunk


async def in_base64(before: bytes, chunks: AsyncIterator[bytes], after: bytes) -> AsyncIterator[bytes]:
    """Yield `before`, the chunks in base64, and `after`."""
    yield before
    left = b""
    async for chunk in chunks:
        whole = left + chunk
        cut = len(whole) - len(whole) % 3
        left = whole[cut:]
        yield b64encode(memoryview(whole)[:cut])
    yield b64encode(left) + after


def base64_length(size_bytes: int) -> int:
    """Return how long `size_bytes` are in base64."""
    return 4 * ((size_bytes + 2) // 3)
