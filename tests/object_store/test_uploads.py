"""Sending files: each key once, and nothing left of what failed, was given up or was killed."""

import asyncio
import contextlib
import os
import signal
import sys
from pathlib import Path

import pytest

from photochanger.adapters.object_store.bucket import Bucket
from photochanger.adapters.object_store.store import ObjectMediaStore
from photochanger.adapters.object_store.uploads import PART_BYTES
from photochanger.domain.errors import StorageUnavailable
from photochanger.domain.media import StoredFile
from tests.s3_gate import Answer, Asked, CutAnswer, CutRequest, Fault, S3Gate, Stall, WithoutCondition
from tests.s3_server import PREFIX, S3Server
from tests.system.installation import eventually
from tests.unit.adapters.media_files import BYTES, a_key, fetch, is_absent, listed, put

pytestmark = pytest.mark.anyio

ROOT = Path(__file__).parents[2]
LARGE = os.urandom(2 * PART_BYTES + 1)


class Nth:
    """Goes wrong for the n-th request (from 0) of those whose line begins so and holds `part`."""

    def __init__(self, method: str, part: str, fault: Fault, *, n: int = 0, for_ever: bool = False) -> None:
        self._wanted = (method, part)
        self._fault = fault
        self._n = n
        self._for_ever = for_ever
        self.seen = 0

    def __call__(self, asked: Asked) -> Fault | None:
        method, part = self._wanted
        if asked.method != method or part not in asked.target:
            return None
        self.seen += 1
        is_meant = self.seen > self._n if self._for_ever else self.seen == self._n + 1
        return self._fault if is_meant else None


def lines(gate: S3Gate) -> list[str]:
    """Return what was asked for: the method, and what tells multipart uploads from others."""
    return [asked.method + ("?" + asked.target.partition("?")[2])[:5].rstrip("?") for asked in gate.asked]


async def test_a_file_is_one_request(store: ObjectMediaStore, gate: S3Gate) -> None:
    await put(store, a_key(), LARGE)
    assert lines(gate) == ["PUT"]


async def test_a_large_file_is_sent_in_parts(
    store_in_parts: ObjectMediaStore, gate: S3Gate, s3_server: S3Server, bucket: Bucket
) -> None:
    await put(store_in_parts, a_key(), LARGE)
    parts = [asked.target for asked in gate.asked if "partNumber=" in asked.target]
    assert len(parts) == 3
    assert await fetch(store_in_parts, a_key()) == LARGE
    assert s3_server.names(bucket) == [f"{PREFIX}/{a_key()}"]
    assert s3_server.unfinished_uploads(bucket) == []


@pytest.mark.parametrize(
    "rule",
    [
        Nth("PUT", "partNumber=2", Answer(403, "AccessDenied"), for_ever=True),
        Nth("PUT", "partNumber=3", Answer(500), for_ever=True),
        Nth("PUT", "partNumber=1", CutRequest(100_000), for_ever=True),
        Nth("POST", "uploadId=", Answer(400, "InvalidPart"), for_ever=True),
        Nth("POST", "uploads", Answer(503, "SlowDown"), for_ever=True),
    ],
    ids=["a part is refused", "the last part fails", "a part is cut", "the end is refused", "no beginning"],
)
async def test_an_upload_in_parts_that_fails_is_aborted(
    store_in_parts: ObjectMediaStore, gate: S3Gate, s3_server: S3Server, bucket: Bucket, rule: Nth
) -> None:
    gate.rule = rule
    with pytest.raises(StorageUnavailable):
        await put(store_in_parts, a_key(), LARGE)
    assert rule.seen
    assert s3_server.names(bucket) == []
    assert s3_server.unfinished_uploads(bucket) == []
    gate.rule = lambda _: None
    await put(store_in_parts, a_key(), LARGE)


