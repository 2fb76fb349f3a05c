"""A service that is down, slow, full, refuses, or is not the one that was meant."""

import asyncio
import logging
import time
import traceback
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import replace

import pytest

from photochanger.adapters.object_store import checking, faults
from photochanger.adapters.object_store.bucket import Bucket
from photochanger.adapters.object_store.store import ObjectMediaStore, Scratch
from photochanger.domain.errors import StorageUnavailable
from tests.s3_gate import Answer, CutAnswer, CutRequest, Fault, Hang, S3Gate, StallAnswer
from tests.s3_server import KEY_ID, PREFIX, SECRET, S3Server
from tests.system.installation import free_port
from tests.unit.adapters.media_files import BYTES, a_key, fetch, listed, put

pytestmark = pytest.mark.anyio

Operation = Callable[[ObjectMediaStore], Awaitable[object]]


async def open_it(store: ObjectMediaStore) -> None:
    async with store.open(a_key(1)):
        pass


OPERATIONS: Mapping[str, Operation] = {
    "put": lambda store: put(store, a_key(2)),
    "open": open_it,
    "read": lambda store: fetch(store, a_key(1)),
    "read a part": lambda store: fetch(store, a_key(1), 5, 9),
    "read nothing": lambda store: fetch(store, a_key(1), 5, 5),
    "delete": lambda store: store.delete([a_key(3)]),
    "list": listed,
    "ping": lambda store: store.ping(),
    "check": lambda store: store.check(),
}

FAULTS: Mapping[str, Fault] = {
    "500": Answer(500, "InternalError"),
    "503": Answer(503, "SlowDown"),
    "no body": Answer(502),
    "403": Answer(403, "AccessDenied"),
    "no bucket": Answer(404, "NoSuchBucket"),
    "another region": Answer(301, "PermanentRedirect"),
    "full": Answer(507, "XMinioStorageFull"),
    "cut before the answer": CutAnswer(),
    "cut in the answer": CutAnswer(25),
    "cut in the request": CutRequest(100),
}


def assert_discreet(error: BaseException, bucket: Bucket) -> None:
    """Nothing that is told of an error names the place or the key, in whatever depth."""
    told = "".join(traceback.format_exception(error))
    for secret in (bucket.name, bucket.prefix, str(bucket.endpoint), a_key(1), a_key(2), KEY_ID, SECRET):
        assert secret not in told.replace(__file__, "")


async def outcomes(store: ObjectMediaStore, names: Collection[str]) -> Mapping[str, object]:
    """Do all of it at once; return what comes of each."""
    done = await asyncio.gather(*(OPERATIONS[name](store) for name in names), return_exceptions=True)
    return dict(zip(names, done, strict=True))


@pytest.mark.parametrize("fault", FAULTS)
async def test_whatever_the_service_does_storage_is_unavailable_until_it_is_well_again(
    store: ObjectMediaStore, gate: S3Gate, bucket: Bucket, caplog: pytest.LogCaptureFixture, fault: str
) -> None:
    caplog.set_level(logging.DEBUG)
    await put(store, a_key(1))
    gate.rule = lambda _: FAULTS[fault]
    # An answer to HEAD has no body that could tell a bucket that is not there from a file.
    names = [name for name in OPERATIONS if (name, fault) != ("read nothing", "no bucket")]
    for name, outcome in (await outcomes(store, names)).items():
        assert isinstance(outcome, StorageUnavailable), name
        assert_discreet(outcome, gate.before(bucket))
    assert SECRET not in caplog.text
    gate.rule = lambda _: None
    await store.delete([a_key(2)])  # as the sweeper will: where no answer came, the file may be there
    again = await outcomes(store, names)
    assert {name: error for name, error in again.items() if isinstance(error, BaseException)} == {}


@pytest.mark.parametrize("operation", OPERATIONS)
async def test_a_service_that_fails_once_is_asked_again(
    store: ObjectMediaStore, gate: S3Gate, operation: str
) -> None:
    await put(store, a_key(1))
    before = len(gate.asked)
    gate.rule = lambda _: Answer(503, "SlowDown") if len(gate.asked) == before + 1 else None
    await OPERATIONS[operation](store)
    assert len(gate.asked) > before + 1


async def test_a_service_that_is_down_is_found_out_soon_and_found_back(
    store: ObjectMediaStore, gate: S3Gate, bucket: Bucket, s3_server: S3Server, scratch: Scratch
) -> None:
    port = free_port()
    store = ObjectMediaStore(replace(bucket, endpoint=f"http://127.0.0.1:{port}"), scratch=scratch)
    start = time.monotonic()
    with pytest.raises(StorageUnavailable, match="does not answer"):
        await store.ping()
    assert time.monotonic() - start < 5
    later = S3Gate(s3_server.port)
    later.port = port
    async with later.open():
        await store.ping()


