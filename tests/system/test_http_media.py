"""Provider links, over a real socket."""

import hashlib
import io
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest

from photochanger.adapters.memory import ManualClock
from photochanger.application.ports import PreparedImage
from photochanger.application.provider_links import Link
from photochanger.domain.image import ImageInfo, ImageType
from photochanger.domain.media import MediaKind, media_key
from tests.system.http_server import SLOT, System, exchange, get, photo_form, picture, post
from tests.system.stopped_clock import SettableClock

pytestmark = [pytest.mark.anyio, pytest.mark.system]

PHOTO = picture("PNG", side=300)
BASE = "https://photos.example.org"


@pytest.fixture
def system() -> System:
    return System(clock=SettableClock(), base_url=BASE)


@asynccontextmanager
async def a_link(
    system: System, content: bytes = PHOTO, image_type: ImageType = ImageType.PNG
) -> AsyncIterator[Link]:
    info = ImageInfo(image_type=image_type, width=300, height=300)
    image = PreparedImage(file=io.BytesIO(content), info=info, size_bytes=len(content))
    async with system.provider_links().offered([image], slot_id=SLOT, ttl_sec=48) as [link]:
        yield link


def path_of(link: Link) -> str:
    return link.url.removeprefix(BASE)


def was_fetched(system: System, link: Link) -> bool:
    return system.storage.records.media[link.media_id].media.fetched_at is not None


@pytest.mark.parametrize("image_type", ImageType)
async def test_the_file_with_its_type_and_for_nobody_to_keep(
    system: System, port: int, image_type: ImageType
) -> None:
    content = picture(image_type.name)
    async with a_link(system, content, image_type) as link:
        for path in (path_of(link), f"/public/media/{link.media_id}"):
            answer = await exchange(port, get(path))
            assert (answer.status, answer.body) == (200, content)
            assert answer["content-type"] == image_type.value
            assert answer["content-length"] == str(len(content))
            assert answer["etag"] == f'"{hashlib.sha256(content).hexdigest()}"'
            assert answer["last-modified"] == "Wed, 14 Jan 2026 12:00:00 GMT"
            assert answer["cache-control"] == "no-store"
            assert answer["x-content-type-options"] == "nosniff"
            assert answer["content-security-policy"] == "default-src 'none'; sandbox"
            assert "content-disposition" not in answer
        assert path_of(link).endswith(image_type.extension)


async def test_the_head_alone_does_not_count_as_fetched(system: System, port: int) -> None:
    async with a_link(system) as link:
        head = await exchange(port, get(path_of(link), method="HEAD"), to_head=True)
        assert (head.status, head["content-length"]) == (200, str(len(PHOTO)))
        assert not was_fetched(system, link)
        await exchange(port, get(path_of(link)))
        assert was_fetched(system, link)


async def test_a_part_of_it_and_what_the_caller_has_already(system: System, port: int) -> None:
    async with a_link(system) as link:
        answer = await exchange(port, get(path_of(link), headers={"Range": "bytes=10-19"}))
        assert (answer.status, answer.body) == (206, PHOTO[10:20])
        assert answer["content-range"] == f"bytes 10-19/{len(PHOTO)}"
        again = await exchange(port, get(path_of(link), headers={"If-None-Match": answer["etag"]}))
        assert (again.status, again.body) == (304, b"")
        behind = await exchange(port, get(path_of(link), headers={"Range": "bytes=999999-"}))
        assert behind.status == 416


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_it_is_gone_from_the_instant_its_time_is_over(system: System, port: int, method: str) -> None:
    assert isinstance(system.the_clock, ManualClock)
    async with a_link(system) as link:
        request = get(path_of(link), method=method)
        system.the_clock.advance(timedelta(seconds=48) - timedelta(microseconds=1))
        assert (await exchange(port, request, to_head=method == "HEAD")).status == 200
        system.the_clock.advance(timedelta(microseconds=1))
        assert (await exchange(port, request, to_head=method == "HEAD")).status == 410


async def test_it_is_gone_once_the_call_is_over(system: System, port: int) -> None:
    async with a_link(system) as link:
        pass
    answer = await exchange(port, get(path_of(link)))
    assert (answer.status, json.loads(answer.body)["code"]) == (410, "media_expired")
    assert answer["cache-control"] == "no-store"


async def test_it_is_gone_where_its_file_is(system: System, port: int) -> None:
    async with a_link(system) as link:
        media = system.storage.records.media[link.media_id].media
        await system.storage.files.delete([media_key(media.kind, media.media_id)])
        answer = await exchange(port, get(path_of(link)))
        assert (answer.status, json.loads(answer.body)["code"]) == (410, "media_expired")


@pytest.mark.parametrize("name", ["0" * 32, "0", "A" * 32, "%00", "0" * 32 + ".png", "..%2F..%2Fetc"])
async def test_an_unknown_one(port: int, name: str) -> None:
    answer = await exchange(port, get(f"/public/media/{name}"))
    assert answer.status == 404
    assert json.loads(answer.body)["code"] in ("media_not_found", "not_found")


@pytest.mark.parametrize("extension", [".jpg", ".gif", "."])
async def test_one_of_another_type(system: System, port: int, extension: str) -> None:
    async with a_link(system) as link:
        answer = await exchange(port, get(f"/public/media/{link.media_id}{extension}"))
        assert (answer.status, json.loads(answer.body)["code"]) == (404, "media_not_found")


async def test_the_files_of_a_job_have_no_link(system: System, port: int) -> None:
    await exchange(port, post(photo_form(PHOTO)))
    kinds = {row.media.kind: media_id for media_id, row in system.storage.records.media.items()}
    assert set(kinds) == {MediaKind.PAYLOAD, MediaKind.RESULT, MediaKind.PREVIEW}
    for media_id in kinds.values():
        answer = await exchange(port, get(f"/public/media/{media_id}"))
        assert (answer.status, json.loads(answer.body)["code"]) == (404, "media_not_found")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
async def test_there_is_no_way_to_change_or_extend_it(system: System, port: int, method: str) -> None:
    async with a_link(system) as link:
        assert (await exchange(port, get(path_of(link), method=method))).status == 405
