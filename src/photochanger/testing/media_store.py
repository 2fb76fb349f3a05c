"""The contract of `MediaStore`."""

import asyncio
import hashlib
import os
import shutil
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, suppress
from io import BytesIO
from typing import BinaryIO

import pytest

from photochanger.application.ports.media import MediaStore
from photochanger.domain.errors import StorageUnavailable
from photochanger.domain.media import MediaId, MediaKind, StoredFile, media_key
from photochanger.testing.harness import AsyncContract, new_id

_MIB = 1024 * 1024
_LONGEST_CHUNK = _MIB


def a_key(kind: MediaKind = MediaKind.RESULT) -> str:
    """Return a key that is not taken."""
    return media_key(kind, MediaId(new_id()))


async def put(store: MediaStore, key: str, content: bytes) -> StoredFile:
    """Write a file."""
    async with store.create(key) as writer:
        await writer.write(content)
        return await writer.commit()


async def content_of(store: MediaStore, key: str) -> bytes:
    """Return the bytes of a file."""
    return b"".join([chunk async for chunk in store.read(key)])


async def keys_of(store: MediaStore) -> list[str]:
    """Return all keys, as they come."""
    return [key async for key in store.keys()]  # noqa: SIM118 - not a mapping


def _write_through(file: BinaryIO, content: bytes) -> None:
    shutil.copyfileobj(BytesIO(content), file, 1024)
    file.flush()


