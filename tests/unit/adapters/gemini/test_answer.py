import base64
import json
from contextlib import suppress
from io import BytesIO
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from photochanger.adapters.gemini.answer import picture_in, write_picture
from photochanger.adapters.gemini.errors import complaint, fault_of
from photochanger.adapters.gemini.reasons import why_no_picture
from photochanger.domain.errors import (
    ProviderError,
    ProviderFault,
    ProviderMisconfigured,
    ProviderNoImage,
    ProviderRefused,
)
from photochanger.testing import photos

pytestmark = pytest.mark.anyio

JPEG = photos.plain_jpeg(60, 40)
PNG = photos.encoded(photos.scene(60, 40), "PNG")
WEBP = photos.encoded(photos.scene(60, 40), "WEBP")


def part(data: bytes, **more: object) -> dict[str, object]:
    return {"inlineData": {"mimeType": "image/png", "data": base64.b64encode(data).decode()}, **more}


def body(*parts: object, **more: object) -> bytes:
    return json.dumps({"candidates": [{"content": {"parts": parts}, **more}]}).encode()


async def written(answer: bytes) -> bytes:
    into = BytesIO()
    await write_picture(picture_in(bytearray(answer)), into)
    return into.getvalue()


@pytest.mark.parametrize("picture", [JPEG, PNG, WEBP])
async def test_a_picture_is_known_by_its_bytes_whatever_type_is_declared(picture: bytes) -> None:
    assert await written(body(part(picture))) == picture


async def test_the_last_picture_that_is_no_thought_is_the_finished_one() -> None:
    parts = [
        {"text": "…", "thought": True},
        part(WEBP, thought=True),
        part(PNG),
        part(JPEG),
        part(PNG, thought=True),
    ]
    assert await written(body(*parts, {"text": "Done."}, None)) == JPEG


async def test_a_picture_counts_whatever_the_finish_reason_says() -> None:
    assert await written(body(part(JPEG), finishReason="MAX_TOKENS")) == JPEG


async def test_the_picture_may_be_in_any_candidate() -> None:
    candidates = [{"content": {"parts": [part(JPEG)]}}, {"finishReason": "SAFETY"}, {"content": None}, None]
    assert await written(json.dumps({"candidates": candidates}).encode()) == JPEG


async def test_both_spellings_of_names_are_understood() -> None:
    blob = {"mime_type": "image/jpeg", "data": base64.b64encode(JPEG).decode()}
    assert await written(body({"inline_data": blob})) == JPEG


@pytest.mark.parametrize("size", [0, 1, 2, 3, 3 * 256 * 1024 - 12, 3 * 256 * 1024, 2_000_001])
@pytest.mark.parametrize("form", ["standard", "urlsafe", "unpadded", "escaped", "escaped urlsafe"])
async def test_every_way_to_write_base64_is_understood(size: int, form: str) -> None:
    picture = PNG[:12] + bytes(range(256)) * (size // 256) + bytes(size % 256)
    text = (base64.urlsafe_b64encode if "urlsafe" in form else base64.b64encode)(picture).decode()
    if form == "unpadded":
        text = text.rstrip("=")
    if "escaped" in form:
        text = text.replace("/", "\\/").replace("=", "\\u003d").replace("-", "\\u002d")
    answer = body({"inlineData": {"data": "the data"}}).replace(b"the data", text.encode())
    assert await written(answer) == picture


@pytest.mark.parametrize(
    "data",
    [
        "",
        "AAAA",
        base64.b64encode(b"<html>").decode(),
        base64.b64encode(b"GIF89a" + bytes(50)).decode(),
        base64.b64encode(b"RIFF\0\0\0\0WAVE").decode(),
        base64.b64encode(JPEG).decode()[:1001],
        base64.b64encode(JPEG).decode()[:1000] + "=" * 3,
        base64.b64encode(JPEG).decode()[:1000] + "ä",
        base64.b64encode(JPEG).decode()[:1000] + " AAAA",
        base64.b64encode(JPEG).decode()[:1000] + "\\AAA",
        base64.b64encode(JPEG + bytes(786432 - len(JPEG) - 1)).decode() + "AAAA",
        12,
        True,
        [],
        {},
    ],
)
async def test_what_is_no_picture_may_have_been_billed(data: object) -> None:
    with pytest.raises(ProviderError) as caught:
        await written(body({"inlineData": {"data": data}}))
    assert caught.value.maybe_billed


@pytest.mark.parametrize("data", [None, "missing"])
async def test_a_part_without_data_is_no_picture(data: object) -> None:
    blob = {} if data == "missing" else {"data": data}
    with pytest.raises(ProviderNoImage):
        await written(body({"inlineData": blob}))


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"null",
        b"[]",
        b"42",
        b'"text"',
        b"{}x",
        b'{"candidates":[{"finishReason":"\xff"}]}',
        b'{"candidates":[{"finishReason":5}]}',
        b'{"error":{"code":200}}',
        b'{"error":"text"}',
        b'[{"error":{"code":"503"}}]',
        b"\xef\xbb\xbf{}",
    ],
)
def test_an_answer_that_cannot_be_read_may_have_been_billed(answer: bytes) -> None:
    with pytest.raises(ProviderError, match="cannot be read") as caught:
        picture_in(answer)
    assert caught.value.maybe_billed


