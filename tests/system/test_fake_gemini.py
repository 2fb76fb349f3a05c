"""The fake Gemini against the official client: each understands what the other writes."""

import asyncio
import base64
import time
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from google import genai
from google.genai import errors, types

from photochanger.testing import photos
from photochanger.testing.fake_gemini import FAULTS, FakeGemini
from photochanger.testing.fake_gemini.errors import ApiError
from photochanger.testing.fake_gemini.requests import MAX_BODY_BYTES, read_call

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.system,
    # The official client derives a class from aiohttp's session, which aiohttp does not like.
    pytest.mark.filterwarnings("ignore:Inheritance class AiohttpClientSession:DeprecationWarning"),
]

MODEL = "gemini-nano-banana-2.1"
PHOTO = photos.plain_jpeg(600, 400)


def client_of(gemini: FakeGemini, **options: Any) -> genai.Client:
    where = types.HttpOptions(base_url=gemini.base_url, api_version="v1beta", timeout=20_000)
    return genai.Client(**{"api_key": gemini.api_key, "http_options": where, **options})


@pytest.fixture
async def gemini() -> AsyncIterator[FakeGemini]:
    async with FakeGemini() as gemini:
        yield gemini


async def generate(client: genai.Client, config: dict[str, Any] | None = None, model: str = MODEL) -> Any:
    """Have the client ask for a picture, as its documentation shows."""
    parts = [types.Part.from_bytes(data=PHOTO, mime_type="image/jpeg"), types.Part(text="make it red")]
    try:
        return await client.aio.models.generate_content(
            model=model,
            contents=types.Content(role="user", parts=parts),
            config=types.GenerateContentConfig(**(config or {})),
        )
    finally:
        await client.aio.aclose()


async def failing(name: str) -> Any:
    async with FakeGemini(script=[name]) as gemini:
        return await generate(client_of(gemini))


async def test_a_request_of_the_client_is_understood(gemini: FakeGemini) -> None:
    await generate(
        client_of(gemini),
        {
            "response_modalities": ["IMAGE"],
            "image_config": types.ImageConfig(aspect_ratio="16:9", image_size="2K"),
            "thinking_config": types.ThinkingConfig(thinking_level=types.ThinkingLevel.HIGH),
            "safety_settings": [
                types.SafetySetting(
                    category=types.HarmCategory.HARM_CATEGORY_HARASSMENT,
                    threshold=types.HarmBlockThreshold.BLOCK_ONLY_HIGH,
                )
            ],
        },
    )
    (call,) = gemini.calls
    (image,) = call.images
    assert call.model == MODEL
    assert image.mime_type == "image/jpeg"
    assert image.data == PHOTO
    assert call.prompt == "make it red"
    assert call.image_config == {"aspect_ratio": "16:9", "image_size": "2K"}
    assert call.config["response_modalities"] == ["IMAGE"]
    assert call.config["thinking_config"]["thinking_level"].lower() == "high"
    assert call.safety == {"HARM_CATEGORY_HARASSMENT": "BLOCK_ONLY_HIGH"}
    assert call.headers["x-server-timeout"] == "20"


async def test_an_answer_is_understood_by_the_client(gemini: FakeGemini) -> None:
    answer = await generate(client_of(gemini), {"image_config": types.ImageConfig(image_size="1K")})
    (candidate,) = answer.candidates
    thoughts = [bool(part.thought) for part in candidate.content.parts]
    assert candidate.finish_reason is types.FinishReason.STOP
    assert thoughts == [True, True, False, False]
    picture = candidate.content.parts[-1].inline_data
    assert picture.mime_type == "image/png"
    assert photos.decoded(picture.data).size == (1264, 848)
    assert answer.usage_metadata.candidates_tokens_details[0].modality is types.MediaModality.IMAGE
    assert answer.model_version == MODEL


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("no_image", "NO_IMAGE"),
        ("image_other", "IMAGE_OTHER"),
        ("image_safety", "IMAGE_SAFETY"),
        ("image_prohibited_content", "IMAGE_PROHIBITED_CONTENT"),
        ("text_only", "STOP"),
        ("max_tokens", "MAX_TOKENS"),
        ("recitation", "RECITATION"),
        ("image_recitation", "IMAGE_RECITATION"),
        ("safety", "SAFETY"),
        ("spii", "SPII"),
    ],
)
async def test_answers_without_a_picture_are_understood(name: str, reason: str) -> None:
    answer = await failing(name)
    assert answer.candidates[0].finish_reason.value == reason
    parts = answer.parts or []
    assert not [part for part in parts if part.inline_data]
    assert answer.text == ("Here is your picture!" if name == "text_only" else None)


async def test_a_blocked_prompt_and_an_empty_answer_are_understood() -> None:
    blocked = await failing("prompt_blocked")
    assert blocked.prompt_feedback.block_reason is types.BlockedReason.PROHIBITED_CONTENT
    assert blocked.candidates is None
    assert (await failing("empty_object")).candidates is None