class MediaStoreContract(AsyncContract):
    """Every sentence of `MediaStore` and `MediaWriter`; override the fixtures, as many as you can."""

    @pytest.fixture
    def store(self) -> MediaStore:
        """Return an empty store."""
        raise NotImplementedError("override the fixture `store`")

    @pytest.fixture
    def full_store(self) -> MediaStore:
        """Return a store with room for less than 1 MiB."""
        pytest.skip("this adapter declares no way to fill it")

    @pytest.fixture
    def get_stuck(self) -> Callable[[str], None]:
        """Return what makes every deletion of a key of `store` fail, until the test ends."""
        pytest.skip("this adapter declares no way to make a deletion fail")

    @pytest.fixture
    def unreachable_store(self) -> MediaStore:
        """Return a store whose place is not there."""
        pytest.skip("this adapter declares no way to be out of reach")

    async def test_what_was_written_can_be_read(self, store: MediaStore) -> None:
        key, content = a_key(), os.urandom(100_000)
        stored = await put(store, key, content)
        assert stored == StoredFile(size_bytes=100_000, sha256=hashlib.sha256(content).hexdigest())
        assert await content_of(store, key) == content

    async def test_an_empty_file_is_a_file(self, store: MediaStore) -> None:
        key = a_key()
        async with store.create(key) as writer:
            stored = await writer.commit()
        assert stored.size_bytes == 0
        assert await content_of(store, key) == b""
        assert await keys_of(store) == [key]

    async def test_chunks_are_appended_and_their_buffers_may_be_reused(self, store: MediaStore) -> None:
        key, buffer = a_key(), bytearray(b"aaaa")
        async with store.create(key) as writer:
            await writer.write(buffer)
            buffer[:] = b"bbbb"
            await writer.write(memoryview(buffer)[:2])
            buffer[:] = b"cccc"
            await writer.write(b"d")
            await writer.commit()
        assert await content_of(store, key) == b"aaaabbd"

    async def test_a_file_is_not_there_until_it_is_committed(self, store: MediaStore) -> None:
        key = a_key()
        async with store.create(key) as writer:
            await writer.write(b"abc")
            with pytest.raises(FileNotFoundError):
                await content_of(store, key)
            with pytest.raises(FileNotFoundError):
                async with store.open(key):
                    pass
            await writer.commit()
            assert await content_of(store, key) == b"abc"

    async def test_leaving_without_commit_leaves_no_file(self, store: MediaStore) -> None:
        key = a_key()
        async with store.create(key) as writer:
            await writer.write(b"abc")
        assert await keys_of(store) == []
        with pytest.raises(FileNotFoundError):
            await content_of(store, key)

    async def test_an_error_while_writing_leaves_no_file(self, store: MediaStore) -> None:
        async def fail() -> None:
            async with store.create(a_key()) as writer:
                await writer.write(b"abc")
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await fail()
        assert await keys_of(store) == []

    async def test_a_cancelled_writer_leaves_no_file(self, store: MediaStore) -> None:
        begun = asyncio.Event()

        async def write() -> None:
            async with store.create(a_key()) as writer:
                await writer.write(b"abc")
                begun.set()
                await asyncio.sleep(60)

        writing = asyncio.create_task(write())
        await begun.wait()
        writing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await writing
        assert await keys_of(store) == []

    async def test_contents_gives_the_bytes_written_so_far(self, store: MediaStore) -> None:
        async with store.create(a_key()) as writer:
            for part in (b"abc", b"def"):
                await writer.write(part)
            contents = writer.contents()
            assert contents.tell() == 0
            assert contents.read() == b"abcdef"
            contents.seek(2)
            assert contents.read(2) == b"cd"

    async def test_looking_at_the_contents_does_not_disturb_the_writing(self, store: MediaStore) -> None:
        key = a_key()
        async with store.create(key) as writer:
            await writer.write(b"abc")
            writer.contents().read(1)
            await writer.write(b"def")
            assert writer.contents().read() == b"abcdef"
            assert (await writer.commit()).size_bytes == 6
        assert await content_of(store, key) == b"abcdef"

    async def test_a_key_is_written_once(self, store: MediaStore) -> None:
        key = a_key()
        await put(store, key, b"first")
        with pytest.raises(FileExistsError):
            await put(store, key, b"second")
        assert await content_of(store, key) == b"first"
        assert await keys_of(store) == [key]

    async def test_of_writers_of_one_key_one_wins(self, store: MediaStore) -> None:
        key = a_key()
        written = await asyncio.gather(
            *(put(store, key, b"%d" % number) for number in range(10)), return_exceptions=True
        )
        winners = [number for number, outcome in enumerate(written) if isinstance(outcome, StoredFile)]
        lost = {type(outcome) for outcome in written if not isinstance(outcome, StoredFile)}
        assert (len(winners), lost) == (1, {FileExistsError})
        assert await content_of(store, key) == b"%d" % winners[0]

    async def test_where_there_is_no_room_storage_is_unavailable(self, full_store: MediaStore) -> None:
        key = a_key()
        with pytest.raises(StorageUnavailable):
            await put(full_store, key, bytes(2 * _MIB))
        assert await keys_of(full_store) == []

    async def test_open_gives_a_readable_seekable_file(self, store: MediaStore) -> None:
        key = a_key()
        await put(store, key, b"abcdef")
        async with store.open(key) as file:
            assert file.readable()
            assert file.seekable()
            assert file.read() == b"abcdef"
            file.seek(-2, os.SEEK_END)
            assert file.read() == b"ef"

    async def test_deleting_does_not_disturb_an_open_file(self, store: MediaStore) -> None:
        key = a_key()
        await put(store, key, b"abcdef")
        async with store.open(key) as file:
            assert file.read(2) == b"ab"
            await store.delete([key])
            assert file.read() == b"cdef"

    async def test_a_file_that_is_not_there_cannot_be_opened_or_read(self, store: MediaStore) -> None:
        with pytest.raises(FileNotFoundError):
            async with store.open(a_key()):
                pass
        with pytest.raises(FileNotFoundError):
            await content_of(store, a_key())

    @pytest.mark.parametrize(
        ("start", "stop"), [(0, None), (0, 3), (2, 5), (4, None), (5, 99), (6, None), (3, 3)]
    )
    async def test_a_part_can_be_read(self, store: MediaStore, start: int, stop: int | None) -> None:
        key, content = a_key(), b"abcdef"
        await put(store, key, content)
        part = b"".join([chunk async for chunk in store.read(key, start, stop)])
        assert part == content[start:stop]

    async def test_a_large_file_comes_in_bounded_chunks(self, store: MediaStore) -> None:
        key, content = a_key(), os.urandom(5 * _MIB + 7)
        await put(store, key, content)
        chunks = [chunk async for chunk in store.read(key, 1)]
        assert b"".join(chunks) == content[1:]
        assert min(map(len, chunks)) > 0
        assert max(map(len, chunks)) <= _LONGEST_CHUNK

    async def test_deleting_does_not_disturb_a_reader(self, store: MediaStore) -> None:
        key, content = a_key(), os.urandom(5 * _MIB)
        await put(store, key, content)
        reading: AsyncIterator[bytes] = store.read(key)
        received = await anext(reading)
        await store.delete([key])
        received += b"".join([chunk async for chunk in reading])
        assert received == content

    async def test_what_is_stored_is_had_locally_whole_or_not_at_all(self, store: MediaStore) -> None:
        key = a_key()
        await put(store, key, b"abc")
        file = await store.local(key)
        with file or BytesIO(b"abc") as found:
            assert found.read() == b"abc"

    async def test_a_reader_may_stop_early(self, store: MediaStore) -> None:
        key = a_key()
        await put(store, key, os.urandom(5 * _MIB))
        reading = store.read(key)
        assert isinstance(reading, AsyncGenerator), "a reader who leaves has to be able to close the file"
        async with aclosing(reading):
            await anext(reading)
        await store.delete([key])
        assert await keys_of(store) == []

    async def test_scratch_is_an_empty_file_without_a_name(self, store: MediaStore) -> None:
        with store.scratch() as file:
            assert file.read() == b""
            file.write(b"abc")
            file.seek(1)
            assert file.read() == b"bc"
            name = getattr(file, "name", None)
            assert not isinstance(name, str) or not os.path.exists(name)  # noqa: PTH110
            assert await keys_of(store) == []
        assert file.closed

    async def test_a_deleted_file_is_gone(self, store: MediaStore) -> None:
        key, other = a_key(), a_key()
        await put(store, key, b"abc")
        await put(store, other, b"def")
        assert set(await store.delete([key])) == {key}
        assert await keys_of(store) == [other]
        with pytest.raises(FileNotFoundError):
            await content_of(store, key)

    async def test_deleting_what_is_not_there_is_harmless(self, store: MediaStore) -> None:
        key, others = a_key(), [a_key() for _ in range(2)]
        await put(store, others[0], b"abc")
        assert set(await store.delete([key])) == {key}
        assert set(await store.delete([key, *others])) == {key, *others}
        assert set(await store.delete([])) == set()

    async def test_many_files_are_deleted_and_no_other(self, store: MediaStore) -> None:
        keys = [a_key(kind) for kind in MediaKind for _ in range(3)]
        for key in keys:
            await put(store, key, b"abc")
        doomed, others = keys[::2], keys[1::2]
        assert set(await store.delete([*doomed, doomed[0]])) == set(doomed)
        assert await keys_of(store) == sorted(others)

    async def test_a_file_that_cannot_be_deleted_does_not_keep_the_others(
        self, store: MediaStore, get_stuck: Callable[[str], None]
    ) -> None:
        keys = sorted(a_key() for _ in range(5))
        for key in keys[:4]:
            await put(store, key, b"abc")
        get_stuck(keys[1])
        assert set(await store.delete(keys)) == {*keys} - {keys[1]}
        assert set(await keys_of(store)) <= {keys[1]}
        assert set(await store.delete([keys[1]])) == set()

    async def test_a_store_that_is_out_of_reach_is_not_taken_for_an_empty_one(
        self, unreachable_store: MediaStore
    ) -> None:
        with pytest.raises(StorageUnavailable):
            await unreachable_store.delete([a_key()])
        with pytest.raises(StorageUnavailable):
            await keys_of(unreachable_store)

    async def test_a_deleted_key_is_free_again(self, store: MediaStore) -> None:
        key = a_key()
        await put(store, key, b"abc")
        await store.delete([key])
        await put(store, key, b"def")
        assert await content_of(store, key) == b"def"

    async def test_keys_yields_every_file_whole_or_partial(self, store: MediaStore) -> None:
        whole = [a_key(kind) for kind in MediaKind]
        for key in whole:
            await put(store, key, b"abc")
        partial = a_key()
        async with store.create(partial) as writer:
            await writer.write(bytes(_MIB))
            assert set(whole) <= set(await keys_of(store)) <= {*whole, partial}
        assert await keys_of(store) == sorted(whole)

    async def test_keys_come_in_their_order_from_where_one_likes(self, store: MediaStore) -> None:
        ids = [digits * 16 for digits in ("00", "0f", "9a", "a9", "ff")]
        names = ("preview", "provider", "provider_link", "template", "a", "a_b")
        keys = sorted(f"{name}/{one[:2]}/{one}" for name in names for one in ids)
        for key in reversed(keys):
            await put(store, key, b"abc")
        assert await keys_of(store) == keys
        for position, key in enumerate(keys):
            assert [each async for each in store.keys(key)] == keys[position + 1 :]
        first = {name: keys.index(f"{name}/00/{ids[0]}") for name in names}
        between = {
            "b": "preview",
            "preview/zz": "provider",
            "provider0": "provider_link",
            "provider_a": "provider_link",
        }
        for after, name in between.items():
            assert [each async for each in store.keys(after)] == keys[first[name] :], after
        assert [each async for each in store.keys("z")] == []

    async def test_a_walk_that_was_broken_off_can_go_on(self, store: MediaStore) -> None:
        keys = sorted(a_key() for _ in range(7))
        for key in keys:
            await put(store, key, b"abc")
        walk = store.keys()
        assert isinstance(walk, AsyncGenerator)
        async with aclosing(walk):
            walked = [await anext(walk) for _ in range(3)]
        assert walked + [key async for key in store.keys(walked[-1])] == keys

    async def test_a_ping_leaves_nothing(self, store: MediaStore) -> None:
        await store.ping()
        assert await keys_of(store) == []

    async def test_scratch_says_when_there_is_no_room(self, full_store: MediaStore) -> None:
        with full_store.scratch() as file, pytest.raises(StorageUnavailable):
            _write_through(file, bytes(2 * _MIB))

    async def test_a_ping_fails_where_there_is_no_room(self, full_store: MediaStore) -> None:
        for size_bytes in (2**exponent for exponent in range(19, -1, -1)):
            with suppress(StorageUnavailable):
                while True:
                    await put(full_store, a_key(), bytes(size_bytes))
        with pytest.raises(StorageUnavailable):
            await full_store.ping()

    async def test_files_do_not_disturb_one_another(self, store: MediaStore) -> None:
        contents = {a_key(): os.urandom(200_000) for _ in range(8)}
        await asyncio.gather(*(put(store, key, content) for key, content in contents.items()))
        for key, content in contents.items():
            assert await content_of(store, key) == content


