"""Photos on their way through the image editor to Gemini and back: what they carry, how large they are."""

import random
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from io import BytesIO

import pytest

from photochanger.adapters.gemini import GeminiProvider
from photochanger.adapters.gemini.operations import EDIT_IMAGE, STYLE_TRANSFER
from photochanger.adapters.images import PillowImageEditor
from photochanger.application.ports.providers import TemplateImage
from photochanger.domain.operation import ParameterValue
from photochanger.testing import marks, photos
from photochanger.testing.fake_gemini import FakeGemini
from photochanger.testing.images import difference
from photochanger.testing.provider_requests import a_request, answer

pytestmark = [pytest.mark.anyio, pytest.mark.system]

SMALL: Mapping[str, ParameterValue] = {
    "prompt": "in four tones",
    "models": ("gemini-3.1-flash-image",),
    "image_size": "512",
}


@pytest.fixture
async def editor() -> AsyncIterator[PillowImageEditor]:
    editor = PillowImageEditor()
    yield editor
    editor.close()


def fifty_photos() -> list[bytes]:
    choose = random.Random(50).choice
    makers = (photos.camera_jpeg, photos.png, photos.webp)
    return [choose(makers)(300 + n, 200 + n, orientation=choose(range(1, 9))) for n in range(50)]


async def test_no_metadata_goes_out_or_comes_back_in_fifty_photos(editor: PillowImageEditor) -> None:
    async with FakeGemini() as gemini, FakeGemini(mime_type="image/jpeg") as other:
        for number, data in enumerate(fifty_photos()):
            assert "gps" in marks.metadata_markers(data)
            fake = (gemini, other)[number % 2]
            provider = GeminiProvider(api_key=fake.api_key, base_url=fake.base_url)
            async with editor.prepare(BytesIO(data), provider.description.image_requirements) as photo:
                picture = await answer(provider, a_request(EDIT_IMAGE, SMALL, photo=photo))
            await provider.close()
            assert "provider" in marks.metadata_markers(picture)
            async with editor.finish(BytesIO(picture)) as finished:
                for result in (finished.file.read(), finished.preview.read()):
                    assert marks.metadata_markers(result) == []
                    assert photos.is_upright(photos.decoded(result), tolerance=120)
        received = [image.data for call in (*gemini.calls, *other.calls) for image in call.images]
    assert len(received) == 50
    assert [marks.metadata_markers(data) for data in received if marks.metadata_markers(data)] == []


async def test_a_photo_of_fifty_megabytes_is_made_to_fit(editor: PillowImageEditor) -> None:
    data = photos.camera_jpeg(8640, 5760, quality=98, noise=0.6)
    assert len(data) > 49_000_000
    async with FakeGemini() as gemini:
        provider = GeminiProvider(api_key=gemini.api_key, base_url=gemini.base_url)
        async with editor.prepare(BytesIO(data), provider.description.image_requirements) as photo:
            picture = await answer(provider, a_request(EDIT_IMAGE, {"prompt": "in four tones"}, photo=photo))
        await provider.close()
    (call,) = gemini.calls
    assert call.size_bytes < 20_000_000
    assert max(photo.info.width, photo.info.height) == 3072
    seen = photos.decoded(picture)
    assert difference(seen, photos.scene(8640, 5760, 0.6).resize(seen.size)) > 8


async def test_the_largest_photo_and_template_that_are_let_through_make_a_request_that_gemini_takes(
    editor: PillowImageEditor,
) -> None:
    async with FakeGemini() as gemini:
        provider = GeminiProvider(api_key=gemini.api_key, base_url=gemini.base_url)
        needed, most = provider.description.image_requirements, provider.description.max_templates_bytes
        async with (
            editor.prepare(BytesIO(photos.camera_jpeg(3072, 2304, noise=0.8, quality=97)), needed) as photo,
            editor.prepare(
                BytesIO(photos.camera_jpeg(2700, 2048, noise=0.9, quality=97)),
                replace(needed, max_bytes=most),
            ) as style,
        ):
            request = a_request(STYLE_TRANSFER, {}, photo=photo)
            await answer(provider, replace(request, templates=[TemplateImage(role="style", image=style)]))
        await provider.close()
    (call,) = gemini.calls
    assert 15_000_000 < call.size_bytes < 20_000_000
    assert [len(image.data) for image in call.images] == [photo.size_bytes, style.size_bytes]
