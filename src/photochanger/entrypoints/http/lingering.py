"""Answering before the body was read, so that the answer arrives.

A client that sends its whole body before it reads would lose an early answer: closing a connection with
unread bytes resets it, and the reset overtakes the answer. So the answer goes out at once and whole, then
the rest of the body is read and thrown away, and only then does the connection close (nginx calls this
`lingering_close`). A client that waits for `100 Continue` gets the answer instead, and sends nothing.
"""

import asyncio
from contextlib import suppress
from typing import Final

from litestar.types import ASGIApp, Message, Receive, ReceiveMessage, Scope, Send

from photochanger.entrypoints.http.bodies import next_chunk
from photochanger.entrypoints.http.errors import ClientGone
from photochanger.entrypoints.http.heads import has_body, is_http

LINGER_BYTES: Final = 256_000_000
LINGER_SEC: Final = 30.0
LINGER_IDLE_SEC: Final = 5.0


class LingeringClose:
    """Reads on after an early answer, within limits, and closes the connection then."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on; see to the rest of its body afterwards."""
        if not is_http(scope) or not has_body(scope):
            await self._app(scope, receive, send)
            return
        exchange = _Exchange(receive, send)
        await self._app(scope, exchange.receive, exchange.send)
        await exchange.finish()


class _Exchange:
    """One request with a body. An answer that began before the body's end is held open until `finish`."""

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send = send
        self._body_ended = False
        self._early = False
        self._held_open = False

    async def receive(self) -> ReceiveMessage:
        message = await self._receive()
        if not message.get("more_body", False):
            self._body_ended = True
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start" and not self._body_ended:
            self._early = True
            message["headers"] = [*message["headers"], (b"connection", b"close")]
        elif message["type"] == "http.response.body" and self._early and not message["more_body"]:
            self._held_open = True
            message["more_body"] = True
        await self._send(message)

    async def finish(self) -> None:
        if not self._held_open:
            return
        with suppress(TimeoutError, ClientGone):
            async with asyncio.timeout(LINGER_SEC):
                await self._drain()
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _drain(self) -> None:
        drained = 0
        while not self._body_ended and drained < LINGER_BYTES:
            async with asyncio.timeout(LINGER_IDLE_SEC):
                drained += len((await next_chunk(self.receive)).data)
