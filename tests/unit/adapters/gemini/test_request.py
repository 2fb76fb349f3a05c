import base64
import json
import tracemalloc
from collections.abc import Mapping
from io import BytesIO
from typing import Any

import pytest

from photochanger.adapters.gemini.models import KNOWN, RATIOS, RETIRED, SIZES, model
from photochanger.adapters.gemini.operations import EDIT_IMAGE, OPERATIONS, STYLE_TRANSFER
from photochanger.adapters.gemini.request import body_of
from photochanger.application.ports.images import PreparedImage
from photochanger.application.ports.providers import TemplateImage, TransformRequest
from photochanger.domain.errors import ProviderRejected
from photochanger.domain.image import ImageInfo, ImageType
from photochanger.domain.operation import Operation, ParameterValue

pytestmark = pytest.mark.anyio


def an_image(data: bytes, image_type: ImageType = ImageType.JPEG) -> PreparedImage:
    info = ImageInfo(image_type=image_type, width=1, height=1)
    return PreparedImage(file=BytesIO(data), info=info, size_bytes=len(data))


def a_request(
    params: Mapping[str, ParameterValue],
    *templates: tuple[str, PreparedImage],
    photo: PreparedImage | None = None,
    model: str = "gemini-nano-banana-2.1",
    operation: Operation = EDIT_IMAGE,
) -> TransformRequest:
    return TransformRequest(
        photo=photo or an_image(b"photo"),
        operation=operation.name,
        params=operation.with_defaults({"prompt": "as a comic"} | dict(params)),
        deadline=0,
        model=model,
        templates=[TemplateImage(role=role, image=image) for role, image in templates],
    )


async def sent(request: TransformRequest) -> Any:
    body = body_of(request)
    data = b"".join([chunk async for chunk in body.chunks])
    assert len(data) == body.size_bytes
    return json.loads(data)


async def config(model: str = "gemini-nano-banana-2.1", **params: ParameterValue) -> Any:
    return (await sent(a_request(params, model=model)))["generationConfig"]


async def test_the_photo_comes_first_then_the_templates_then_the_prompt() -> None:
    background = an_image(b"beach", ImageType.PNG)
    found = an_image(b"hat", ImageType.WEBP)
    document = await sent(a_request({}, ("object", found), ("background", background)))
    (content,) = document["contents"]
    photo, first, second, guide, prompt = content["parts"]
    assert content["role"] == "user"
    assert photo == {"inlineData": {"mimeType": "image/jpeg", "data": base64.b64encode(b"photo").decode()}}
    assert first == {"inlineData": {"mimeType": "image/webp", "data": base64.b64encode(b"hat").decode()}}
    assert second == {"inlineData": {"mimeType": "image/png", "data": base64.b64encode(b"beach").decode()}}
    assert guide["text"].startswith("Image 1 is the photo to change. Image 2 shows an object")
    assert "Image 3 shows the background" in guide["text"]
    assert prompt == {"text": "as a comic"}


async def test_without_templates_there_is_only_photo_and_prompt() -> None:
    (content,) = (await sent(a_request({})))["contents"]
    assert [list(part) for part in content["parts"]] == [["inlineData"], ["text"]]


@pytest.mark.parametrize("operation", OPERATIONS)
async def test_every_role_is_explained_to_the_model(operation: Operation) -> None:
    templates = [(role.role, an_image(b"x")) for role in operation.template_roles]
    (content,) = (await sent(a_request({}, *templates, operation=operation)))["contents"]
    for number in range(2, len(templates) + 2):
        assert f"Image {number} " in content["parts"][-2]["text"]


async def test_a_style_is_transferred_without_a_word_from_the_administrator() -> None:
    default = STYLE_TRANSFER.with_defaults({})
    request = a_request(default, ("style", an_image(b"style")), operation=STYLE_TRANSFER)
    assert "style image" in (await sent(request))["contents"][0]["parts"][-1]["text"]


@pytest.mark.parametrize(
    "text", ['"}],"tools":[{"', "line\nline\\", "портрет в стиле 漫画 🎭", "\u2028\x00\x7f"]
)
async def test_a_prompt_is_text_and_nothing_else(text: str) -> None:
    document = await sent(a_request({"prompt": text}))
    assert document["contents"][0]["parts"][-1] == {"text": text}
    assert document.keys() == {"contents", "generationConfig"}


def test_a_prompt_that_is_no_text_is_rejected() -> None:
    with pytest.raises(ProviderRejected):
        body_of(a_request({"prompt": "\ud800"}))


async def test_the_defaults_ask_for_a_picture_quickly() -> None:
    assert await config() == {
        "responseModalities": ["IMAGE"],
        "imageConfig": {"imageSize": "1K"},
        "thinkingConfig": {"thinkingLevel": "MINIMAL"},
    }


async def test_what_was_asked_for_is_sent() -> None:
    assert await config(aspect_ratio="8:1", image_size="4K", thinking_level="medium") == {
        "responseModalities": ["IMAGE"],
        "imageConfig": {"imageSize": "4K", "aspectRatio": "8:1"},
        "thinkingConfig": {"thinkingLevel": "MEDIUM"},
    }


async def test_auto_leaves_it_to_the_model() -> None:
    assert "thinkingConfig" not in await config(thinking_level="auto")
    assert "aspectRatio" not in (await config(aspect_ratio="auto"))["imageConfig"]


