"""Real processes whose media are in an S3-compatible service: a photo's way, an outage, a sweep."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from photochanger.adapters.object_store.bucket import Bucket
from photochanger.application.media_ownership import MARK_KEY
from photochanger.domain.errors import StorageUnavailable
from photochanger.domain.job import JobState
from photochanger.entrypoints.cli.booth import Delivery, Refusal
from photochanger.entrypoints.cli.exit_codes import ExitCode
from photochanger.testing.harness import an_entry
from photochanger.testing.photos import plain_jpeg
from tests.s3_gate import Answer, S3Gate, StallAnswer
from tests.s3_server import PREFIX, SECRET, S3Server
from tests.system.installation import SLOT, Installation, eventually, fetched, states

pytestmark = [pytest.mark.anyio, pytest.mark.system]

MARK = f"{PREFIX}/{MARK_KEY}"


@pytest.fixture
def installation(installation_in_a_bucket: Installation) -> Installation:
    return installation_in_a_bucket


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.jpg"
    path.write_bytes(plain_jpeg())
    return path


@asynccontextmanager
async def time_leaps(installation: Installation) -> AsyncIterator[None]:
    """Let the time of every file that is only intended be over when the context ends."""
    yield
    async with installation.container() as container, container.pool().connection() as connection:
        await connection.execute(
            "UPDATE media_object SET expires_at = now(), offer_at = now() WHERE state = 'pending'"
        )


async def test_a_photo_goes_through_the_bucket_and_nothing_stays_there(
    installation: Installation, s3_server: S3Server, bucket: Bucket, photo: Path
) -> None:
    await installation.set_up({"effect": "comic"})
    server = await asyncio.to_thread(installation.serve, "--no-worker")
    installation.worker()
    delivery = await installation.send(server, photo)
    assert isinstance(delivery, Delivery)

    async def only_the_result_is_there() -> bool:
        kinds = [name.removeprefix(f"{PREFIX}/").partition("/")[0] for name in s3_server.names(bucket)]
        return kinds == ["installation", "preview", "result"]

    await eventually(only_the_result_is_there)
    assert await installation.discrepancies() == []
    [job] = await installation.jobs()
    url = f"{server.base_url}/public/results/{job.job_id}"
    assert await fetched(url) == (200, delivery.picture)
    assert await fetched(url, Range="bytes=10-19") == (206, delivery.picture[10:20])
    assert json.loads((await fetched(f"{server.base_url}/healthz"))[1])["checks"]["media"] == "ok"
    assert [path for path in (installation.folder / "media").rglob("*") if path.is_file()] == []

    async with installation.container() as container:
        await container.jobs().end_results(SLOT, entry=an_entry("test"))
    assert (await fetched(url))[0] == 410

    async def nothing_is_there() -> bool:
        return s3_server.names(bucket) == [MARK]

    await eventually(nothing_is_there)
    assert s3_server.unfinished_uploads(bucket) == []
    assert SECRET not in installation.logs()


async def test_while_the_service_is_down_photos_are_refused_and_afterwards_taken(
    installation: Installation, gate: S3Gate, photo: Path
) -> None:
    await installation.set_up({"effect": "none"})
    server = await asyncio.to_thread(installation.serve)
    gate.rule = lambda _: Answer(503, "SlowDown")

    async def says(condition: str) -> bool:
        health = json.loads((await fetched(f"{server.base_url}/healthz"))[1])
        return bool(health["checks"]["media"] == condition)

    await eventually(lambda: says("unavailable"))
    assert (await fetched(f"{server.base_url}/readyz"))[0] == 503
    refusal = await installation.send(server, photo)
    assert isinstance(refusal, Refusal)
    assert refusal.error is StorageUnavailable
    gate.rule = lambda _: None
    assert isinstance(await installation.send(server, photo), Delivery)
    await eventually(lambda: says("ok"))
    assert states(await installation.jobs()) == {JobState.COMPLETED}
    assert SECRET not in installation.logs()


async def test_what_a_killed_process_has_stored_for_no_job_is_swept(
    installation: Installation, gate: S3Gate, s3_server: S3Server, bucket: Bucket, photo: Path
) -> None:
    await installation.set_up({"effect": "none"})
    server = await asyncio.to_thread(installation.serve)
    gate.rule = lambda asked: StallAnswer(0) if asked.method == "PUT" else None
    sending = asyncio.create_task(installation.send(server, photo))
    await gate.hanging.wait()
    async with time_leaps(installation):
        server.kill()
        await asyncio.gather(sending, return_exceptions=True)
        gate.rule = lambda _: None
        assert len(s3_server.names(bucket)) == 2
        assert await installation.jobs() == []
    await asyncio.to_thread(installation.serve)

    async def nothing_is_there() -> bool:
        return s3_server.names(bucket) == [MARK]

    await eventually(nothing_is_there)
    assert await installation.discrepancies() == []


async def test_a_bucket_that_is_not_there_ends_the_start(
    installation: Installation, s3_server: S3Server, gate: S3Gate
) -> None:
    gate.rule = lambda _: Answer(404, "NoSuchBucket")
    worker = installation.worker()
    assert await asyncio.to_thread(worker.wait) == ExitCode.UNAVAILABLE
    assert "The media bucket cannot be used: there is no such bucket (MEDIA_URL)" in installation.logs()
    assert "Traceback" not in installation.logs()
