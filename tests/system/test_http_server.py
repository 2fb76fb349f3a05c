"""The HTTP server below ASGI: real sockets, a tiny application, short limits."""

import asyncio
import contextlib
import signal
import socket
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any, ClassVar

import pytest

from photochanger.domain.errors import Unavailable
from photochanger.entrypoints.http.server import EmbeddedServer, GuardedProtocol, listen, make_server
from photochanger.entrypoints.http.streaming import ZERO_COPY_SEND
from tests.system.http_server import LOOPS, loop_of

pytestmark = [pytest.mark.anyio, pytest.mark.system]

HOST = "127.0.0.1"
PATIENCE_SEC = 10
GET = b"GET / HTTP/1.1\r\nHost: x\r\n"
LARGE_BYTES = 20_000_000
MIXED_BYTES = 300_000
SMALL_BYTES = 60_000
"""Less than what a transport buffers before it says that it is full."""


@pytest.fixture(params=LOOPS)
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    """`serve` runs on uvloop, where there is one; the transports of the two differ."""
    return loop_of(request)


class ImpatientProtocol(GuardedProtocol):
    head_timeout_sec: ClassVar[float] = 0.3
    head_limit_bytes: ClassVar[int] = 8 * 1024
    write_timeout_sec: ClassVar[float] = 0.3


def get(path: str, *lines: str) -> bytes:
    return "\r\n".join([f"GET {path} HTTP/1.1", "Host: x", *lines, "", ""]).encode()


def post(path: str, length: int) -> bytes:
    return f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n".encode()


@dataclass
class TinyApplication:
    """Answers by path, and tells what it saw."""

    release: asyncio.Event = field(default_factory=asyncio.Event)
    began: defaultdict[str, asyncio.Event] = field(default_factory=lambda: defaultdict(asyncio.Event))
    seen: asyncio.Queue[str] = field(default_factory=asyncio.Queue)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        path = scope["path"]
        self.began[path].set()
        if path == "/hold":
            await self.release.wait()
            await self._answer(send, 504, b"held")
        elif path == "/early":
            await self._answer(send, 413, b"early")
        elif path == "/busy":
            await self.release.wait()
            await self._tell_all(receive)
        elif path == "/large":
            await self._answer(send, 200, bytes(LARGE_BYTES))
        elif path == "/mixed":
            await self._answer_with_file(send, 2 * MIXED_BYTES)
        elif path == "/too-long":
            await self._answer_with_file(send, 2 * MIXED_BYTES - 1)
        elif path == "/small":
            await self._answer(send, 200, bytes(SMALL_BYTES))
        else:
            more, total = True, 0
            while more:
                message = await receive()
                total += len(message["body"])
                more = message["more_body"]
            await self._answer(send, 200, str(total).encode())

    async def _answer(self, send: Any, status: int, body: bytes) -> None:
        headers = [(b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        for start in range(0, len(body), 1 << 20):
            piece = body[start : start + (1 << 20)]
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    async def _answer_with_file(self, send: Any, announced: int) -> None:
        """Send `a`s as bytes, then `b`s as a file, of which `?` is not wanted."""
        headers = [(b"content-length", b"%d" % announced)]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"a" * MIXED_BYTES, "more_body": True})
        with tempfile.TemporaryFile() as file:
            file.write(b"?" + b"b" * MIXED_BYTES)
            file.seek(1)
            try:
                await send({"type": ZERO_COPY_SEND, "file": file})
            except RuntimeError:
                self.seen.put_nowait("refused")

    async def _tell_all(self, receive: Any) -> None:
        while (message := await receive())["type"] != "http.disconnect":
            self.seen.put_nowait(f"{len(message['body'])} bytes")
            if not message["more_body"]:
                self.seen.put_nowait("end")
        self.seen.put_nowait("gone")


