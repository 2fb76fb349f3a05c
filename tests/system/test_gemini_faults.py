"""Every way in which Gemini fails, over a real socket: the table of `photochanger.testing.fake_gemini`."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from io import BytesIO

import pytest

from photochanger.adapters.gemini import GeminiProvider
from photochanger.adapters.gemini.operations import EDIT_IMAGE
from photochanger.application.ports.images import PreparedImage
from photochanger.application.ports.providers import ImageProvider
from photochanger.domain.image import ImageInfo, ImageType
from photochanger.testing import photos
from photochanger.testing.fake_gemini import FAULTS, FakeGemini
from photochanger.testing.provider_faults import Row, replay

pytestmark = [pytest.mark.anyio, pytest.mark.system]


def a_large_photo() -> PreparedImage:
    """Return a photo that does not fit between two sockets, nearly as large as photos get."""
    data = photos.camera_jpeg(2400, 1800, noise=0.9, quality=95)
    info = ImageInfo(image_type=ImageType.JPEG, width=2400, height=1800)
    return PreparedImage(file=BytesIO(data), info=info, size_bytes=len(data))


@asynccontextmanager
async def arranged(row: Row) -> AsyncIterator[ImageProvider]:
    async with FakeGemini(script=[row.name]) as gemini:
        provider = GeminiProvider(api_key=gemini.api_key, base_url=gemini.base_url)
        yield provider
        await provider.close()
        assert gemini.counts[row.name] == 1
        assert gemini.counts["invalid"] == 0


async def test_every_fault_becomes_the_right_one_in_time_and_leaves_nothing_behind() -> None:
    outcomes = await replay(
        FAULTS.values(),
        arranged,
        operation=EDIT_IMAGE,
        params={"prompt": "as a comic"},
        deadline_sec=1.5,
        photo=a_large_photo,
    )
    assert len(outcomes) == len(FAULTS) > 60
    assert [outcome.told for outcome in outcomes if not outcome.ok] == []
