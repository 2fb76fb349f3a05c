"""The HTTP server: uvicorn as one task among others, with the patience that it lacks below ASGI.

Why uvicorn, and what was measured: docs/adr/0006-asgi-server.md and benchmarks/README.md.
"""

import asyncio
import socket
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar, TypeAlias, cast

import uvicorn
from uvicorn._types import ASGIReceiveEvent
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from photochanger.domain.errors import Unavailable
from photochanger.domain.retention import MAX_SYNC_RESPONSE_SEC
from photochanger.entrypoints.http.arrival import ARRIVED_AT
from photochanger.entrypoints.http.last_call import let_nobody_in
from photochanger.entrypoints.http.sending import (
    HAS_SENDFILE,
    SendfileRefused,
    Sending,
    chunks_of,
    part_of_file,
)
from photochanger.entrypoints.http.streaming import ZERO_COPY_SEND

_Send: TypeAlias = Callable[[Any], Coroutine[Any, Any, None]]

BACKLOG = 2048
GRACE_SEC = MAX_SYNC_RESPONSE_SEC + 5
"""How long held requests may take to end once the server has been told to stop."""

KEEP_ALIVE_SEC = 15
"""How long a connection may wait for its next request. A proxy has to lose patience first, or it may send a
request at the very moment at which we close (deploy/nginx)."""

LAST_CALL_SEC = 0.25
"""How long those who are let in last have, until the listening socket closes, to be heard."""


