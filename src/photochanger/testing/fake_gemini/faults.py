"""The ways in which Gemini fails, by name: how each looks on the wire, and which fault it must become."""

import asyncio
import base64
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from aiohttp import web

from photochanger.domain.errors import (
    ProviderError,
    ProviderFault,
    ProviderMisconfigured,
    ProviderModelGone,
    ProviderNoImage,
    ProviderQuotaExhausted,
    ProviderRefused,
    ProviderRejected,
)
from photochanger.testing.fake_gemini import errors
from photochanger.testing.fake_gemini.errors import ApiError
from photochanger.testing.fake_gemini.pictures import as_json, draft, usage
from photochanger.testing.fake_gemini.requests import unreadable_image
from photochanger.testing.provider_faults import Row

JSON: Final = "application/json; charset=UTF-8"
HTML: Final = "text/html; charset=UTF-8"

CUT_WHILE_SENDING: Final = "cut_while_sending"
"""The one fault that does not wait for the whole request."""

_PAGE: Final = b"<!DOCTYPE html><html><title>Error</title><p>The server encountered a temporary error.</html>"


@dataclass(frozen=True, slots=True, kw_only=True)
class Canned:
    """An answer that is always the same."""

    status: int = 200
    body: bytes = b""
    content_type: str = JSON
    headers: Mapping[str, str] = field(default_factory=dict)


Behaviour: TypeAlias = Callable[[web.Request], Awaitable[web.StreamResponse]]
Reply: TypeAlias = Canned | Behaviour


def _answer(document: object) -> Canned:
    return Canned(body=as_json(document))


def _candidate(finish_reason: str, message: str | None = None, **more: object) -> Canned:
    told = {} if message is None else {"finishMessage": message}
    candidate = {**more, "finishReason": finish_reason, **told, "index": 0}
    return _answer({"candidates": [candidate], "usageMetadata": usage()})


def _image(data: str, mime_type: str = "image/png", **more: object) -> Canned:
    part = {"inlineData": {"mimeType": mime_type, "data": data}, **more}
    return _candidate("STOP", content={"role": "model", "parts": [part]})


def _error(error: ApiError) -> Canned:
    return Canned(status=error.code, body=as_json(error.document))


def _status(code: int, status: str, message: str) -> Canned:
    return _error(ApiError(code, status, message))


