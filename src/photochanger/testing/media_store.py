"""The contract of `MediaStore`: subclass it and give it a `store` fixture.

class TestMyStore(MediaStoreContract):
    @pytest.fixture
    def store(self) -> MediaStore:
        return MyStore()
"""

import asyncio
import hashlib

import pytest

from photochanger.application.ports.storage import MediaStore
from photochanger.domain.media import MediaId, MediaKind, StoredFile, media_key

BYTES = bytes(range(256)) * 4096
"""1 MiB: more than one chunk of any store."""


def a_key(number: int = 1, kind: MediaKind = MediaKind.PAYLOAD) -> str:
    """Return a key like those of the product; equal numbers give equal keys."""
    return media_key(kind, MediaId(hashlib.md5(b"%d" % number, usedforsecurity=False).hexdigest()))


async def put(store: MediaStore, key: str, content: bytes = BYTES) -> StoredFile:
    """Store `content` under `key`."""
    async with store.create(key) as writer:
        await writer.write(content)
        return await writer.commit()


async def fetch(store: MediaStore, key: str, start: int = 0, stop: int | None = None) -> bytes:
    """Return the bytes under `key` as `read` yields them."""
    return b"".join([chunk async for chunk in store.read(key, start, stop)])


async def listed(store: MediaStore) -> list[str]:
    """Return all keys, sorted."""
    found = store.keys()
    return sorted([key async for key in found])


async def is_absent(store: MediaStore, key: str) -> bool:
    """Say whether neither `open` nor `read` finds the key."""
    with pytest.raises(FileNotFoundError):
        async with store.open(key):
            pass
    with pytest.raises(FileNotFoundError):
        await fetch(store, key)
    return True


