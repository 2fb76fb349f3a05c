"""Reading the body of a request, chunk by chunk."""

import asyncio
from collections.abc import AsyncIterator
from typing import Final, NamedTuple, cast

from litestar.types import HTTPReceiveMessage, Receive

from photochanger.domain.errors import InvalidRequest
from photochanger.entrypoints.http.errors import ClientGone

BODY_IDLE_SEC: Final = 10.0
"""How long a body may pause. A longer pause is answered with 400 `invalid_request`."""


class Chunk(NamedTuple):
    """The next bytes of a body, perhaps none, and whether there are more to come."""

    data: bytes
    more: bool


async def next_chunk(receive: Receive) -> Chunk:
    """Return the next chunk; raises `ClientGone` where the client hung up before the body's end."""
    message = cast("HTTPReceiveMessage", await receive())
    if message["type"] == "http.disconnect":
        raise ClientGone
    return Chunk(message.get("body", b""), message.get("more_body", False))


async def chunks_of(receive: Receive) -> AsyncIterator[bytes]:
    """Yield a body as it arrives; raises `ClientGone`, and `InvalidRequest` where it stops arriving."""
    more = True
    while more:
        try:
            async with asyncio.timeout(BODY_IDLE_SEC):
                chunk, more = await next_chunk(receive)
        except TimeoutError as error:
            raise InvalidRequest("The body stopped arriving") from error
        if chunk:
            yield chunk