CODES = {
    "invalid_argument": 400,
    "unreadable_image": 400,
    "too_large": 400,
    "deadline_too_short": 400,
    "unknown_4xx": 418,
    "key_invalid": 400,
    "key_expired": 400,
    "location": 400,
    "no_billing": 400,
    "unauthenticated": 401,
    "permission_denied": 403,
    "model_gone": 404,
    "model_unknown": 404,
    "cancelled": 499,
    "internal": 500,
    "html_502": 502,
    "overloaded": 503,
    "deadline_exceeded": 504,
    "list_envelope": 503,
    "per_minute": 429,
    "per_day": 429,
    "spend_cap": 429,
    "no_quota": 429,
    "credits_gone": 402,
}


@pytest.mark.parametrize("name", CODES)
async def test_errors_are_understood(name: str) -> None:
    with pytest.raises(errors.APIError) as caught:
        await failing(name)
    assert caught.value.code == CODES[name]
    assert caught.value.status
    assert caught.value.message


async def test_the_client_finds_the_models(gemini: FakeGemini) -> None:
    client = client_of(gemini)
    names = [model.name async for model in await client.aio.models.list(config={"page_size": 3})]
    found = await client.aio.models.get(model=MODEL)
    with pytest.raises(errors.ClientError) as gone:
        await client.aio.models.get(model="gemini-2.5-flash-image")
    await client.aio.aclose()
    assert len(names) == len(set(names)) == 4
    assert f"models/{MODEL}" in names
    assert found.supported_actions is not None
    assert "generateContent" in found.supported_actions
    assert gone.value.code == 404


@pytest.mark.parametrize(
    ("model", "config", "told"),
    [
        (MODEL, {"image_config": {"image_size": "1k"}}, "image size"),
        (MODEL, {"image_config": {"image_size": "512"}}, "image size"),
        (MODEL, {"image_config": {"aspect_ratio": "5:3"}}, "aspect ratio"),
        ("gemini-3-pro-image", {"image_config": {"aspect_ratio": "8:1"}}, "aspect ratio"),
        ("gemini-3-pro-image", {"thinking_config": {"thinking_level": "HIGH"}}, "Thinking level"),
        ("gemini-3.1-flash-lite-image", {"image_config": {"image_size": "2K"}}, "image size"),
        ("gemini-3.1-flash-lite-image", {"thinking_config": {"thinking_level": "MEDIUM"}}, "MEDIUM"),
        ("gemini-2.5-flash-image", {}, "no longer available"),
        ("gemini-9", {}, "is not found for API version v1beta"),
        (MODEL, {"http_options": {"timeout": 5000}}, "deadline 5s is too short"),
    ],
)
async def test_what_a_model_does_not_take_is_refused(
    gemini: FakeGemini, model: str, config: dict[str, Any], told: str
) -> None:
    with pytest.raises(errors.ClientError, match=told):
        await generate(client_of(gemini), config, model)
    assert gemini.calls == []
    assert gemini.counts["invalid"] == 1


async def test_a_wrong_key_is_refused(gemini: FakeGemini) -> None:
    with pytest.raises(errors.ClientError, match="API key not valid"):
        await generate(client_of(gemini, api_key="another"))


SMALL = base64.b64encode(photos.plain_jpeg(60, 40)).decode()
IMAGE = {"inlineData": {"mimeType": "image/jpeg", "data": SMALL}}
TEXT = {"text": "make it red"}


async def posted(gemini: FakeGemini, body: object, **headers: str) -> tuple[int, Any]:
    """Post JSON as it is, without the official client's checks."""
    url = f"{gemini.base_url}/v1beta/models/{MODEL}:generateContent"
    async with (
        aiohttp.ClientSession() as session,
        session.post(url, json=body, headers={"x-goog-api-key": gemini.api_key, **headers}) as response,
    ):
        return response.status, await response.json()


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ([], "Root element must be a message"),
        ({}, "contents is not specified"),
        ({"contents": []}, "contents is not specified"),
        ({"contents": [{"parts": [TEXT]}], "size": "1K"}, 'Unknown name "size": Cannot find field.'),
        (
            {"contents": [{"parts": [TEXT]}], "generationConfig": {"ImageConfig": {}}},
            "Unknown name \"ImageConfig\" at 'generation_config': Cannot find field.",
        ),
        ({"contents": [{"parts": [{"text": 5}]}]}, "Invalid value at 'contents[0].parts[0].text'"),
        ({"contents": [{"parts": [{"inlineData": {"mimeType": "image/bmp"}}]}]}, "Unsupported MIME type"),
        (
            {"contents": [{"parts": [{"inlineData": {"mimeType": "image/png", "data": "?"}}]}]},
            "Base64 decoding failed",
        ),
        (
            {"contents": [{"parts": [{"inlineData": {"mimeType": "image/png", "data": "AAAA"}}]}]},
            "Unable to process input image",
        ),
        ({"contents": [{"parts": [IMAGE] * 15}]}, "fewer than 15 images"),
        (
            {"contents": [{"parts": [TEXT]}], "safetySettings": [{"category": "HARASSMENT"}]},
            "Invalid value at 'safety_settings[0].category'",
        ),
    ],
)
async def test_ill_formed_requests_are_refused(gemini: FakeGemini, body: object, told: str) -> None:
    status, answer = await posted(gemini, body)
    assert status == 400
    assert answer["error"]["status"] == "INVALID_ARGUMENT"
    assert told in answer["error"]["message"]