class GuardedProtocol(HttpToolsProtocol):
    """Ends connections that are too slow to be a booth's, where no ASGI application can.

    A connection without a running request has `head_timeout_sec` for the head of one, or for what it still
    sends after an early answer. A client that does not read its answer has `write_timeout_sec`. What a
    client sent before it left is handed over before the news that it is gone.
    """

    head_timeout_sec: ClassVar[float] = 30.0
    head_limit_bytes: ClassVar[int] = 64 * 1024
    write_timeout_sec: ClassVar[float] = 30.0

    sends_files: ClassVar[bool] = True

    _sending: Sending | None = None
    _head_timer: asyncio.TimerHandle | None = None
    _write_timer: asyncio.TimerHandle | None = None
    _in_head = False
    _head_bytes = 0
    _arriving_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._head_timer = self.loop.call_later(self.head_timeout_sec, self._head_expired)

    def connection_lost(self, exc: Exception | None) -> None:
        self._disarm_head()
        self._disarm_write()
        if self._sending is not None:
            self._sending.stop()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        # what comes together with a head's beginning is not counted: it may be the end of a body
        self._in_head, self._head_bytes = True, -self._arriving_bytes
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._disarm_head()
        super().on_headers_complete()
        if self.cycle is not None:
            # Not the loop's own time: that is as old as the loop's turn, and a deadline could come too early.
            self.cycle.scope.setdefault("state", {}).setdefault(ARRIVED_AT, time.monotonic())
            self.cycle.receive = _body_before_disconnect(self.cycle)  # type: ignore[method-assign]
            if self._can_send_files:
                self.cycle.scope["extensions"] = {ZERO_COPY_SEND: {}}
            self.cycle.send = self._sender(self.cycle)  # type: ignore[method-assign, assignment]
            if cast("_State", self.server_state).is_draining:
                self.part_after_this()

    def part_after_this(self) -> None:
        """Tell the client, with the answer to what it has asked for, to open another connection next."""
        if not self._is_idle and not self.cycle.response_started:
            self.cycle.keep_alive = False

    @property
    def _can_send_files(self) -> bool:
        return self.sends_files and HAS_SENDFILE and self.scheme == "http"  # TLS has to see every byte

    def _sender(self, cycle: RequestResponseCycle) -> _Send:
        """Return the cycle's `send` with the sending of files, and with an end to what cannot be finished."""
        inner = cycle.send

        async def send(message: Any) -> None:
            try:
                if message["type"] == ZERO_COPY_SEND:
                    if cycle.scope["method"] != "HEAD":
                        await self._send_file(cycle, inner, message)
                    message = {"type": "http.response.body", "more_body": message.get("more_body", False)}
                await inner(message)
            except Exception:
                # Of the length that was announced the client can tell that it has not got all. And the server
                # need not say again that the answer broke off.
                if cycle.response_started:
                    cycle.disconnected = True
                    self.transport.close()
                raise

        return send

    async def _send_file(self, cycle: RequestResponseCycle, inner: _Send, message: Mapping[str, Any]) -> None:
        await self._all_written()
        if cycle.disconnected or self.transport.is_closing():
            cycle.disconnected = True
            return
        file, start, count = part_of_file(message)
        if cycle.response_complete or count > cycle.expected_content_length:
            raise RuntimeError("a file in the wrong place, or longer than Content-Length")
        sending = Sending(self.transport.get_extra_info("socket").fileno(), file, start, count)
        try:
            cycle.disconnected = not await self._with_patience(sending)
        except ConnectionError:  # the client has left, as the transport is about to notice too
            cycle.disconnected = True
            self.transport.abort()
        except SendfileRefused:
            for chunk in chunks_of(file, start, count):
                await inner({"type": "http.response.body", "body": chunk, "more_body": True})
        else:
            cycle.expected_content_length -= count

    async def _with_patience(self, sending: Sending) -> bool:
        self._sending = sending
        self._arm_write()
        try:
            return await sending.run()
        finally:
            self._sending = None
            self._disarm_write()

    async def _all_written(self) -> None:
        """Wait until the transport has nothing left to write, or the client is gone."""
        if self.transport.is_closing() or not self.transport.get_write_buffer_size():
            return
        self.transport.set_write_buffer_limits(high=0)  # have it tell when it is empty, not when it is low
        await self.flow.drain()
        if not self.transport.is_closing():
            self.transport.set_write_buffer_limits()

    def data_received(self, data: bytes) -> None:
        self._arriving_bytes = len(data)
        super().data_received(data)
        if self.transport.is_closing():
            return
        if self._in_head:
            self._head_bytes += len(data)
            if self._head_bytes > self.head_limit_bytes:
                self._close_with(b"431 Request Header Fields Too Large")
                return
        if self._head_timer is None and self._is_idle:
            self._head_timer = self.loop.call_later(self.head_timeout_sec, self._head_expired)

    def send_400_response(self, msg: str) -> None:
        # Behind a request that is being answered, the refusal would get into the midst of that answer.
        if self.pipeline or not (self._is_idle or not self.cycle.response_started):
            self.transport.close()
        else:
            super().send_400_response(msg)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._arm_write()

    def resume_writing(self) -> None:
        self._disarm_write()
        super().resume_writing()
        if self._is_idle:
            self._arm_write()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.transport.get_write_buffer_size():
            self._arm_write()  # for the rest, which is too little to be paused for

    @property
    def _is_idle(self) -> bool:
        cycle = cast("RequestResponseCycle | None", self.cycle)  # uvicorn begins with None
        return cycle is None or cycle.response_complete

    def _head_expired(self) -> None:
        self._head_timer = None
        if self._in_head:
            self._close_with(b"408 Request Timeout")
        else:
            self.transport.close()

    def _close_with(self, status: bytes) -> None:
        if self._is_idle:
            self.transport.write(
                b"HTTP/1.1 " + status + b"\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
            )
        self.transport.close()

    def _write_expired(self) -> None:
        self._write_timer = None
        if self._sending is not None and (left := self._patience_left(self._sending)) > 0:
            self._write_timer = self.loop.call_later(left, self._write_expired)
            return
        is_unread = self._is_idle and self.transport.get_write_buffer_size()
        if self._sending is not None or self.flow.write_paused or is_unread:
            self.transport.abort()  # close would wait until the client has read

    def _patience_left(self, sending: Sending) -> float:
        return sending.moved_at + self.write_timeout_sec - time.monotonic()

    def _disarm_head(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _arm_write(self) -> None:
        self._disarm_write()
        self._write_timer = self.loop.call_later(self.write_timeout_sec, self._write_expired)

    def _disarm_write(self) -> None:
        if self._write_timer is not None:
            self._write_timer.cancel()
            self._write_timer = None


def _body_before_disconnect(
    cycle: RequestResponseCycle,
) -> Callable[[], Coroutine[Any, Any, ASGIReceiveEvent]]:
    inner = cycle.receive
    ended = False

    async def receive() -> ASGIReceiveEvent:
        nonlocal ended
        message = await inner()
        unread = cycle.body or not (cycle.more_body or ended)
        if message["type"] == "http.disconnect" and unread and not cycle.response_complete:
            body, cycle.body = bytes(cycle.body), bytearray()
            message = {"type": "http.request", "body": body, "more_body": cycle.more_body}
        if message["type"] == "http.request" and not message["more_body"]:
            ended = True
        return message

    return receive


class _State(ServerState):
    """What connections know of their server."""

    is_draining = False


class EmbeddedServer(uvicorn.Server):
    """uvicorn without a hand on the process's signals, and with an end that loses nobody."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.server_state: _State = _State()

    async def drain(self, listening: socket.socket, seconds: float) -> None:
        """Serve on for so long, but have clients go elsewhere; then nobody new comes in any more.

        Every answer ends its connection and says so, so that at the end no client is about to use one that we
        close.
        """
        self.server_state.is_draining = True
        for connection in self.server_state.connections:
            cast("GuardedProtocol", connection).part_after_this()
        await asyncio.sleep(max(0.0, seconds - LAST_CALL_SEC))
        let_nobody_in(listening)
        await asyncio.sleep(min(seconds, LAST_CALL_SEC))

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to the program."""
        yield


def make_server(app: Any, *, protocol: type[HttpToolsProtocol] = GuardedProtocol) -> EmbeddedServer:
    """Return a server for the ASGI application, to be run with `serve(sockets=[…])`."""
    return EmbeddedServer(
        uvicorn.Config(
            app,
            http=protocol,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=KEEP_ALIVE_SEC,
            timeout_graceful_shutdown=GRACE_SEC,
        )
    )


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket; port 0 takes any free one. Raises `Unavailable` where the port is taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listening = socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        reason = str(error.strerror).partition(" (while attempting")[0]  # Python says the address once more
        raise Unavailable(f"Cannot listen on {host} port {port}: {reason}") from error
    listening.setblocking(False)
    return listening
