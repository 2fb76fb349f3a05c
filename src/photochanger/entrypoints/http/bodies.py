"""Reading the body of a request, chunk by chunk."""

from typing import NamedTuple, cast

from litestar.types import HTTPReceiveMessage, Receive

from photochanger.entrypoints.http.errors import ClientGone


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
