"""Files on their way to clients that are slow, rude or gone, over real sockets: whole, or visibly not."""

import asyncio
import contextlib
import errno
import hashlib
import os
import random
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
from structlog.testing import capture_logs

from photochanger.adapters.filesystem import FilesystemMediaStore
from photochanger.domain.job import JobId
from photochanger.domain.media import MediaKind, StoredFile, media_key
from photochanger.entrypoints.http.server import GuardedProtocol
from photochanger.testing.media_store import put
from tests.system.http_server import (
    LOOPS,
    Answer,
    Connection,
    System,
    exchange,
    get,
    loop_of,
    photo_form,
    picture,
    post,
    running,
    until,
)

pytestmark = [pytest.mark.anyio, pytest.mark.system]

SIZE_BYTES = 3_000_000
CONTENT = random.Random(5).randbytes(SIZE_BYTES)
KERNEL_HOLDS_BYTES = 128 * 1024
PIECE_BYTES = 64 * 1024
PATIENCE_SEC = 20


class ImpatientProtocol(GuardedProtocol):
    write_timeout_sec: ClassVar[float] = 0.3


class ProtocolWithoutFiles(GuardedProtocol):
    sends_files: ClassVar[bool] = False


@pytest.fixture(params=LOOPS)
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    """`serve` runs on uvloop, where there is one; the transports of the two differ."""
    return loop_of(request)


@dataclass(frozen=True, kw_only=True)
class Place:
    """A server with a result of `CONTENT`. `file` is where it is, for a store that keeps it on a disk."""

    system: System
    port: int
    path: str
    key: str
    file: Path

    async def remove(self) -> None:
        await self.system.store.delete([self.key])

    def reader(self) -> socket.socket:
        """Connect as a client that takes in little by itself."""
        reader = socket.socket()
        reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        reader.settimeout(PATIENCE_SEC)
        reader.connect(("127.0.0.1", self.port))
        return reader


@asynccontextmanager
async def opened_place(
    tmp_path: Path, *, in_memory: bool = False, protocol: type[GuardedProtocol] = GuardedProtocol
) -> AsyncIterator[Place]:
    store = FilesystemMediaStore(tmp_path)
    store.check()
    system = System(store=None if in_memory else store)
    async with running(system, protocol=protocol, kernel_holds_bytes=KERNEL_HOLDS_BYTES) as port:
        answer = await exchange(port, post(photo_form(picture())))
        job = system.storage.records.jobs[JobId(answer["x-job-id"])]
        assert job.result is not None
        key = media_key(MediaKind.RESULT, job.result.image.media_id)
        await system.store.delete([key])
        stored = await put(system.store, key, CONTENT)
        assert stored == StoredFile(size_bytes=SIZE_BYTES, sha256=hashlib.sha256(CONTENT).hexdigest())
        image = replace(job.result.image, file=stored)
        system.storage.records.jobs[job.job_id] = replace(job, result=replace(job.result, image=image))
        yield Place(system=system, port=port, path=answer["content-location"], key=key, file=tmp_path / key)


@pytest.fixture(params=["sent by the kernel", "in chunks", "from memory"])
async def place(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Place]:
    """A place with each of the ways in which bytes come to the socket."""
    way: str = request.param
    protocol = ProtocolWithoutFiles if way == "in chunks" else GuardedProtocol
    async with opened_place(tmp_path, in_memory=way == "from memory", protocol=protocol) as place:
        yield place


@pytest.fixture
async def folder(tmp_path: Path) -> AsyncIterator[Place]:
    """A place whose files the kernel sends, to clients with which the server soon loses patience."""
    async with opened_place(tmp_path, protocol=ImpatientProtocol) as place:
        yield place


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def as_many_descriptors_as(before: int) -> None:
    async def released() -> bool:
        return descriptors() == before

    await until(released)


def head_of(client: socket.socket) -> tuple[bytes, bytes]:
    """Read until the head is over; return it, and what came of the body."""
    received = b""
    while b"\r\n\r\n" not in received:
        received += client.recv(4096)
    head, _, body = received.partition(b"\r\n\r\n")
    return head, body


def all_that_comes(client: socket.socket) -> bytes:
    received = bytearray()
    with contextlib.suppress(ConnectionError):
        while piece := client.recv(PIECE_BYTES):
            received += piece
    return bytes(received)


