"""What the store does beyond the port's contract: names, pages, memory, discretion."""

import asyncio
import tracemalloc
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from obstore import put_async

from photochanger.adapters.object_store.bucket import Bucket
from photochanger.adapters.object_store.client import connect
from photochanger.adapters.object_store.deletion import KEYS_AT_ONCE
from photochanger.adapters.object_store.store import ObjectMediaStore, Scratch
from photochanger.adapters.object_store.uploads import PART_BYTES
from photochanger.domain.errors import StorageUnavailable
from tests.s3_gate import Answer, S3Gate
from tests.s3_server import KEY_ID, PREFIX, SECRET, S3Server
from tests.unit.adapters.media_files import BYTES, a_key, fetch, listed, put

pytestmark = pytest.mark.anyio

MB = 1_000_000
KEY = a_key()


@pytest.mark.parametrize(
    "key",
    [
        "",
        "payload",
        f"payload/ac/{'ab' * 16}",
        f"payload/ab/{'ab' * 16}.part",
        f"../payload/ab/{'ab' * 16}",
        f"/payload/ab/{'ab' * 16}",
        f"payload/ab/../ab/{'ab' * 16}",
        "payload/\u0660\u0660/" + "\u0660" * 32,
    ],
)
async def test_no_name_is_made_of_anything_but_a_key(store: ObjectMediaStore, gate: S3Gate, key: str) -> None:
    with pytest.raises(ValueError, match="not a key"):
        await put(store, key)
    with pytest.raises(ValueError, match="not a key"):
        await fetch(store, key)
    with pytest.raises(ValueError, match="not a key"):
        await store.delete([key])
    assert gate.asked == []


async def test_nothing_outside_the_prefix_is_asked_for(
    store: ObjectMediaStore, gate: S3Gate, bucket: Bucket
) -> None:
    await store.check()
    await put(store, a_key())
    await fetch(store, a_key())
    await listed(store)
    await store.ping()
    await store.delete([a_key()])
    inside: tuple[str, ...] = (
        f"/{bucket.name}/{PREFIX}/",
        f"/{bucket.name}?list-type=2&prefix={PREFIX.replace('/', '%2F')}%2F",
        f"/{bucket.name}?delete",  # its body says what
    )
    assert [asked.target for asked in gate.asked if not asked.target.startswith(inside)] == []


@pytest.mark.parametrize("prefix", ["", "a", PREFIX])
async def test_files_of_others_are_neither_listed_nor_taken_for_ours(
    s3_server: S3Server, scratch: Scratch, prefix: str
) -> None:
    bucket = s3_server.new_bucket(prefix=prefix)
    store = ObjectMediaStore(bucket, scratch=scratch)
    below = f"{prefix}/" if prefix else ""
    others = [f"{below}README", f"{below}{KEY}.jpg", f"{below}.check-1", f"{prefix}x/{KEY}", "z/backup"]
    for name in others:
        s3_server.put(bucket, name, b"mine")
    assert await listed(store) == []
    await put(store, KEY)
    assert await listed(store) == [KEY]
    await store.delete([KEY])
    assert s3_server.names(bucket) == sorted(others)


async def test_more_keys_than_a_page_holds_are_listed(
    store: ObjectMediaStore, gate: S3Gate, s3_server: S3Server, bucket: Bucket
) -> None:
    keys = [a_key(number) for number in range(1001)]
    client = connect(bucket)
    for start in range(0, len(keys), 100):
        await asyncio.gather(*(put_async(client, key, b"") for key in keys[start : start + 100]))
    s3_server.put(bucket, f"{PREFIX}/{keys[0]}.part")
    s3_server.put(bucket, f"{PREFIX}/{a_key(5000)}.part")
    assert await listed(store) == sorted([*keys, a_key(5000)])
    assert len(gate.asked) == 2


async def test_many_files_are_deleted_with_few_requests(
    store: ObjectMediaStore, gate: S3Gate, s3_server: S3Server, bucket: Bucket
) -> None:
    keys = [a_key(number) for number in range(2 * KEYS_AT_ONCE + 1)]
    for key in keys[::100]:
        s3_server.put(bucket, f"{PREFIX}/{key}")
        s3_server.put(bucket, f"{PREFIX}/{key}.part")
    assert set(await store.delete(keys)) == set(keys)
    assert s3_server.names(bucket) == []
    assert [asked.method for asked in gate.asked] == 3 * ["POST"]


