"""Answers whose bytes flow from the media store to the socket, as plain ASGI.

The framework's own file answer reads ahead in threads: twice the time, and memory by the megabyte.
"""

from base64 import b64encode
from collections.abc import AsyncIterator, Mapping

from litestar.types import Receive, Scope, Send

from photochanger.domain.errors import PhotoChangerError, ResultExpired


class StreamedResponse:
    """An answer with a body of known length that comes in chunks, or without any."""

    def __init__(
        self, headers: Mapping[str, str], chunks: AsyncIterator[bytes] | None = None, *, status: int = 200
    ) -> None:
        self.status = status
        self.headers = headers
        self._chunks = chunks

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 -- ASGI
        """Send the answer."""
        encoded = [(name.lower().encode(), value.encode("latin-1")) for name, value in self.headers.items()]
        await send({"type": "http.response.start", "status": self.status, "headers": encoded})
        if self._chunks is not None:
            async for chunk in self._chunks:
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


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