@pytest.mark.anyio
class MediaStoreContract:
    """What every media store promises."""

    @pytest.fixture
    def anyio_backend(self) -> str:
        return "asyncio"

    @pytest.fixture
    def store(self) -> MediaStore:
        raise NotImplementedError("give the suite a `store` fixture")

    async def test_a_committed_file_can_be_read(self, store: MediaStore) -> None:
        stored = await put(store, a_key())
        assert await fetch(store, a_key()) == BYTES
        assert stored == StoredFile(size_bytes=len(BYTES), sha256=hashlib.sha256(BYTES).hexdigest())

    async def test_an_empty_file_is_a_file(self, store: MediaStore) -> None:
        assert (await put(store, a_key(), b"")).size_bytes == 0
        assert await fetch(store, a_key()) == b""

    async def test_chunks_are_appended_and_their_buffer_may_be_reused(self, store: MediaStore) -> None:
        buffer = bytearray(b"first")
        async with store.create(a_key()) as writer:
            await writer.write(buffer)
            buffer[:] = b"again"
            await writer.write(memoryview(buffer))
            buffer[:] = b"-----"
            await writer.commit()
        assert await fetch(store, a_key()) == b"firstagain"

    async def test_the_writer_shows_what_was_written_so_far(self, store: MediaStore) -> None:
        async with store.create(a_key()) as writer:
            await writer.write(b"photo")
            assert writer.contents().read() == b"photo"
            await writer.write(b"graph")
            contents = writer.contents()
            assert contents.read() == b"photograph"
            contents.seek(5)
            assert contents.read(2) == b"gr"
            await writer.commit()
        assert await fetch(store, a_key()) == b"photograph"

    async def test_nobody_sees_a_file_before_its_commit(self, store: MediaStore) -> None:
        async with store.create(a_key()) as writer:
            await writer.write(BYTES)
            assert await is_absent(store, a_key())

    async def test_leaving_without_commit_leaves_no_file(self, store: MediaStore) -> None:
        async with store.create(a_key()) as writer:
            await writer.write(BYTES)
        assert await is_absent(store, a_key())
        assert await listed(store) == []

    async def test_leaving_by_an_error_leaves_no_file(self, store: MediaStore) -> None:
        async def write_and_fail() -> None:
            async with store.create(a_key()) as writer:
                await writer.write(BYTES)
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await write_and_fail()
        assert await listed(store) == []

    async def test_cancelling_a_writer_leaves_no_file(self, store: MediaStore) -> None:
        written = asyncio.Event()

        async def write_for_ever() -> None:
            async with store.create(a_key()) as writer:
                await writer.write(BYTES)
                written.set()
                await asyncio.Event().wait()

        task = asyncio.create_task(write_for_ever())
        await written.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await listed(store) == []

    async def test_a_key_is_written_once(self, store: MediaStore) -> None:
        await put(store, a_key(), b"first")
        with pytest.raises(FileExistsError):
            await put(store, a_key(), b"second")
        assert await fetch(store, a_key()) == b"first"
        assert await listed(store) == [a_key()]

    async def test_of_two_writers_of_a_key_one_wins(self, store: MediaStore) -> None:
        outcomes = await asyncio.gather(
            put(store, a_key(), b"a"), put(store, a_key(), b"b"), return_exceptions=True
        )
        losers = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
        assert [type(loser) for loser in losers] == [FileExistsError]
        winner = b"a" if isinstance(outcomes[0], StoredFile) else b"b"
        assert await fetch(store, a_key()) == winner

    async def test_open_gives_a_seekable_file_at_its_beginning(self, store: MediaStore) -> None:
        await put(store, a_key())
        async with store.open(a_key()) as file:
            assert file.read() == BYTES
            file.seek(-3, 2)
            assert file.read() == BYTES[-3:]

    async def test_two_readers_do_not_disturb_each_other(self, store: MediaStore) -> None:
        await put(store, a_key())
        async with store.open(a_key()) as one, store.open(a_key()) as other:
            one.read(100)
            assert other.read(10) == BYTES[:10]

    @pytest.mark.parametrize(
        ("start", "stop"), [(0, 0), (0, 1), (7, 300_000), (300_000, None), (len(BYTES), None), (5, 10**9)]
    )
    async def test_read_yields_the_range(self, store: MediaStore, start: int, stop: int | None) -> None:
        await put(store, a_key())
        assert await fetch(store, a_key(), start, stop) == BYTES[start:stop]

    async def test_read_yields_bounded_chunks(self, store: MediaStore) -> None:
        await put(store, a_key(), BYTES * 4)
        chunks = [chunk async for chunk in store.read(a_key())]
        assert 0 < max(map(len, chunks)) <= 1024 * 1024
        assert all(chunks)

    async def test_deleting_does_not_disturb_readers(self, store: MediaStore) -> None:
        await put(store, a_key())
        async with store.open(a_key()) as file:
            chunks = store.read(a_key())
            first = await anext(chunks)
            await store.delete(a_key())
            assert file.read() == BYTES
            assert first + b"".join([chunk async for chunk in chunks]) == BYTES

    async def test_an_absent_key_is_not_found(self, store: MediaStore) -> None:
        assert await is_absent(store, a_key())

    async def test_a_deleted_file_is_gone(self, store: MediaStore) -> None:
        await put(store, a_key())
        await store.delete(a_key())
        assert await is_absent(store, a_key())
        assert await listed(store) == []

    async def test_deleting_what_is_not_there_is_harmless(self, store: MediaStore) -> None:
        await store.delete(a_key())
        await put(store, a_key())
        await store.delete(a_key())
        await store.delete(a_key())

    async def test_keys_names_every_file(self, store: MediaStore) -> None:
        keys = sorted(a_key(number, kind) for number in range(5) for kind in MediaKind)
        for key in keys:
            await put(store, key, b"x")
        assert await listed(store) == keys

    async def test_scratch_is_an_empty_file_that_vanishes(self, store: MediaStore) -> None:
        with store.scratch() as file:
            assert file.read() == b""
            file.write(b"work")
            file.seek(0)
            assert file.read() == b"work"
            assert await listed(store) == []
        assert file.closed