@pytest.mark.parametrize("alphabet", [base64.b64encode, base64.urlsafe_b64encode])
@pytest.mark.parametrize("names", [("inlineData", "mimeType"), ("inline_data", "mime_type")])
async def test_both_alphabets_and_spellings_are_taken(alphabet: Any, names: tuple[str, str]) -> None:
    data = alphabet(PHOTO).decode().rstrip("=")
    body = {"contents": [{"parts": [{names[0]: {names[1]: "image/jpeg", "data": data}}, TEXT]}]}
    async with FakeGemini(snake_case=True, urlsafe=True, mime_type="image/jpeg") as gemini:
        status, answer = await posted(gemini, body)
    assert status == 200
    assert gemini.calls[0].images[0].data == PHOTO
    picture = answer["candidates"][0]["content"]["parts"][-1]["inline_data"]
    assert photos.decoded(base64.urlsafe_b64decode(picture["data"])).size == (1264, 848)


def test_a_request_of_more_than_100_mb_is_refused() -> None:
    with pytest.raises(ApiError, match="Request payload size exceeds the limit"):
        read_call(bytes(MAX_BODY_BYTES + 1), number=1, model=MODEL, headers={})


async def test_without_a_key_nobody_is_served(gemini: FakeGemini) -> None:
    status, answer = await posted(gemini, {}, **{"x-goog-api-key": ""})
    assert status == 403
    assert answer["error"]["status"] == "PERMISSION_DENIED"


async def test_a_script_is_followed_call_by_call_then_all_is_well() -> None:
    body = {"contents": [{"parts": [TEXT]}]}
    async with FakeGemini(script=["overloaded", "ok", "per_day"]) as gemini:
        assert [(await posted(gemini, body))[0] for _ in range(5)] == [503, 200, 429, 200, 200]
    assert gemini.counts == {"ok": 3, "overloaded": 1, "per_day": 1}
    async with FakeGemini(script=lambda number: "internal" if number % 2 else "ok") as gemini:
        assert [(await posted(gemini, body))[0] for _ in range(4)] == [500, 200, 500, 200]


async def test_a_prompt_may_name_its_fault() -> None:
    async with FakeGemini() as gemini:
        for name, status in (("overloaded", 503), ("per_day", 429), ("ok", 200), ("no_such_fault", 400)):
            text = {"text": f"make it red [fault:{name}]"}
            assert (await posted(gemini, {"contents": [{"parts": [text]}]}))[0] == status


async def test_calls_at_the_same_time_have_numbers_of_their_own() -> None:
    padding = "x" * 1_000_000  # so large that one is still read when the next one comes
    body = {"contents": [{"parts": [{"text": f"{padding} [fault:internal]"}]}]}
    async with FakeGemini() as gemini:
        await asyncio.gather(*(posted(gemini, body) for _ in range(8)))
        assert sorted(call.number for call in gemini.calls) == list(range(1, 9))


async def test_a_call_may_choose_its_delay_and_its_picture() -> None:
    drawn = photos.png(60, 40)
    async with FakeGemini(
        delay_sec=lambda call: 0.3 if call.number == 1 else 0.0, draw=lambda *_: drawn
    ) as gemini:
        start = time.monotonic()
        for least_sec in (0.3, 0.3):  # the second one adds nothing to it
            status, document = await posted(gemini, {"contents": [{"parts": [TEXT]}]})
            picture = document["candidates"][0]["content"]["parts"][-1]["inlineData"]["data"]
            assert (status, base64.b64decode(picture)) == (200, drawn)
            assert time.monotonic() - start >= least_sec


async def test_further_keys_are_taken_and_seen() -> None:
    async with FakeGemini(further_keys={"a key of mine"}) as gemini:
        for key, status in (("a key of mine", 200), (gemini.api_key, 200), ("another", 400)):
            body = {"contents": [{"parts": [TEXT]}]}
            assert (await posted(gemini, body, **{"x-goog-api-key": key}))[0] == status
        assert [call.headers["x-goog-api-key"] for call in gemini.calls] == ["a key of mine", gemini.api_key]


async def test_answers_take_their_time_each_by_itself() -> None:
    body = {"contents": [{"parts": [{"text": "[fault:internal]"}]}]}
    async with FakeGemini(delay_sec=0.5) as gemini:
        start = time.monotonic()
        await asyncio.gather(*(posted(gemini, body) for _ in range(4)))
        assert time.monotonic() - start >= 0.5
        assert (gemini.most_in_flight, gemini.in_flight) == (4, 0)


def test_a_script_names_faults_that_exist() -> None:
    with pytest.raises(ValueError, match="overloadet"):
        FakeGemini(script=["ok", "overloadet"])
    assert "overloaded" in FAULTS