@pytest.mark.parametrize(
    "answer",
    [
        Answer(501, "NotImplemented"),
        Answer(405, "MethodNotAllowed"),
        Answer(400, "InvalidRequest"),
        Answer(403, "AccessDenied"),
        Answer(200, body=b"<html>welcome</html>"),
        Answer(
            200, body=b"<DeleteResult><Error><Key>else</Key><Code>A</Code><Message/></Error></DeleteResult>"
        ),
    ],
    ids=["not implemented", "no such method", "not understood", "refused", "a page", "of another object"],
)
async def test_a_service_that_cannot_delete_many_deletes_them_one_by_one(
    store: ObjectMediaStore, gate: S3Gate, s3_server: S3Server, bucket: Bucket, answer: Answer
) -> None:
    keys = [a_key(number) for number in range(20)]
    for key in keys[1:]:
        s3_server.put(bucket, f"{PREFIX}/{key}.part")
        s3_server.put(bucket, f"{PREFIX}/{key}")
    gate.rule = lambda asked: answer if asked.method == "POST" else None
    assert set(await store.delete(keys)) == set(keys)
    assert s3_server.names(bucket) == []


async def test_where_nothing_at_all_is_deleted_storage_is_unavailable(
    store: ObjectMediaStore, gate: S3Gate
) -> None:
    gate.rule = lambda asked: Answer(403, "AccessDenied") if asked.method in {"POST", "DELETE"} else None
    with pytest.raises(StorageUnavailable, match="AccessDenied"):
        await store.delete([a_key(1), a_key(2)])


async def test_a_service_that_lists_without_order_is_found_out(store: ObjectMediaStore, gate: S3Gate) -> None:
    one, two = sorted([a_key(1), a_key(2)])
    names = "".join(
        f"<Contents><Key>{PREFIX}/{key}</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified>"
        "<ETag>1</ETag><Size>1</Size></Contents>"
        for key in (two, one)
    )
    body = f"<ListBucketResult><IsTruncated>false</IsTruncated>{names}</ListBucketResult>"
    gate.rule = lambda _: Answer(200, body=body.encode())
    with pytest.raises(StorageUnavailable, match="order"):
        await listed(store)


def private_bytes() -> int:
    """Return the memory of this process that no file stands behind: Python's, and obstore's own."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon"))


@asynccontextmanager
async def growth_of_at_most(size_bytes: int) -> AsyncIterator[Callable[[], None]]:
    """Look at the memory now and then, and when asked to."""
    peak = before = private_bytes()

    def look() -> None:
        nonlocal peak
        peak = max(peak, private_bytes())

    async def watch() -> None:
        while True:
            look()
            await asyncio.sleep(0.005)

    watching = asyncio.create_task(watch())
    try:
        yield look
    finally:
        watching.cancel()
    assert peak - before < size_bytes


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
@pytest.mark.parametrize("single_bytes", [100 * MB, PART_BYTES], ids=["one request", "in parts"])
async def test_50_mb_go_there_and_back_in_little_memory(
    bucket: Bucket, scratch: Scratch, single_bytes: int
) -> None:
    store = ObjectMediaStore(bucket, scratch=scratch, single_bytes=single_bytes)
    await put(store, a_key(1), BYTES)
    await fetch(store, a_key(1))
    tracemalloc.start()
    try:
        async with growth_of_at_most(16 * MB) as look:
            async with store.create(a_key(2)) as writer:
                for _ in range(50):
                    await writer.write(BYTES)
                await writer.commit()
            received = 0
            async for chunk in store.read(a_key(2)):
                received += len(chunk)
                look()
            async with store.open(a_key(2)) as file:
                look()
                assert file.read(len(BYTES)) == BYTES
        assert received == 50 * len(BYTES)
        assert tracemalloc.get_traced_memory()[1] < 6 * MB
    finally:
        tracemalloc.stop()


async def test_nothing_leaks_descriptors(store: ObjectMediaStore, gate: S3Gate) -> None:
    def open_files() -> list[str]:
        found = (path for path in Path("/proc/self/fd").iterdir())
        return [str(path) for path in found if path.is_symlink() and "(deleted)" in str(path.readlink())]

    before = len(open_files())
    for number in range(10):
        await put(store, a_key(number))
        async with store.open(a_key(number)), store.create(a_key(100)) as writer:
            await writer.write(b"abc")
            writer.contents()
    assert len(open_files()) == before


async def test_scratch_has_no_name(store: ObjectMediaStore, tmp_path: Path) -> None:
    async with store.create(a_key()) as writer:
        await writer.write(BYTES)
        assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


async def test_a_reader_who_is_slow_is_waited_for(store: ObjectMediaStore) -> None:
    await put(store, a_key(), 8 * BYTES)
    reading = store.read(a_key())
    received = await anext(reading)
    await store.delete([a_key()])
    await put(store, a_key(2))
    received += b"".join([chunk async for chunk in reading])
    assert received == 8 * BYTES


def test_no_secret_is_shown_with_the_bucket(bucket: Bucket) -> None:
    assert SECRET not in repr(bucket)
    assert KEY_ID not in repr(bucket)