class TestWholeFiles:
    async def test_every_byte_arrives_again_and_again_on_one_connection(self, place: Place) -> None:
        before = descriptors()
        async with Connection.to(place.port) as guest:
            for start, stop in [(0, SIZE_BYTES), (SIZE_BYTES - 1, SIZE_BYTES), (1, 700_000), (0, 1)]:
                await guest.send(get(place.path, headers={"Range": f"bytes={start}-{stop - 1}"}))
                answer = await guest.answer()
                assert (answer.status, answer.body) == (206, CONTENT[start:stop])
            await guest.send(get(place.path))
            assert (await guest.answer()).body == CONTENT
        await as_many_descriptors_as(before)

    async def test_requests_sent_ahead_are_answered_in_order_and_whole(self, place: Place) -> None:
        unknown = f"/public/results/{'0' * 32}"
        requests = [
            get(place.path),
            get(place.path, method="HEAD"),
            get(f"{place.path}/preview"),
            get(unknown),
            get(place.path, headers={"Range": "bytes=5-9"}),
            get(place.path, headers={"If-None-Match": "*"}),
            get(place.path, headers={"Connection": "close"}),
        ]
        async with Connection.to(place.port) as guest:
            await guest.send(b"".join(requests))
            answers = [await guest.answer(to_head=b"HEAD" in request) for request in requests]
            assert await guest.ended()
        assert [answer.status for answer in answers] == [200, 200, 200, 404, 206, 304, 200]
        assert [len(answer.body) for answer in answers[:2]] == [SIZE_BYTES, 0]
        assert answers[1]["content-length"] == str(SIZE_BYTES)
        assert answers[2]["etag"] == f'"{hashlib.sha256(answers[2].body).hexdigest()}"'
        assert answers[4].body == CONTENT[5:10]
        assert answers[0].body == answers[6].body == CONTENT

    async def test_many_at_once_get_their_own_parts(self, place: Place) -> None:
        async def part(number: int) -> Answer:
            headers = {"Range": f"bytes={number * 1000}-{number * 1000 + 999_999}"}
            return await exchange(place.port, get(place.path, headers=headers))

        answers = await asyncio.gather(*(part(number) for number in range(40)))
        for number, answer in enumerate(answers):
            assert answer.body == CONTENT[number * 1000 : number * 1000 + 1_000_000]

    async def test_a_client_of_http_1_0_gets_the_file_and_the_end(self, place: Place) -> None:
        async with Connection.to(place.port) as guest:
            await guest.send(get(place.path).replace(b"HTTP/1.1", b"HTTP/1.0"))
            assert (await guest.answer()).body == CONTENT
            assert await guest.ended()

    async def test_a_file_system_without_sendfile_is_no_hindrance(
        self, folder: Place, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(*_: object) -> int:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

        monkeypatch.setattr(os, "sendfile", refuse)
        answer = await exchange(folder.port, get(folder.path))
        assert answer.body == CONTENT
        part = await exchange(folder.port, get(folder.path, headers={"Range": "bytes=9-"}))
        assert part.body == CONTENT[9:]


class TestDeletion:
    async def test_a_file_that_is_removed_while_it_is_sent_arrives_whole(self, place: Place) -> None:
        with place.reader() as guest:
            guest.sendall(get(place.path, headers={"Connection": "close"}))
            head, body = await asyncio.to_thread(head_of, guest)
            assert head.startswith(b"HTTP/1.1 200")
            await place.remove()
            body += await asyncio.to_thread(all_that_comes, guest)
        assert body == CONTENT
        assert (await exchange(place.port, get(place.path))).status == 410

    async def test_a_file_that_is_shorter_than_its_row_says_ends_the_connection(
        self, folder: Place, caplog: pytest.LogCaptureFixture
    ) -> None:
        await self._is_cut(folder, caplog)

    async def test_so_it_does_where_it_comes_in_chunks(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        async with opened_place(tmp_path, protocol=ProtocolWithoutFiles) as place:
            await self._is_cut(place, caplog)

    async def _is_cut(self, place: Place, caplog: pytest.LogCaptureFixture) -> None:
        os.truncate(place.file, SIZE_BYTES - 1)
        before = descriptors()
        with capture_logs() as lines, place.reader() as guest:
            guest.sendall(get(place.path) + get(place.path))
            head, body = await asyncio.to_thread(head_of, guest)
            body += await asyncio.to_thread(all_that_comes, guest)
            assert f"content-length: {SIZE_BYTES}" in head.decode()
            assert body == CONTENT[:-1]
        await as_many_descriptors_as(before)
        assert [line["event"] for line in lines] == ["the answer broke off", "request"]
        assert [record for record in caplog.records if record.levelname == "ERROR"] == []
        assert place.key not in str(lines)


class TestClientsThatLeave:
    async def test_one_that_hangs_up_in_the_middle_leaves_nothing_behind(self, place: Place) -> None:
        before = descriptors()
        for _ in range(5):
            with place.reader() as guest:
                guest.sendall(get(place.path))
                await asyncio.to_thread(head_of, guest)
        await as_many_descriptors_as(before)
        assert (await exchange(place.port, get(place.path))).body == CONTENT

    async def test_nor_does_one_that_resets_the_connection(self, place: Place) -> None:
        before = descriptors()
        with place.reader() as guest, capture_logs() as lines:
            guest.sendall(get(place.path))
            await asyncio.to_thread(head_of, guest)
            guest.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            guest.close()
            await as_many_descriptors_as(before)
        assert [line["event"] for line in lines] == ["request"]

    async def test_one_that_does_not_read_is_dropped(self, folder: Place) -> None:
        before = descriptors()
        with folder.reader() as guest:
            guest.sendall(get(folder.path))
            _, body = await asyncio.to_thread(head_of, guest)
            await as_many_descriptors_as(before + 1)  # its own end
            body += await asyncio.to_thread(all_that_comes, guest)
            assert CONTENT.startswith(body)
            assert len(body) < SIZE_BYTES

    async def test_nonsense_sent_ahead_does_not_get_into_the_file(self, place: Place) -> None:
        with place.reader() as guest:
            guest.sendall(get(place.path))
            _, body = await asyncio.to_thread(head_of, guest)
            guest.sendall(b"\0\r\n\r\n")
            body += await asyncio.to_thread(all_that_comes, guest)
        assert CONTENT.startswith(body)