def test_an_error_that_is_null_is_none() -> None:
    with pytest.raises(ProviderNoImage):
        picture_in(b'{"error":null,"candidates":[]}')


def test_reasons_in_the_other_spelling_are_understood() -> None:
    with pytest.raises(ProviderRefused, match="SPII"):
        picture_in(b'{"candidates":[{"finish_reason":"SPII"}]}')
    with pytest.raises(ProviderRefused, match="SAFETY"):
        picture_in(b'{"prompt_feedback":{"block_reason":"SAFETY"}}')


def test_a_feedback_without_a_reason_blocks_nothing() -> None:
    with pytest.raises(ProviderNoImage):
        picture_in(b'{"promptFeedback":{"blockReason":"BLOCKED_REASON_UNSPECIFIED"}}')


def test_the_gravest_reason_counts() -> None:
    assert type(why_no_picture("", ["NO_IMAGE", "SAFETY"])) is ProviderRefused
    assert type(why_no_picture("OTHER", [])) is ProviderRefused
    assert type(why_no_picture("", ["PUP_LIMITED_DISABLED"])) is ProviderMisconfigured
    twice = why_no_picture("", ["STOP", "NO_IMAGE"])
    assert isinstance(twice, ProviderNoImage)
    assert not twice.once


def test_reasons_that_nobody_knows_are_not_shown() -> None:
    for fault in (why_no_picture("", ["the prompt was …"]), why_no_picture("the prompt was …", [])):
        assert "…" not in str(fault)


NAMES = st.sampled_from(
    [
        "candidates",
        "content",
        "parts",
        "inlineData",
        "inline_data",
        "data",
        "mimeType",
        "thought",
        "text",
        "finishReason",
        "finish_reason",
        "promptFeedback",
        "blockReason",
        "error",
        "code",
        "status",
        "message",
        "details",
        "violations",
        "quotaId",
        "quotaValue",
        "retryDelay",
        "reason",
    ]
)
TEXTS = st.sampled_from(["", "STOP", "NO_IMAGE", "429", "37s", "AAAA", "\\", "limit: 0", "retry in 1h"])
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | TEXTS
DOCUMENTS = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=20,
)


def answers(content: Any) -> bytes:
    """Return a document in the place where each level of an answer has it."""
    return json.dumps({"candidates": [{"content": {"parts": content}, "finishReason": content}]}).encode()


@settings(deadline=None)
@given(document=DOCUMENTS, place=st.sampled_from([lambda it: json.dumps(it).encode(), answers]))
async def test_no_json_makes_anything_but_a_fault(document: Any, place: Any) -> None:
    with pytest.raises(ProviderFault):
        await written(place(document))


@settings(deadline=None)
@given(start=st.integers(0, 400), end=st.integers(0, 400), junk=st.binary(max_size=6))
async def test_no_damage_makes_anything_but_a_fault(start: int, end: int, junk: bytes) -> None:
    answer = body({"text": "a"}, part(PNG[:90]), finishReason="STOP")
    with suppress(ProviderError, ProviderNoImage):
        await written(answer[:start] + junk + answer[end:])


@settings(deadline=None)
@given(document=DOCUMENTS, code=st.integers(100, 999), header=st.text(max_size=10) | TEXTS)
def test_no_error_answer_makes_anything_but_a_fault(document: Any, code: int, header: str) -> None:
    for inside in (document, {"error": document}, {"error": {"details": [document]}}):
        said = complaint(json.dumps(inside).encode(), code=code, retry_after=header)
        fault = fault_of(said)
        assert not fault.maybe_billed
        assert fault.retry_after_sec is None or 0 <= fault.retry_after_sec <= 86_400