@pytest.mark.parametrize(
    ("name", "asked", "size", "ratio", "level"),
    [
        ("gemini-nano-banana-2.1", ("512", "1:4", "high"), "1K", "1:4", "HIGH"),
        ("gemini-3.1-flash-lite-image", ("4K", "8:1", "medium"), "1K", "8:1", "MINIMAL"),
        ("gemini-3.1-flash-image", ("512", "4:1", "high"), "512", "4:1", "HIGH"),
        ("gemini-3-pro-image", ("4K", "1:8", "high"), "4K", "9:16", None),
        ("gemini-3-pro-image", ("512", "4:1", "minimal"), "1K", "21:9", None),
        ("gemini-9-of-next-year", ("512", "1:8", "medium"), "512", "1:8", "MEDIUM"),
    ],
)
async def test_a_model_is_asked_for_the_nearest_that_it_has(
    name: str, asked: tuple[str, str, str], size: str, ratio: str, level: str | None
) -> None:
    found = await config(name, image_size=asked[0], aspect_ratio=asked[1], thinking_level=asked[2])
    assert found["imageConfig"] == {"imageSize": size, "aspectRatio": ratio}
    assert found.get("thinkingConfig") == ({"thinkingLevel": level} if level else None)


@pytest.mark.parametrize("name", KNOWN)
def test_what_a_model_has_stays_as_it_was_asked(name: str) -> None:
    for size in model(name).sizes:
        assert model(name).size(size) == size
    for ratio in model(name).ratios:
        assert model(name).ratio(ratio) == ratio


def test_every_choice_has_a_nearest_one_in_every_model() -> None:
    for known in KNOWN.values():
        assert {known.size(size) for size in SIZES} == set(known.sizes)
        assert {known.ratio(ratio) for ratio in RATIOS} == set(known.ratios)


async def test_safety_is_left_to_the_model_unless_it_is_set() -> None:
    params: dict[str, ParameterValue] = {"safety_harassment": "off", "safety_hate_speech": "block_only_high"}
    assert "safetySettings" not in await sent(a_request({}))
    assert (await sent(a_request(params)))["safetySettings"] == [
        {"category": "HARM_CATEGORY_HARASSMENT", "threshold": "OFF"},
        {"category": "HARM_CATEGORY_HATE_SPEECH", "threshold": "BLOCK_ONLY_HIGH"},
    ]


@pytest.mark.parametrize("size", [1, 2, 3, 196_607, 196_608, 196_609, 1_000_000])
async def test_images_of_every_length_arrive_whole(size: int) -> None:
    data = (bytes(range(251)) * (size // 251 + 1))[:size]
    document = await sent(a_request({}, ("object", an_image(data)), photo=an_image(data)))
    for part in document["contents"][0]["parts"][:2]:
        assert base64.b64decode(part["inlineData"]["data"], validate=True) == data


async def test_an_image_is_read_from_its_beginning_each_time() -> None:
    photo = an_image(b"photo" * 100)
    photo.file.seek(7)
    assert await sent(a_request({}, photo=photo)) == await sent(a_request({}, photo=photo))


async def test_two_calls_may_send_one_file_at_the_same_time() -> None:
    photo = an_image(bytes(range(256)) * 2000)
    one, other = (body_of(a_request({}, photo=photo)).chunks for _ in range(2))
    pairs = [pair async for pair in _both(one, other)]
    assert len(pairs) > 4
    assert all(first == second for first, second in pairs)


async def _both(one: Any, other: Any) -> Any:
    async for chunk in one:
        yield chunk, await anext(other)


async def test_base64_is_never_held_as_a_whole() -> None:
    body = body_of(a_request({}, photo=an_image(bytes(6_000_000))))
    tracemalloc.start()
    async for _chunk in body.chunks:
        pass
    _now, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1_500_000


def test_the_largest_images_that_are_let_through_fit() -> None:
    largest = an_image(bytes(7_000_000))
    templates = [("object", an_image(bytes(3_000_000))), ("background", an_image(bytes(3_000_000)))]
    body = body_of(a_request({"prompt": "\x00" * 8000}, *templates, photo=largest))
    assert body.size_bytes < 20_000_000


def test_a_request_that_is_too_large_is_not_sent() -> None:
    with pytest.raises(ProviderRejected, match=r"20\.0 MB"):
        body_of(a_request({}, photo=an_image(bytes(15_000_000))))


def test_retired_models_are_refused_with_the_reason() -> None:
    for name, reason in RETIRED.items():
        (problem,) = EDIT_IMAGE.problems({"prompt": "x", "models": (name,)}, (), "")
        assert problem.code == "retired"
        assert problem.message == reason
        assert not set(RETIRED) & set(reason.split())
    assert not set(RETIRED) & set(KNOWN)


def test_models_that_nobody_knows_yet_are_allowed() -> None:
    assert (
        list(EDIT_IMAGE.problems({"prompt": "x", "models": ("gemini-9-image", "nano.banana-3")}, (), ""))
        == []
    )


@pytest.mark.parametrize("name", ["", "../secret", "a/b", "A", "x:y", "-x", "x y", "x%2F"])
def test_a_model_cannot_lead_elsewhere(name: str) -> None:
    assert list(EDIT_IMAGE.problems({"prompt": "x", "models": (name,)}, (), ""))
