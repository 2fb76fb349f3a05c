"""A gate before the local S3 service: it lets requests through, answers them itself, or breaks them off."""

import asyncio
import re
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace

from photochanger.adapters.object_store.bucket import Bucket
from tests.listening import listening

_CHUNK = 64 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A request that has come to the gate: its line, and whether it has an `If-None-Match`."""

    method: str
    target: str
    is_conditional: bool


@dataclass(frozen=True, slots=True)
class Answer:
    """Answer without asking the service. `code` is S3's word, in a body as S3 writes it."""

    status: int
    code: str | None = None
    body: bytes | None = None

    def encoded(self, method: str) -> bytes:
        body = self.body or (_error(self.code).encode() if self.code else b"")
        head = f"HTTP/1.1 {self.status} X\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        return head.encode() + (b"" if method == "HEAD" else body)


@dataclass(frozen=True, slots=True)
class CutRequest:
    """Break the connection off after so many bytes of the request's body; the service hears nothing."""

    after_bytes: int


@dataclass(frozen=True, slots=True)
class Stall:
    """Pass on so many bytes of the request's body, and then nothing until the client is gone."""

    after_bytes: int


@dataclass(frozen=True, slots=True)
class CutAnswer:
    """Have the service do it, and break the connection off after so many bytes of its answer."""

    after_bytes: int = 0


@dataclass(frozen=True, slots=True)
class StallAnswer:
    """Have the service do it, pass on so many bytes of its answer, and then nothing."""

    after_bytes: int


@dataclass(frozen=True, slots=True)
class Hang:
    """Take the request, and say nothing until the connection is closed from the other side."""


@dataclass(frozen=True, slots=True)
class WithoutCondition:
    """Pass the request on without its `If-None-Match`, as services do that do not know it."""


Fault = Answer | CutRequest | Stall | CutAnswer | StallAnswer | Hang | WithoutCondition


class Keeping:
    """A rule: one object cannot be deleted, neither with others nor by itself."""

    def __init__(self, key: str, prefix: str) -> None:
        self._key = key
        self._name = f"{prefix}/{key}"

    def __call__(self, asked: Asked) -> Fault | None:
        if asked.method == "POST" and asked.target.endswith("?delete"):
            error = _error("AccessDenied").replace("<Code>", f"<Key>{self._name}</Key><Code>")
            return Answer(200, body=f"<DeleteResult>{error}</DeleteResult>".encode())
        is_meant = asked.method == "DELETE" and asked.target.endswith(self._key)
        return Answer(403, "AccessDenied") if is_meant else None


class S3Gate:
    """Stands before the service at `target_port`; `rule` says of each request what goes wrong with it."""

    def __init__(self, target_port: int) -> None:
        self._target_port = target_port
        self.rule: Callable[[Asked], Fault | None] = lambda _: None
        self.asked: list[Asked] = []
        self.hanging = asyncio.Event()
        self.port = 0

    def before(self, bucket: Bucket) -> Bucket:
        """Return the bucket as it is seen through the gate."""
        return replace(bucket, endpoint=f"http://127.0.0.1:{self.port}")

    @asynccontextmanager
    async def open(self) -> AsyncIterator["S3Gate"]:
        """Listen on the loopback interface while the context lasts."""
        at = socket.create_server(("127.0.0.1", self.port))
        self.port = at.getsockname()[1]
        async with listening(self._serve, at):
            yield self

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with suppress(OSError, asyncio.IncompleteReadError):
                head = await reader.readuntil(b"\r\n\r\n")
                method, target, _ = head.decode().split(" ", 2)
                condition = b"\r\nif-none-match:" in head.lower()
                asked = Asked(method=method, target=target, is_conditional=condition)
                self.asked.append(asked)
                await self._obey(self.rule(asked), asked, head, reader, writer)
        finally:
            writer.close()

    async def _obey(
        self,
        fault: Fault | None,
        asked: Asked,
        head: bytes,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
        size = int(length[1]) if length else 0
        match fault:
            case CutRequest(after_bytes):
                await reader.readexactly(min(after_bytes, size))
                writer.transport.abort()
            case Hang():
                await self._wait_for_the_end(reader)
            case Answer():
                await reader.readexactly(size)
                writer.write(fault.encoded(asked.method))
                await writer.drain()
            case _:
                if isinstance(fault, WithoutCondition):
                    head = re.sub(rb"(?i)\r\nif-none-match: \*", b"", head)
                await self._pass_on(fault, head, size, reader, writer)

    async def _pass_on(
        self,
        fault: Fault | None,
        head: bytes,
        size: int,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target_port)
        try:
            far_writer.write(head.replace(b"\r\n", b"\r\nConnection: close\r\n", 1))
            if isinstance(fault, Stall):
                await _pump(reader, far_writer, fault.after_bytes)
                await self._wait_for_the_end(reader)
                return
            await _pump(reader, far_writer, size)
            await _pump(
                far_reader, writer, fault.after_bytes if isinstance(fault, CutAnswer | StallAnswer) else None
            )
            if isinstance(fault, StallAnswer):
                await self._wait_for_the_end(reader)
            if isinstance(fault, CutAnswer):
                writer.transport.abort()
        finally:
            far_writer.close()

    async def _wait_for_the_end(self, reader: asyncio.StreamReader) -> None:
        self.hanging.set()
        while await reader.read(_CHUNK):
            pass


def _error(code: str) -> str:
    return f"<Error><Code>{code}</Code><Message>no</Message></Error>"


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, limit: int | None = None) -> None:
    left = limit
    while left is None or left > 0:
        chunk = await reader.read(_CHUNK if left is None else min(left, _CHUNK))
        if not chunk:
            return
        writer.write(chunk)
        await writer.drain()
        left = None if left is None else left - len(chunk)