async def test_a_service_that_says_nothing_is_not_waited_for(
    store: ObjectMediaStore, gate: S3Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (faults, checking):
        monkeypatch.setattr(module, "ANSWER_SEC", 0.2)
    gate.rule = lambda _: Hang()
    for name, outcome in (await outcomes(store, OPERATIONS.keys() - {"put"})).items():
        assert isinstance(outcome, StorageUnavailable), name
        assert "does not answer" in outcome.message


async def test_a_commit_to_a_service_that_says_nothing_can_be_given_up(
    store: ObjectMediaStore, gate: S3Gate
) -> None:
    gate.rule = lambda _: Hang()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await put(store, a_key())


async def test_a_download_that_stalls_is_given_up(
    store: ObjectMediaStore, gate: S3Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    await put(store, a_key())
    monkeypatch.setattr(faults, "ANSWER_SEC", 0.2)
    gate.rule = lambda _: StallAnswer(500_000)
    with pytest.raises(StorageUnavailable):
        await fetch(store, a_key())


async def test_a_download_that_breaks_off_is_continued(store: ObjectMediaStore, gate: S3Gate) -> None:
    await put(store, a_key())
    before = len(gate.asked)
    gate.rule = lambda _: CutAnswer(500_000) if len(gate.asked) == before + 1 else None
    assert await fetch(store, a_key()) == BYTES
    assert len(gate.asked) == before + 2


async def test_check_leaves_nothing(store: ObjectMediaStore, s3_server: S3Server, bucket: Bucket) -> None:
    await store.check()
    assert store.is_conditional
    assert s3_server.names(bucket) == []


@pytest.mark.parametrize(
    ("method", "answer", "reason"),
    [
        ("PUT", Answer(404, "NoSuchBucket"), "there is no such bucket (MEDIA_URL)"),
        ("PUT", Answer(403, "AccessDenied"), "these credentials may not write there"),
        ("GET", Answer(403, "AccessDenied"), "these credentials may not read there"),
        ("LIST", Answer(403, "AccessDenied"), "these credentials may not list there"),
        ("DELETE", Answer(403, "AccessDenied"), "these credentials may not delete there"),
        (
            "PUT",
            Answer(403, "InvalidAccessKeyId"),
            "the service does not know this key (AWS_ACCESS_KEY_ID)",
        ),
        (
            "PUT",
            Answer(403, "SignatureDoesNotMatch"),
            "the key's secret is another (AWS_SECRET_ACCESS_KEY)",
        ),
        ("PUT", Answer(400, "ExpiredToken"), "the session token has expired (AWS_SESSION_TOKEN)"),
        ("PUT", Answer(403, "RequestTimeTooSkewed"), "this machine's clock is wrong"),
        ("PUT", Answer(301), "it is in another region (AWS_REGION)"),
        ("PUT", Answer(400, "TeapotShort"), "the service answers TeapotShort to an attempt to write"),
        ("PUT", CutAnswer(), "the service does not answer (AWS_ENDPOINT_URL)"),
        ("GET", Answer(200, "OtherBytes"), "what was written there is not what is read"),
    ],
)
async def test_check_says_in_one_sentence_what_is_wrong(
    store: ObjectMediaStore, gate: S3Gate, method: str, answer: Fault, reason: str
) -> None:
    gate.rule = lambda asked: (
        answer if method == ("LIST" if "list-type" in asked.target else asked.method) else None
    )
    with pytest.raises(StorageUnavailable) as failed:
        await store.check()
    assert failed.value.message == f"The media bucket cannot be used: {reason}"


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (Answer(403, "AccessDenied"), "(the machine's own: AWS_ACCESS_KEY_ID is not set)"),
        (CutAnswer(), "or there are no credentials (AWS_ACCESS_KEY_ID)"),
    ],
)
async def test_check_reminds_of_credentials_that_are_not_set(
    gate: S3Gate,
    bucket: Bucket,
    scratch: Scratch,
    monkeypatch: pytest.MonkeyPatch,
    answer: Fault,
    hint: str,
) -> None:
    # What obstore finds by itself where none are given, here in the place of what a machine has.
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY_ID)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    without = replace(gate.before(bucket), access_key_id=None, secret_access_key=None)
    await ObjectMediaStore(without, scratch=scratch).check()
    gate.rule = lambda _: answer
    with pytest.raises(StorageUnavailable) as failed:
        await ObjectMediaStore(without, scratch=scratch).check()
    assert failed.value.message.endswith(hint)


async def test_check_names_a_bucket_that_is_not_there(s3_server: S3Server, scratch: Scratch) -> None:
    with pytest.raises(StorageUnavailable, match="no such bucket"):
        await ObjectMediaStore(s3_server.bucket("photos-elsewhere"), scratch=scratch).check()


async def test_check_cleans_up_where_it_may_not_read(
    store: ObjectMediaStore, gate: S3Gate, s3_server: S3Server, bucket: Bucket
) -> None:
    gate.rule = lambda asked: Answer(403, "AccessDenied") if asked.method == "GET" else None
    with pytest.raises(StorageUnavailable):
        await store.check()
    assert s3_server.names(bucket) == []


@pytest.mark.parametrize("prefix", ["", PREFIX])
async def test_a_bucket_that_keeps_what_was_deleted_is_refused(
    s3_server: S3Server, scratch: Scratch, prefix: str
) -> None:
    bucket = s3_server.new_bucket(prefix=prefix, keeps_versions=True)
    with pytest.raises(StorageUnavailable, match="keeps old versions"):
        await ObjectMediaStore(bucket, scratch=scratch).check()