@pytest.mark.parametrize("fault", [CutRequest(500_000), CutAnswer(), CutAnswer(20)])
async def test_a_connection_that_breaks_once_does_not_matter(
    store: ObjectMediaStore, gate: S3Gate, s3_server: S3Server, bucket: Bucket, fault: Fault
) -> None:
    gate.rule = Nth("PUT", a_key(), fault)
    await put(store, a_key())
    gate.rule = lambda _: None
    assert await fetch(store, a_key()) == BYTES
    assert s3_server.names(bucket) == [f"{PREFIX}/{a_key()}"]


@pytest.mark.parametrize("part", ["partNumber=2", "uploadId="])
async def test_a_broken_connection_during_an_upload_in_parts_does_not_matter(
    store_in_parts: ObjectMediaStore, gate: S3Gate, s3_server: S3Server, bucket: Bucket, part: str
) -> None:
    gate.rule = Nth("PUT" if part == "partNumber=2" else "POST", part, CutAnswer())
    await put(store_in_parts, a_key(), LARGE)
    assert await fetch(store_in_parts, a_key()) == LARGE
    assert s3_server.unfinished_uploads(bucket) == []


async def test_a_lost_answer_is_not_taken_for_success_where_another_file_is_there(
    store: ObjectMediaStore, gate: S3Gate
) -> None:
    await put(store, a_key(), b"first")
    gate.rule = Nth("PUT", a_key(), CutAnswer(), for_ever=True)
    with pytest.raises(FileExistsError):
        await put(store, a_key(), b"second")
    assert await fetch(store, a_key()) == b"first"


async def test_of_large_and_small_files_of_one_key_a_later_one_is_refused(
    store: ObjectMediaStore, store_in_parts: ObjectMediaStore
) -> None:
    await put(store_in_parts, a_key(1), LARGE)
    with pytest.raises(FileExistsError):
        await put(store, a_key(1), b"small")
    await put(store, a_key(2), b"small")
    with pytest.raises(FileExistsError):
        await put(store_in_parts, a_key(2), LARGE)
    assert (await fetch(store, a_key(1)), await fetch(store, a_key(2))) == (LARGE, b"small")
    assert await listed(store) == sorted([a_key(1), a_key(2)])


async def test_of_large_files_of_one_key_one_wins(
    store_in_parts: ObjectMediaStore, s3_server: S3Server, bucket: Bucket
) -> None:
    contents = [bytes([number]) * (PART_BYTES + 1) for number in range(3)]
    outcomes = await asyncio.gather(
        *(put(store_in_parts, a_key(), content) for content in contents), return_exceptions=True
    )
    winners = [number for number, outcome in enumerate(outcomes) if isinstance(outcome, StoredFile)]
    assert len(winners) == 1
    assert {type(outcome) for outcome in outcomes} == {StoredFile, FileExistsError}
    assert await fetch(store_in_parts, a_key()) == contents[winners[0]]
    assert s3_server.unfinished_uploads(bucket) == []


@pytest.mark.parametrize("fault", [WithoutCondition(), Answer(501, "NotImplemented")])
async def test_where_the_service_knows_no_conditions_a_taken_key_is_found_by_looking(
    store: ObjectMediaStore, gate: S3Gate, fault: Fault
) -> None:
    gate.rule = lambda asked: fault if asked.is_conditional else None
    await store.check()
    assert not store.is_conditional
    await put(store, a_key(), b"first")
    with pytest.raises(FileExistsError):
        await put(store, a_key(), b"second")
    assert await fetch(store, a_key()) == b"first"
    gate.rule = Nth("PUT", a_key(2), CutAnswer())
    await put(store, a_key(2), b"its answer is lost")


async def cancelled(writing: "asyncio.Task[StoredFile]") -> None:
    """Give up a commit that is under way; it has to be prompt."""
    writing.cancel()
    async with asyncio.timeout(2):
        with pytest.raises(asyncio.CancelledError):
            await writing


