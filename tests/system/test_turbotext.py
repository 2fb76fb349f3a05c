"""Turbotext as a whole: what it is sent, what it can fetch, and what becomes of it."""

from collections.abc import AsyncIterator, Iterator
from io import BytesIO

import pytest

from photochanger.adapters.images import PillowImageEditor
from photochanger.adapters.turbotext import TurbotextProvider
from photochanger.domain.errors import ProviderMisconfigured, ProviderRejected
from photochanger.domain.operation import ParameterValue
from photochanger.testing import marks, photos
from photochanger.testing.fake_turbotext import FakeTurbotext
from photochanger.testing.images import difference
from photochanger.testing.links import Links
from photochanger.testing.provider_requests import a_photo, a_request, answer

pytestmark = [pytest.mark.anyio, pytest.mark.system]


@pytest.fixture
async def provider(turbotext: FakeTurbotext) -> AsyncIterator[TurbotextProvider]:
    provider = TurbotextProvider(api_key=turbotext.api_key, base_url=turbotext.base_url, poll_sec=0.01)
    yield provider
    await provider.close()


@pytest.mark.parametrize(
    ("name", "params", "sent"),
    [
        (
            "generate_image2image",
            {"content": "рыцарь & дракон", "seed": 5, "scale": 0.5, "negative_prompt": "hats, +100%"},
            {
                "content": "рыцарь & дракон",
                "strength": "40",
                "seed": "5",
                "scale": "0.5",
                "negative_prompt": "hats, +100%",
                "original_language": "ru",
                "user_id": "1",
            },
        ),
        ("mix_images", {"content": "more"}, {"content": "more"}),
        ("mix_images", {}, {}),
        ("deepfake_photo", {"face_restore": True}, {"face_restore": "True"}),
        ("deepfake_photo", {}, {"face_restore": "False"}),
    ],
)
async def test_the_form_of_each_method(
    name: str,
    params: dict[str, ParameterValue],
    sent: dict[str, str],
    turbotext: FakeTurbotext,
    provider: TurbotextProvider,
    links: Links,
) -> None:
    operation = provider.description.operation(name)
    assert operation is not None
    request = a_request(operation, params, link=links)
    picture = await answer(provider, request)

    assert photos.decoded(picture).size in {(600, 400), (300, 200)}
    create, *asked = turbotext.calls
    assert (create.method, create.do) == (name, "create_queue")
    images = {"url": request.photo_url}
    if request.templates:
        images = {"url": request.templates[0].url, "url_image_target": request.photo_url}
    assert create.form == {**sent, **images, "do": "create_queue"}
    assert asked
    assert all(call.form == {"do": "get_result", "queueid": "101"} for call in asked)
    assert all(call.had_key for call in turbotext.calls)


async def test_the_photo_is_fetched_as_what_it_is(
    turbotext: FakeTurbotext, provider: TurbotextProvider, links: Links
) -> None:
    photo = a_photo()
    picture = await answer(provider, a_request(provider.description.operations[0], photo=photo, link=links))
    [fetched] = turbotext.fetched
    photo.file.seek(0)
    assert (fetched.status, fetched.content_type, fetched.extension) == (200, "image/jpeg", ".jpg")
    assert fetched.body == photo.file.read()
    assert difference(photos.decoded(picture), photos.scene(600, 400)) > 20


async def test_a_photo_that_cannot_be_fetched_is_a_fault(
    turbotext: FakeTurbotext, provider: TurbotextProvider
) -> None:
    async with Links() as closed:
        request = a_request(provider.description.operations[0], link=closed)
    with pytest.raises(ProviderRejected) as caught:
        await answer(provider, request)
    assert caught.value.maybe_billed
    assert [fetched.status for fetched in turbotext.fetched] == [0]


async def test_nothing_of_an_earlier_attempt_stays_in_the_file(
    turbotext: FakeTurbotext, provider: TurbotextProvider, links: Links
) -> None:
    turbotext.script += ["download:html:1", "ok"]
    into = BytesIO()
    await provider.transform(a_request(provider.description.operations[0], link=links), into)
    assert into.getvalue() == await answer(
        provider, a_request(provider.description.operations[0], link=links)
    )


async def test_another_key_is_not_accepted(turbotext: FakeTurbotext, links: Links) -> None:
    provider = TurbotextProvider(api_key="another", base_url=turbotext.base_url, poll_sec=0.01)
    with pytest.raises(ProviderMisconfigured) as caught:
        await answer(provider, a_request(provider.description.operations[0], link=links))
    assert not caught.value.maybe_billed
    await provider.close()


def marked_photos() -> Iterator[bytes]:
    """Yield fifty photos with marks wherever metadata can be, of all types and orientations."""
    for index in range(50):
        orientation, width = index % 8 + 1, 200 + 10 * index
        match index % 5:
            case 0:
                yield photos.png(width, 150, orientation=orientation)
            case 1:
                yield photos.webp(width, 150, orientation=orientation)
            case 2:
                yield photos.camera_jpeg(2100 + index, 300, orientation=orientation)
            case _:
                yield photos.camera_jpeg(width, 150, orientation=orientation, progressive=index % 2 == 0)


async def test_no_metadata_of_fifty_photos_goes_out_or_comes_back(
    turbotext: FakeTurbotext, provider: TurbotextProvider, links: Links
) -> None:
    editor = PillowImageEditor()
    operation = provider.description.operation("mix_images")
    assert operation is not None

    async def send(data: bytes) -> None:
        requirements = provider.description.image_requirements
        async with editor.prepare(BytesIO(data), requirements) as photo:
            picture = await answer(provider, a_request(operation, photo=photo, link=links))
        assert marks.metadata_markers(picture), "there is nothing to find"
        async with editor.finish(BytesIO(picture)) as finished:
            for result in (finished.file.read(), finished.preview.read()):
                assert marks.metadata_markers(result) == []

    for data in marked_photos():
        assert marks.metadata_markers(data), "there is nothing to find"
        await send(data)

    sent = [fetched for fetched in turbotext.fetched if fetched.field == "url_image_target"]
    assert len(sent) == 50
    assert {fetched.extension for fetched in sent} == {".jpg", ".png"}
    assert [marks.metadata_markers(fetched.body) for fetched in sent] == [[]] * 50
