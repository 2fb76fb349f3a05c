"""Real photos through real processes: upright, clean, whole; and refusals that leave nothing."""

import asyncio
import io
from collections.abc import Callable
from pathlib import Path

import aiohttp
import psutil
import pytest
from PIL import Image

from photochanger.entrypoints.cli.booth import Delivery, Refusal
from photochanger.entrypoints.cli.processes import ServeProcess
from photochanger.testing.hostile import jpeg_bomb, png_bomb
from photochanger.testing.marks import metadata_markers
from photochanger.testing.photos import is_upright, jpeg_24mp, jpeg_50mb, plain_jpeg, png, webp
from tests.system.installation import PASSWORD, Installation, eventually

pytestmark = [pytest.mark.anyio, pytest.mark.system]

MIB = 1 << 20


@pytest.fixture
async def server(installation: Installation) -> ServeProcess:
    await installation.set_up({"effect": "none"})
    return installation.serve()


@pytest.mark.parametrize(
    "make", [lambda: jpeg_24mp(6), png, webp, lambda: jpeg_24mp(3)], ids=["24-mp", "png", "webp", "24-mp-180"]
)
async def test_a_photo_comes_out_upright_and_without_metadata(
    installation: Installation, server: ServeProcess, tmp_path: Path, make: Callable[[], bytes]
) -> None:
    photo = tmp_path / "photo"
    photo.write_bytes(make())

    delivery = await installation.send(server, photo)

    assert isinstance(delivery, Delivery)
    assert metadata_markers(delivery.picture) == []
    assert is_upright(Image.open(io.BytesIO(delivery.picture)))


async def test_a_24_megapixel_photo_is_as_large_as_the_booth_sends(tmp_path: Path) -> None:
    assert len(await asyncio.to_thread(jpeg_24mp, 6)) >= 10_000_000


async def test_photos_of_50_mb_stream_through_with_flat_memory(
    installation: Installation, server: ServeProcess, tmp_path: Path
) -> None:
    small, large = tmp_path / "small.jpg", tmp_path / "large.jpg"
    small.write_bytes(plain_jpeg())
    whole = await asyncio.to_thread(jpeg_50mb)
    large.write_bytes(
        whole[:-100_000]
    )  # cut short: looked at and refused, so that what is seen is the intake
    await installation.send(server, small)
    process = psutil.Process(server.pid)
    idle, peak = process.memory_info().rss, 0
    sending = [asyncio.create_task(installation.send(server, large)) for _ in range(8)]

    while not all(task.done() for task in sending):
        peak = max(peak, process.memory_info().rss)
        await asyncio.sleep(0.005)

    answers = [task.result() for task in sending]
    assert {answer.status for answer in answers if isinstance(answer, Refusal)} == {422}
    assert (peak - idle) / MIB < 8 * 6, "eight uploads of 50 MB may not take a tenth of their size"


BAD_FORMS: dict[str, tuple[int, str, Callable[[], list[tuple[str, bytes]]]]] = {
    "a pixel bomb": (422, "invalid_image", lambda: [("fileToUpload", png_bomb())]),
    "a jpeg bomb": (422, "invalid_image", lambda: [("fileToUpload", jpeg_bomb())]),
    "a truncated photo": (422, "invalid_image", lambda: [("fileToUpload", plain_jpeg()[:-5000])]),
    "a text": (415, "unsupported_media_type", lambda: [("fileToUpload", b"not an image at all " * 50)]),
    "an empty file": (400, "invalid_request", lambda: [("fileToUpload", b"")]),
    "two files": (
        400,
        "invalid_request",
        lambda: [("fileToUpload", plain_jpeg()), ("fileToUpload", plain_jpeg())],
    ),
    "no file": (400, "invalid_request", list),
}


async def post(
    server: ServeProcess, files: list[tuple[str, bytes]], *, password: str = PASSWORD, slot: str = "slot-001"
) -> tuple[int, str]:
    form = aiohttp.FormData(quote_fields=False, default_to_multipart=True)
    form.add_field("password", password)
    for name, content in files:
        form.add_field(name, content, filename="photo.jpg", content_type="image/jpeg")
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{server.base_url}/ingest/{slot}", data=form) as answer,
    ):
        return answer.status, (await answer.json(content_type=None))["code"]


async def test_what_is_refused_is_named_and_leaves_nothing(
    installation: Installation, server: ServeProcess
) -> None:
    process = psutil.Process(server.pid)
    await post(server, [("fileToUpload", b"warm up")])
    idle = process.memory_info().rss
    answers = {}
    for name, (_, _, files) in BAD_FORMS.items():
        answers[name] = await post(server, files())
    answers["a wrong password"] = await post(server, [("fileToUpload", plain_jpeg())], password="wrong-one")
    answers["an unknown slot"] = await post(server, [("fileToUpload", plain_jpeg())], slot="slot-016")

    assert answers == {
        **{name: (status, code) for name, (status, code, _) in BAD_FORMS.items()},
        "a wrong password": (401, "invalid_password"),
        "an unknown slot": (404, "slot_not_found"),
    }

    async def nothing_left() -> bool:
        return not await installation.leftovers()

    await eventually(nothing_left)
    assert await installation.jobs() == []
    assert await installation.discrepancies() == []
    assert (process.memory_info().rss - idle) / MIB < 64