async def test_a_commit_that_is_given_up_is_undone(store: ObjectMediaStore, gate: S3Gate) -> None:
    asked = asyncio.Event()

    def rule(request: Asked) -> None:
        if request.method == "PUT":
            asked.set()

    gate.rule = rule
    writing = asyncio.create_task(put(store, a_key(), LARGE))
    await asked.wait()
    await cancelled(writing)

    async def is_undone() -> bool:
        return "DELETE" in lines(gate) and await listed(store) == []

    await eventually(is_undone)
    assert await is_absent(store, a_key())


async def test_a_large_commit_that_is_given_up_is_aborted(
    store_in_parts: ObjectMediaStore, gate: S3Gate, s3_server: S3Server, bucket: Bucket
) -> None:
    gate.rule = Nth("PUT", "partNumber=1", Answer(503), for_ever=True)
    writing = asyncio.create_task(put(store_in_parts, a_key(), LARGE))

    async def is_under_way() -> bool:
        return any("partNumber=1" in asked.target for asked in gate.asked)

    await eventually(is_under_way)
    assert s3_server.unfinished_uploads(bucket) == [f"{PREFIX}/{a_key()}"]
    await cancelled(writing)
    gate.rule = lambda _: None

    async def is_aborted() -> bool:
        return not s3_server.unfinished_uploads(bucket) and not s3_server.names(bucket)

    await eventually(is_aborted)
    assert [asked for asked in gate.asked if asked.method == "POST" and "uploadId=" in asked.target] == []


UPLOAD = """
import asyncio, sys, tempfile
from photochanger.adapters.object_store.bucket import Bucket
from photochanger.adapters.object_store.store import ObjectMediaStore
from tests.unit.adapters.media_files import a_key, put

bucket = Bucket(name=sys.argv[1], prefix=sys.argv[2], endpoint=sys.argv[3],
    access_key_id="key", secret_access_key="secret")
store = ObjectMediaStore(bucket, scratch=tempfile.TemporaryFile, single_bytes=int(sys.argv[4]))
asyncio.run(put(store, a_key(), bytes(20_000_000)))
"""


async def kill_during_an_upload(bucket: Bucket, gate: S3Gate, single_bytes: int) -> None:
    """Have another process upload 20 MB, and kill it when the gate has stopped it half-way."""
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", UPLOAD, bucket.name, bucket.prefix, gate.before(bucket).endpoint or ""),
        str(single_bytes),
        cwd=ROOT,
        env=os.environ,
    )
    try:
        async with asyncio.timeout(30):
            await gate.hanging.wait()
    finally:
        with contextlib.suppress(ProcessLookupError):
            child.send_signal(signal.SIGKILL)
        await child.wait()


async def test_an_upload_that_is_killed_half_way_leaves_nothing(
    gate: S3Gate, s3_server: S3Server, bucket: Bucket
) -> None:
    gate.rule = Nth("PUT", a_key(), Stall(10_000_000))
    await kill_during_an_upload(bucket, gate, 64_000_000)
    assert s3_server.names(bucket) == []
    assert s3_server.unfinished_uploads(bucket) == []


async def test_what_a_killed_upload_in_parts_leaves_is_listed_and_deleted(
    store: ObjectMediaStore, gate: S3Gate, s3_server: S3Server, bucket: Bucket
) -> None:
    gate.rule = Nth("PUT", "partNumber=2", Stall(1_000_000))
    await kill_during_an_upload(bucket, gate, 1_000_000)
    assert s3_server.names(bucket) == [f"{PREFIX}/{a_key()}.part"]
    assert await is_absent(store, a_key())
    assert await listed(store) == [a_key()]
    await store.delete([a_key()])
    assert s3_server.names(bucket) == []
    # What is left can only be removed by a rule of the bucket (docs/media.md).
    assert s3_server.unfinished_uploads(bucket) == [f"{PREFIX}/{a_key()}"]