class LocalMediaStoreContract(MediaStoreContract):
    """The same for stores that keep their files where a descriptor can be had of them."""

    async def test_a_local_file_is_the_stored_file_with_a_descriptor(self, store: MediaStore) -> None:
        key, content = a_key(), os.urandom(100_000)
        await put(store, key, content)
        file = await self._local(store, key)
        with file:
            assert os.fstat(file.fileno()).st_size == len(content)
            assert os.pread(file.fileno(), 10, 5) == content[5:15]
            assert file.read() == content

    async def test_deleting_does_not_disturb_a_local_file(self, store: MediaStore) -> None:
        key, content = a_key(), os.urandom(100_000)
        await put(store, key, content)
        with await self._local(store, key) as file:
            await store.delete([key])
            assert os.pread(file.fileno(), len(content), 0) == content

    async def test_what_is_not_there_is_not_there_locally(self, store: MediaStore) -> None:
        key = a_key()
        await put(store, key, b"abc")
        (await self._local(store, key)).close()
        with pytest.raises(FileNotFoundError):
            await store.local(a_key())
        await store.delete([key])
        with pytest.raises(FileNotFoundError):
            await store.local(key)

    async def _local(self, store: MediaStore, key: str) -> BinaryIO:
        file = await store.local(key)
        assert file is not None
        return file