async def cut(request: web.Request) -> web.StreamResponse:
    """Drop the connection without a word."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response()


async def _begun(request: web.Request, length: int | None = None) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": JSON})
    response.content_length = length
    await response.prepare(request)
    await response.write(b'{"candidates":[{"content":{"parts":[{"inlineData":{"data":"')
    return response


async def _cut_in_answer(request: web.Request) -> web.StreamResponse:
    response = await _begun(request, 1_000_000)
    await response.write(b"A" * 100_000)
    return await cut(request)


async def _slow_body(request: web.Request) -> web.StreamResponse:
    response = await _begun(request)
    while True:
        await response.write(b"A" * 100)
        await asyncio.sleep(0.02)


async def _hang(_request: web.Request) -> web.StreamResponse:
    await asyncio.Event().wait()
    raise AssertionError


async def _oversize(request: web.Request) -> web.StreamResponse:
    response, megabyte = await _begun(request), b"A" * 1_000_000
    for _ in range(200):
        await response.write(megabyte)
    return response


_NESTED: Final = b'{"candidates":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
_DRAFT: Final = base64.b64encode(draft()).decode()

_Found: TypeAlias = tuple[str, str, Reply]


def _rows(
    expected: type[ProviderFault],
    found: Sequence[_Found],
    **promised: Any,
) -> Iterator[tuple[Row, Reply]]:
    for name, meaning, reply in found:
        yield Row(name=name, meaning=meaning, expected=expected, **promised), reply


def _without_picture() -> Iterator[tuple[Row, Reply]]:
    """Yield answers with status 200 and no picture, all of them seen in the field."""
    no_image: Sequence[_Found] = [
        ("no_image", "expected to draw, and did not", _candidate("NO_IMAGE")),
    ]
    yield from _rows(ProviderNoImage, no_image, once=False)
    unlucky: Sequence[_Found] = [
        (
            "image_other",
            "drawn, and not shown",
            _candidate(
                "IMAGE_OTHER",
                "Unable to show the generated image. Please try again. You will not be charged for this.",
                content={},
            ),
        ),
        (
            "text_only",
            "words in place of a picture",
            _candidate("STOP", content={"role": "model", "parts": [{"text": "Here is your picture!"}]}),
        ),
        ("max_tokens", "too long", _candidate("MAX_TOKENS", content={"role": "model"})),
        ("empty_object", "nothing at all", _answer({})),
        ("only_thoughts", "a draft, and no picture", _image(_DRAFT, thought=True)),
        ("null_parts", "stopped, with nothing", _candidate("STOP", content={"parts": None})),
        ("unknown_finish_reason", "a reason that is newer than we", _candidate("MOON_IN_CAPRICORN")),
    ]
    yield from _rows(ProviderNoImage, unlucky, once=True)
    message = "Unable to show the generated image. It may contain third-party content. Support code: 123"
    refused: Sequence[_Found] = [
        ("image_safety", "unsafe picture", _candidate("IMAGE_SAFETY", message, content={"parts": None})),
        ("image_prohibited_content", "forbidden", _candidate("IMAGE_PROHIBITED_CONTENT", message)),
        (
            "prompt_blocked",
            "the prompt is refused; no candidates",
            _answer({"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}, "usageMetadata": usage()}),
        ),
        ("recitation", "too close to a source", _candidate("RECITATION")),
        ("image_recitation", "too close to a picture", _candidate("IMAGE_RECITATION")),
        ("safety", "unsafe", _candidate("SAFETY")),
        ("blocklist", "a forbidden word", _candidate("BLOCKLIST")),
        ("prohibited_content", "forbidden", _candidate("PROHIBITED_CONTENT")),
        ("spii", "personal data", _candidate("SPII")),
    ]
    yield from _rows(ProviderRefused, refused)


def _error_answers() -> Iterator[tuple[Row, Reply]]:
    rejected: Sequence[_Found] = [
        (
            "invalid_argument",
            "an ill-formed request",
            _error(errors.invalid("Request contains an invalid argument.")),
        ),
        ("unreadable_image", "the photo cannot be decoded", _error(unreadable_image())),
        (
            "too_large",
            "too many bytes",
            _error(errors.invalid("Request payload size exceeds the limit: 1 bytes.")),
        ),
        (
            "deadline_too_short",
            "an X-Server-Timeout below ten seconds",
            _error(errors.invalid("Manually set deadline 5s is too short. Minimum allowed deadline is 10s.")),
        ),
        ("unknown_4xx", "a code nobody knows", _status(418, "TEAPOT", "I am a teapot.")),
    ]
    yield from _rows(ProviderRejected, rejected)
    wrong: Sequence[_Found] = [
        (
            "key_invalid",
            "not a key",
            _error(errors.bad_key("API key not valid. Please pass a valid API key.")),
        ),
        ("key_expired", "an old key", _error(errors.bad_key("API key expired. Please renew the API key."))),
        (
            "location",
            "not from this country",
            _status(400, "FAILED_PRECONDITION", "User location is not supported for the API use."),
        ),
        (
            "no_billing",
            "not without billing",
            _status(
                400, "FAILED_PRECONDITION", "Imagen API is only accessible to billed users at this time."
            ),
        ),
        (
            "unauthenticated",
            "a key of the wrong kind",
            _status(401, "UNAUTHENTICATED", "Request had invalid authentication credentials."),
        ),
        (
            "permission_denied",
            "a leaked or restricted key",
            _status(
                403, "PERMISSION_DENIED", "Your API key was reported as leaked. Please use another API key."
            ),
        ),
        (
            "redirect",
            "not Gemini's address",
            Canned(status=302, content_type=HTML, headers={"Location": "/elsewhere"}),
        ),
    ]
    yield from _rows(ProviderMisconfigured, wrong)
    gone: Sequence[_Found] = [
        ("model_gone", "shut down", _error(errors.model_shut_down("gemini-2.5-flash-image"))),
        ("model_unknown", "never was", _error(errors.no_such_model("gemini-9", "v1beta"))),
    ]
    yield from _rows(ProviderModelGone, gone)
    deadline = "Deadline expired before operation could complete."
    failed: Sequence[_Found] = [
        ("request_timeout", "a front end's time-out", Canned(status=408, content_type=HTML, body=_PAGE)),
        ("cancelled", "the client went away", _status(499, "CANCELLED", "The operation was cancelled.")),
        ("internal", "a defect", _status(500, "INTERNAL", "An internal error has occurred. Please retry.")),
        ("html_502", "a front end's page", Canned(status=502, content_type=HTML, body=_PAGE)),
        ("empty_502", "a front end's silence", Canned(status=502, content_type=HTML)),
        (
            "overloaded",
            "too many users",
            _status(503, "UNAVAILABLE", "The model is overloaded. Please try again later."),
        ),
        ("high_demand", "too many users", _status(503, "UNAVAILABLE", deadline)),
        ("deadline_exceeded", "the server's deadline", _status(504, "DEADLINE_EXCEEDED", deadline)),
        (
            "list_envelope",
            "the error in a list",
            Canned(status=503, body=as_json([ApiError(503, "UNAVAILABLE", "Overloaded.").document])),
        ),
        (
            "error_in_200",
            "an error under a status of success",
            _answer(ApiError(503, "UNAVAILABLE", "Overloaded.").document),
        ),
    ]
    yield from _rows(ProviderError, failed)


_QUOTA: Final = "You exceeded your current quota, please check your plan and billing details."
_PER_MINUTE: Final = "GenerateRequestsPerMinutePerProjectPerModel-FreeTier"
_PER_DAY: Final = "GenerateRequestsPerDayPerProjectPerModel-FreeTier"


def _quotas() -> Iterator[tuple[Row, Reply]]:
    def quota(message: str, **more: Any) -> Canned:
        return _error(errors.exhausted(message, **more))

    found: Sequence[tuple[str, str, Reply, float]] = [
        (
            "per_minute",
            "requests per minute",
            quota(f"{_QUOTA} Please retry in 37.1s.", quota=_PER_MINUTE, retry_delay="37s"),
            37.1,
        ),
        (
            "per_minute_delay",
            "with RetryInfo only",
            quota(_QUOTA, quota=_PER_MINUTE, retry_delay="12.5s"),
            12.5,
        ),
        ("per_minute_text", "with a text only", quota(f"{_QUOTA}\nPlease retry in 482.5ms."), 0.4825),
        (
            "per_minute_bare",
            "without a time",
            _status(429, "RESOURCE_EXHAUSTED", "Resource has been exhausted."),
            60,
        ),
        (
            "per_minute_header",
            "from a front end",
            Canned(status=429, content_type=HTML, body=_PAGE, headers={"Retry-After": "17"}),
            17,
        ),
        ("per_day", "requests per day", quota(_QUOTA, quota=_PER_DAY, retry_delay="41s"), 3600),
        (
            "per_day_long",
            "requests per day, with hours to go",
            quota(f"{_QUOTA} Please retry in 10h17m5.7s.", quota=_PER_DAY, retry_delay="37025.7s"),
            37025.7,
        ),
        ("spend_cap", "spent enough", quota("Your project has exceeded its monthly spending cap."), 3600),
        (
            "spend_limit",
            "spent enough for ten minutes",
            quota("Your project has exceeded its spend limit of 10 minutes.", retry_delay="210s"),
            210,
        ),
        (
            "no_quota",
            "a tier without images",
            quota(f"{_QUOTA}\n* Quota exceeded for metric: requests, limit: 0", quota=_PER_MINUTE, value="0"),
            3600,
        ),
        (
            "credits_gone",
            "nothing left of what was paid",
            _status(402, "RESOURCE_EXHAUSTED", "Your prepayment credits are depleted."),
            3600,
        ),
    ]
    for name, meaning, reply, seconds in found:
        yield from _rows(ProviderQuotaExhausted, [(name, meaning, reply)], retry_after_sec=seconds)


def _broken() -> Iterator[tuple[Row, Reply]]:
    """Yield answers that cannot be used, and connections that break."""
    html = base64.b64encode(_PAGE).decode()
    found: Sequence[_Found] = [
        ("empty_200", "no body", Canned()),
        ("html_200", "a page in place of JSON", Canned(content_type=HTML, body=_PAGE)),
        ("garbage_json", "no JSON at all", Canned(body=b"\x00\xff{]")),
        ("truncated_json", "half an answer", Canned(body=_image(_DRAFT).body[:-40])),
        ("deep_json", "a hundred thousand brackets", Canned(body=_NESTED)),
        ("nan", "a number that JSON has not", Canned(body=b'{"candidates":[{"avgLogprobs":NaN}]}')),
        ("wrong_types", "other things than expected", Canned(body=b'{"candidates":{"content":[1]}}')),
        ("image_html", "a page in place of the picture", _image(html)),
        ("image_empty", "a picture of no bytes", _image("")),
        ("broken_base64", "something else than base64", _image("!!!" + _DRAFT)),
        ("truncated_base64", "base64 that ends too early", _image(_DRAFT[: len(_DRAFT) // 4 * 4 - 7])),
        ("cut_before_answer", "the connection breaks after the request", cut),
        ("cut_in_answer", "the connection breaks in the answer", _cut_in_answer),
        ("slow_body", "an answer that takes for ever", _slow_body),
        ("hang", "no answer", _hang),
        ("oversize", "an answer of 200 MB", _oversize),
    ]
    yield from _rows(ProviderError, found, maybe_billed=True)
    cut_early: _Found = (CUT_WHILE_SENDING, "the connection breaks within a large request", cut)
    yield from _rows(ProviderError, [cut_early], maybe_billed=False)


_TABLE: Final = (*_without_picture(), *_error_answers(), *_quotas(), *_broken())

FAULTS: Final[Mapping[str, Row]] = {row.name: row for row, _reply in _TABLE}
"""Every way to fail, by the name that a script gives it."""

REPLIES: Final[Mapping[str, Reply]] = {row.name: reply for row, reply in _TABLE}