class Client:
    """One raw connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    def send(self, data: bytes) -> None:
        self._writer.write(data)

    async def status(self) -> int:
        """Wait for the next answer, and read it whole."""
        async with asyncio.timeout(PATIENCE_SEC):
            head = await self._reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
            await self._reader.readexactly(length)
        return int(head[9:12])

    async def end(self) -> bytes:
        """Wait until the server has closed the connection; return what still came."""
        async with asyncio.timeout(PATIENCE_SEC):
            return await self._reader.read()

    async def drip(self, data: bytes) -> bytes:
        """Send the data again and again until the server closes the connection; return what came."""
        ended = asyncio.ensure_future(self.end())
        while not ended.done():
            self._writer.write(data)
            await asyncio.wait({ended}, timeout=0.05)
        return await ended

    async def leave(self) -> None:
        self._writer.close()
        with contextlib.suppress(ConnectionError):
            await self._writer.wait_closed()


@dataclass
class House:
    """A server that runs, its application, and clients."""

    server: EmbeddedServer
    application: TinyApplication
    port: int
    serving: "asyncio.Task[None]"
    clients: list[Client] = field(default_factory=list)
    lost: asyncio.Queue[None] = field(default_factory=asyncio.Queue)

    async def client(self) -> Client:
        client = Client(*await asyncio.open_connection(HOST, self.port))
        self.clients.append(client)
        return client

    async def head_limit_passes(self) -> None:
        """Wait until the server has lost patience with a connection that was opened just now."""
        silent = await self.client()
        assert await silent.end() == b""


@pytest.fixture
async def house() -> AsyncIterator[House]:
    lost: asyncio.Queue[None] = asyncio.Queue()

    class Protocol(ImpatientProtocol):
        def connection_lost(self, exc: Exception | None) -> None:
            super().connection_lost(exc)
            lost.put_nowait(None)

    application = TinyApplication()
    server = make_server(application, protocol=Protocol)
    listening = listen(HOST, 0)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)  # the kernel shall hold little
    serving = asyncio.create_task(server.serve(sockets=[listening]))
    house = House(server, application, listening.getsockname()[1], serving, lost=lost)
    yield house
    application.release.set()
    server.should_exit = True
    await within(asyncio.gather(*(client.leave() for client in house.clients)))
    await within(serving)


async def within(awaited: Any) -> Any:
    async with asyncio.timeout(PATIENCE_SEC):
        return await awaited


def statuses(raw: bytes) -> list[int]:
    return [int(line[9:12]) for line in raw.split(b"\r\n") if line.startswith(b"HTTP/1.1 ")]


class TestSlowHeads:
    async def test_a_head_that_comes_line_by_line_is_closed_with_408(self, house: House) -> None:
        client = await house.client()
        client.send(GET)

        assert statuses(await client.drip(b"X: y\r\n")) == [408]

    async def test_a_head_that_stops_is_closed_with_408(self, house: House) -> None:
        client = await house.client()
        client.send(GET)

        assert statuses(await client.end()) == [408]

    async def test_silence_is_closed_without_a_word(self, house: House) -> None:
        client = await house.client()

        assert await client.end() == b""

    async def test_line_ends_alone_are_closed_without_a_word(self, house: House) -> None:
        client = await house.client()

        assert await client.drip(b"\r\n") == b""

    async def test_a_slow_second_head_is_closed_with_408(self, house: House) -> None:
        client = await house.client()
        client.send(GET + b"\r\n" + GET)
        assert await client.status() == 200

        assert statuses(await client.drip(b"X: y\r\n")) == [408]

    async def test_what_drips_in_after_the_answer_is_closed(self, house: House) -> None:
        client = await house.client()
        client.send(post("/early", 1000))
        assert await client.status() == 413

        assert await client.drip(b"x") == b""


class TestPatience:
    async def test_a_held_request_may_last_longer_than_a_head(self, house: House) -> None:
        client = await house.client()
        client.send(post("/hold", 0))
        await within(house.application.began["/hold"].wait())
        await house.head_limit_passes()
        house.application.release.set()

        assert await client.status() == 504

    async def test_a_body_may_come_more_slowly_than_a_head(self, house: House) -> None:
        client = await house.client()
        client.send(post("/count", 2) + b"x")
        await within(house.application.began["/count"].wait())
        await house.head_limit_passes()
        client.send(b"x")

        assert await client.status() == 200

    async def test_requests_sent_ahead_are_answered_in_order(self, house: House) -> None:
        client = await house.client()
        client.send(post("/early", 0) + GET + b"\r\n" + post("/count", 1) + b"x")

        assert [await client.status() for _ in range(3)] == [413, 200, 200]

    async def test_a_body_is_not_counted_to_the_head_that_is_sent_ahead_behind_it(self, house: House) -> None:
        length = 2 * ImpatientProtocol.head_limit_bytes
        client = await house.client()
        client.send(post("/count", length) + bytes(length) + GET)

        assert await client.status() == 200
        client.send(b"\r\n")
        assert await client.status() == 200


class TestMalformedHeads:
    async def test_an_endless_head_is_refused_with_431(self, house: House) -> None:
        client = await house.client()
        client.send(GET)

        assert statuses(await client.drip(b"X: " + b"a" * 4096)) == [431]

    async def test_a_length_beside_chunks_is_refused_with_400(self, house: House) -> None:
        client = await house.client()
        client.send(post("/count", 5)[:-2] + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n")

        assert statuses(await client.end()) == [400]


class TestClientsThatLeave:
    @pytest.mark.parametrize(
        ("sent", "expected"),
        [
            (0, ["gone"]),
            (900, ["900 bytes", "gone"]),
            (1000, ["1000 bytes", "end", "gone"]),
        ],
    )
    async def test_what_they_sent_is_handed_over_before_the_news_that_they_left(
        self, house: House, sent: int, expected: list[str]
    ) -> None:
        client = await house.client()
        client.send(post("/busy", 1000) + bytes(sent))
        await within(house.application.began["/busy"].wait())
        await client.leave()
        await within(house.lost.get())
        house.application.release.set()

        assert [await within(house.application.seen.get()) for _ in expected] == expected

    async def test_the_end_of_an_empty_body_is_handed_over_too(self, house: House) -> None:
        client = await house.client()
        client.send(post("/busy", 0))
        await within(house.application.began["/busy"].wait())
        await client.leave()
        await within(house.lost.get())
        house.application.release.set()

        assert [await within(house.application.seen.get()) for _ in range(3)] == ["0 bytes", "end", "gone"]

    async def test_a_client_that_does_not_read_is_dropped(self, house: House) -> None:
        with unread(house.port, post("/large", 0)) as client:
            await within(house.lost.get())

            assert received(client) < LARGE_BYTES

    async def test_a_client_that_does_not_read_the_rest_of_its_answer_is_dropped(self, house: House) -> None:
        with unread(house.port, post("/small", 0)) as client:
            await within(house.lost.get())

            assert received(client) < SMALL_BYTES


def unread(port: int, request: bytes) -> socket.socket:
    """Send a request whose answer is not read; the kernel shall hold little of it."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.settimeout(PATIENCE_SEC)
    client.connect((HOST, port))
    client.sendall(request)
    return client


