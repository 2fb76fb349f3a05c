import asyncio
import time
from importlib.metadata import EntryPoint
from io import BytesIO

import pytest

from photochanger.adapters.rehearsal import EFFECTS, OPERATION, RehearsalProvider
from photochanger.application.ports.images import PreparedImage
from photochanger.domain.errors import ProviderError
from photochanger.domain.image import ImageInfo, ImageType
from photochanger.testing import marks, photos
from photochanger.testing.images import difference
from photochanger.testing.provider_requests import a_photo, a_request, answer

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("effect", EFFECTS)
@pytest.mark.parametrize("size", [(600, 400), (401, 599), (1, 1), (2048, 3)])
async def test_every_effect_is_seen_and_keeps_the_shape(effect: str, size: tuple[int, int]) -> None:
    request = a_request(OPERATION, {"effect": effect}, photo=a_photo(*size))
    picture = await answer(RehearsalProvider(), request)
    image = photos.decoded(picture)
    assert abs(image.width - size[0]) <= 1
    assert abs(image.height - size[1]) <= 1
    assert marks.metadata_markers(picture) == []
    if size == (600, 400):
        assert difference(image, photos.scene(*size)) > 8


@pytest.mark.parametrize("mode", ["L", "P", "RGBA"])
async def test_photos_of_every_mode_are_taken(mode: str) -> None:
    data = photos.png(mode=mode)
    info = ImageInfo(image_type=ImageType.PNG, width=600, height=400)
    photo = PreparedImage(file=BytesIO(data), info=info, size_bytes=len(data))
    assert photos.decoded(await answer(RehearsalProvider(), a_request(OPERATION, photo=photo))).size == (
        600,
        400,
    )


async def test_the_default_effect_is_quick() -> None:
    request = a_request(OPERATION, photo=a_photo(1792, 1120))
    start = time.process_time()
    await answer(RehearsalProvider(), request)
    assert time.process_time() - start < 0.6  # a third of that on a quiet machine


async def test_the_delay_is_kept() -> None:
    start = asyncio.get_running_loop().time()
    await answer(RehearsalProvider(), a_request(OPERATION, {"delay_ms": 150}))
    assert asyncio.get_running_loop().time() - start >= 0.15


async def test_hanging_never_ends_by_itself() -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await answer(RehearsalProvider(), a_request(OPERATION, {"outcome": "hang"}))


async def test_a_photo_that_cannot_be_read_is_a_fault() -> None:
    photo = PreparedImage(
        file=BytesIO(b"text"),
        info=ImageInfo(image_type=ImageType.JPEG, width=1, height=1),
        size_bytes=4,
    )
    with pytest.raises(ProviderError):
        await answer(RehearsalProvider(), a_request(OPERATION, photo=photo))


def test_the_entry_point_needs_nothing_to_make_it() -> None:
    entry = EntryPoint(
        "rehearsal", "photochanger.adapters.rehearsal:RehearsalProvider", "photochanger.providers"
    )
    assert entry.load()().description.name == entry.name
