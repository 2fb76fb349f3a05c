"""Bytes flow, they do not pile up."""

import tracemalloc
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from photochanger.adapters.filesystem import FilesystemMediaStore
from photochanger.domain.job import JobId
from photochanger.domain.media import MediaKind, media_key
from tests.system.http_server import (
    Connection,
    System,
    exchange,
    form,
    get,
    part,
    photo_form,
    picture,
    post,
    running,
)

pytestmark = [pytest.mark.anyio, pytest.mark.system]

MB = 1_000_000
PIECE = bytes(100_000)


@pytest.fixture
def system(tmp_path: Path) -> System:
    store = FilesystemMediaStore(tmp_path)
    store.check()
    return System(store=store)


@pytest.fixture
async def port(system: System) -> AsyncIterator[int]:
    async with running(system) as port:
        yield port


@contextmanager
def peak_of_at_most(size_bytes: int) -> Iterator[None]:
    tracemalloc.start()
    try:
        yield
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < size_bytes


async def test_an_upload_of_50_mb_takes_no_more_memory_than_a_small_one(port: int) -> None:
    before, _, after = form(part("file", b"|"), part("password", b"wrong")).partition(b"|")
    head = post(b"", headers={"Content-Length": str(len(before) + 49 * MB + len(after))})
    with peak_of_at_most(3 * MB):
        async with Connection.to(port) as booth:
            await booth.send(head + before)
            for _ in range(49 * MB // len(PIECE)):
                await booth.send(PIECE)
            await booth.send(after)
            assert (await booth.answer()).status == 401


async def test_a_download_of_50_mb_takes_no_more_memory_than_a_small_one(
    system: System, port: int, tmp_path: Path
) -> None:
    answer = await exchange(port, post(photo_form(picture())))
    job = system.storage.records.jobs[JobId(answer["x-job-id"])]
    assert job.result is not None
    image = job.result.image
    (tmp_path / media_key(MediaKind.RESULT, image.media_id)).write_bytes(bytes(50 * MB))
    longer = replace(image, file=replace(image.file, size_bytes=50 * MB))
    system.storage.records.jobs[job.job_id] = replace(job, result=replace(job.result, image=longer))
    with peak_of_at_most(4 * MB):
        async with Connection.to(port) as guest:
            await guest.send(get(answer["content-location"]))
            await guest.reader.readuntil(b"\r\n\r\n")
            left = 50 * MB
            while left:
                left -= len(await guest.reader.read(65_536))