def received(client: socket.socket) -> int:
    total = 0
    with contextlib.suppress(ConnectionError):
        while data := client.recv(1 << 20):
            total += len(data)
    return total


class TestFiles:
    """ASGI's extension for sending files: https://asgi.readthedocs.io/en/latest/extensions.html"""

    async def test_a_file_follows_what_was_sent_before_it_and_ends_the_answer(self, house: House) -> None:
        client = await house.client()
        client.send(get("/mixed") + get("/mixed", "Connection: close"))

        for answer in (await client.end()).split(b"HTTP/1.1 200 OK")[1:]:
            body = answer.partition(b"\r\n\r\n")[2]
            assert body == b"a" * MIXED_BYTES + b"b" * MIXED_BYTES

    async def test_to_a_request_for_the_head_no_file_is_sent(self, house: House) -> None:
        client = await house.client()
        client.send(get("/mixed", "Connection: close").replace(b"GET", b"HEAD"))

        assert (await client.end()).endswith(b"\r\n\r\n")

    async def test_a_file_that_is_longer_than_announced_is_refused(self, house: House) -> None:
        client = await house.client()
        client.send(get("/too-long"))

        assert b"b" not in (await client.end()).partition(b"\r\n\r\n")[2]
        assert await within(house.application.seen.get()) == "refused"

    async def test_a_client_that_does_not_read_is_dropped(self, house: House) -> None:
        with unread(house.port, get("/mixed")) as client:
            await within(house.lost.get())

            assert received(client) < 2 * MIXED_BYTES


class TestLifeOfTheServer:
    async def test_a_second_process_cannot_listen_on_the_port(self, house: House) -> None:
        code = f"from photochanger.entrypoints.http.server import listen; listen({HOST!r}, {house.port})"
        other = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )

        assert other.returncode == 1
        assert other.stderr.splitlines()[-1].endswith(
            f"Unavailable: Cannot listen on {HOST} port {house.port}: Address already in use"
        )

    async def test_a_host_that_is_not_ours_is_named_in_the_error(self) -> None:
        with pytest.raises(Unavailable, match=r"Cannot listen on 192\.0\.2\.1 port 80: .+"):
            listen("192.0.2.1", 80)

    @pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6 here")
    async def test_an_ipv6_address_can_be_listened_on(self) -> None:
        with listen("::1", 0) as listening:
            assert listening.family == socket.AF_INET6

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    async def test_signals_stay_with_the_program(self, house: House, number: signal.Signals) -> None:
        client = await house.client()
        client.send(post("/hold", 0))
        await within(house.application.began["/hold"].wait())
        asked = asyncio.Event()
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(number, asked.set)
        try:
            signal.raise_signal(number)
            await within(asked.wait())
        finally:
            loop.remove_signal_handler(number)

        assert not house.server.should_exit
        house.application.release.set()
        assert await client.status() == 504

    async def test_held_requests_are_answered_when_the_server_is_told_to_exit(self, house: House) -> None:
        held, idle = await house.client(), await house.client()
        held.send(post("/hold", 0))
        idle.send(GET + b"\r\n")
        assert await idle.status() == 200
        await within(house.application.began["/hold"].wait())
        house.server.should_exit = True

        assert await idle.end() == b""
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(HOST, house.port)
        house.application.release.set()
        assert await held.status() == 504
        assert await held.end() == b""
        await within(house.serving)
