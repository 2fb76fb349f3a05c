"""200 a microsecond before the end and 410 at it, over HTTP, in memory and on PostgreSQL, swept or not."""

import io
import json
from collections.abc import AsyncIterator, Callable, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

import pytest

from photochanger.application.ports import PreparedImage
from photochanger.application.provider_links import link_path
from photochanger.domain.audit import Actor
from photochanger.domain.image import ImageInfo, ImageType
from photochanger.domain.media import MediaId
from photochanger.domain.settings import CleanupSettings
from photochanger.testing.harness import AN_INSTANT, new_id
from tests.system.http_server import SLOT, Answer, exchange, get, photo_form, picture, post
from tests.system.stopped_clock import NOON, Stopped, stopped_in_memory, stopped_in_postgres

pytestmark = [pytest.mark.anyio, pytest.mark.system]

BASE: Final = "https://photos.example.org"
PHOTO: Final = picture("PNG", side=300)
HISTORY: Final = CleanupSettings().history


@pytest.fixture(params=["memory", "postgres"])
async def stopped(
    request: pytest.FixtureRequest, tmp_path: Path, new_database: Callable[[], str]
) -> AsyncIterator[Stopped]:
    running = (
        stopped_in_memory(BASE)
        if request.param == "memory"
        else stopped_in_postgres(BASE, new_database(), tmp_path)
    )
    async with running as system:
        yield system


@pytest.fixture(params=["unswept", "swept"])
def is_swept(request: pytest.FixtureRequest) -> bool:
    """Say whether somebody sweeps at every moment that is looked at; no answer may depend on it."""
    return str(request.param) == "swept"


async def at(stopped: Stopped, moment: datetime, *, is_swept: bool) -> None:
    await stopped.set_clock(moment)
    if is_swept:
        await stopped.sweep()


async def a_result(stopped: Stopped) -> tuple[str, datetime]:
    """Send a photo; return the job's id and when its result ends."""
    answer = await exchange(stopped.port, post(photo_form(PHOTO)))
    assert answer.status == 200, answer.body
    job_id = answer["x-job-id"]
    reading = await stopped.container.read_job()(job_id)
    assert reading.job.result_expires_at == NOON + timedelta(hours=72)
    return job_id, reading.job.result_expires_at


async def a_registered_link(stopped: Stopped) -> tuple[str, datetime]:
    register = stopped.container.register_media()
    with register.receiving(await register.limit_bytes()) as received:
        received.write(PHOTO)
        registered = await register(received, job_id=None, actor=Actor(name="serg"))
    assert registered.expires_at == NOON + timedelta(seconds=48)
    return registered.path, registered.expires_at


async def statuses(stopped: Stopped, *paths: str) -> Mapping[str, tuple[int, str | None]]:
    """Return each path's status to GET and, where it is a refusal, its code; HEAD has to say the same."""
    found = {}
    for path in paths:
        answer = await exchange(stopped.port, get(path))
        head = await exchange(stopped.port, get(path, method="HEAD"), to_head=True)
        if not path.startswith("/api/"):
            assert head.status == answer.status
        found[path] = (answer.status, _code(answer))
    return found


def _code(answer: Answer) -> str | None:
    code: str | None = None if answer.status == 200 else json.loads(answer.body)["code"]
    return code


async def gallery(stopped: Stopped) -> list[str]:
    answer = await exchange(stopped.port, get(f"/public/slots/{SLOT}"))
    assert answer.status == 200
    return [item["job_id"] for item in json.loads(answer.body)["items"]]


def paths_of(job_id: str) -> tuple[str, str, str]:
    return f"/public/results/{job_id}", f"/public/results/{job_id}/preview", f"/api/jobs/{job_id}"


async def test_a_result_ends_to_the_microsecond(stopped: Stopped, is_swept: bool) -> None:
    job_id, end = await a_result(stopped)
    result, preview, job = paths_of(job_id)

    await at(stopped, end - AN_INSTANT, is_swept=is_swept)
    assert await statuses(stopped, result, preview, job) == dict.fromkeys((result, preview, job), (200, None))
    assert await gallery(stopped) == [job_id]

    await at(stopped, end, is_swept=is_swept)
    gone = (410, "result_expired")
    assert await statuses(stopped, result, preview, job) == {
        result: gone,
        preview: gone,
        job: (404, "job_not_found"),
    }
    assert await gallery(stopped) == []


async def test_a_registered_link_ends_to_the_microsecond(stopped: Stopped, is_swept: bool) -> None:
    path, end = await a_registered_link(stopped)
    await at(stopped, end - AN_INSTANT, is_swept=is_swept)
    assert await statuses(stopped, path) == {path: (200, None)}
    await at(stopped, end, is_swept=is_swept)
    assert await statuses(stopped, path) == {path: (410, "media_expired")}


async def test_a_providers_link_ends_to_the_microsecond(stopped: Stopped, is_swept: bool) -> None:
    info = ImageInfo(image_type=ImageType.PNG, width=300, height=300)
    image = PreparedImage(file=io.BytesIO(PHOTO), info=info, size_bytes=len(PHOTO))
    links, end = stopped.container.provider_links(), NOON + timedelta(seconds=20)
    async with links.offered([image], slot_id=SLOT, ttl_sec=20) as [link]:
        path = link.url.removeprefix(BASE)
        await at(stopped, end - AN_INSTANT, is_swept=is_swept)
        assert await statuses(stopped, path) == {path: (200, None)}
        await at(stopped, end, is_swept=is_swept)
        assert await statuses(stopped, path) == {path: (410, "media_expired")}


async def test_a_sweep_deletes_at_the_end_and_nothing_before(stopped: Stopped) -> None:
    await a_result(stopped)
    _, end_of_link = await a_registered_link(stopped)
    end = NOON + timedelta(hours=72)
    await at(stopped, NOON, is_swept=True)  # the payload
    deleted = []
    for moment in (end_of_link - AN_INSTANT, end_of_link, end - AN_INSTANT, end):
        await stopped.set_clock(moment)
        deleted.append({kind.value for kind in (await stopped.sweep()).deleted_files})
    assert deleted == [set(), {"provider_link"}, set(), {"result", "preview"}]


async def test_the_tombstone_outlives_the_file_by_the_history(stopped: Stopped) -> None:
    job_id, end = await a_result(stopped)
    link, _ = await a_registered_link(stopped)
    result, preview, _ = paths_of(job_id)
    gone = {result: (410, "result_expired"), preview: (410, "result_expired"), link: (410, "media_expired")}
    unknown = {
        result: (404, "result_not_found"),
        preview: (404, "result_not_found"),
        link: (404, "media_not_found"),
    }

    await at(stopped, end, is_swept=True)
    assert await statuses(stopped, *gone) == gone
    await at(stopped, NOON + HISTORY, is_swept=True)
    assert await statuses(stopped, *gone) == gone
    await at(stopped, NOON + HISTORY + AN_INSTANT, is_swept=True)
    assert await statuses(stopped, *gone) == unknown


async def test_what_never_was_is_not_found(stopped: Stopped) -> None:
    result, preview, job = paths_of(new_id())
    link = link_path(MediaId(new_id()), ImageType.PNG)
    assert await statuses(stopped, result, preview, job, link) == {
        result: (404, "result_not_found"),
        preview: (404, "result_not_found"),
        job: (404, "job_not_found"),
        link: (404, "media_not_found"),
    }
