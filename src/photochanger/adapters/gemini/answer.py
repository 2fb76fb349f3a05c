"""From a successful answer to the picture in it, or to the reason why there is none.

The format is that of ai.google.dev/api/generate-content; fields are found in both spellings of proto-JSON.
The base64 of a picture is not made a string, nor copied: it is decoded out of the answer, slice by slice.
"""

import asyncio
import binascii
from collections.abc import Iterator
from typing import BinaryIO, Final

import msgspec
import pybase64

from photochanger.adapters.gemini.errors import complaint, fault_of
from photochanger.adapters.gemini.reasons import why_no_picture
from photochanger.domain.errors import ProviderError, ProviderFault
from photochanger.domain.image import image_type_of

_SLICE: Final = 1024 * 1024
"""Characters of base64 that are decoded at once: a multiple of four, and well under a millisecond's work."""


class _Blob(msgspec.Struct):
    data: msgspec.Raw = msgspec.Raw()


class _Part(msgspec.Struct):
    camel: _Blob | None = msgspec.field(name="inlineData", default=None)
    snake: _Blob | None = msgspec.field(name="inline_data", default=None)
    thought: bool | None = None


class _Content(msgspec.Struct):
    parts: list[_Part | None] | None = None


class _Candidate(msgspec.Struct):
    content: _Content | None = None
    camel_reason: str | None = msgspec.field(name="finishReason", default=None)
    snake_reason: str | None = msgspec.field(name="finish_reason", default=None)


class _Feedback(msgspec.Struct):
    camel_reason: str | None = msgspec.field(name="blockReason", default=None)
    snake_reason: str | None = msgspec.field(name="block_reason", default=None)


class _Answer(msgspec.Struct):
    candidates: list[_Candidate | None] | None = None
    camel_feedback: _Feedback | None = msgspec.field(name="promptFeedback", default=None)
    snake_feedback: _Feedback | None = msgspec.field(name="prompt_feedback", default=None)
    error: msgspec.Raw = msgspec.Raw()


_DECODER: Final = msgspec.json.Decoder(_Answer)


def picture_in(body: bytes | bytearray) -> memoryview:
    """Return the picture in the body of an answer with status 200, for `write_picture`.

    Of several it is the last: those before it are drafts.

    Raises the fault that the answer means where it has none.
    """
    try:
        answer = _DECODER.decode(body)
    except (msgspec.DecodeError, ValueError, RecursionError):
        raise _error_in(body) or _unreadable() from None
    if _is_given(answer.error):
        raise _error_in(body) or _unreadable()
    pictures = [data for candidate in answer.candidates or () for data in _pictures(candidate)]
    if not pictures:
        raise _why_not(answer)
    return _unquoted(pictures[-1])


def _error_in(body: bytes | bytearray) -> ProviderFault | None:
    """Return what an error envelope means that came with a status of success."""
    said = complaint(body)
    return fault_of(said) if said.code >= 400 else None


def _unreadable() -> ProviderFault:
    return ProviderError("Gemini's answer cannot be read", maybe_billed=True)


def _pictures(candidate: _Candidate | None) -> Iterator[msgspec.Raw]:
    content = candidate.content if candidate else None
    for part in (content.parts or ()) if content else ():
        blob = (part.camel or part.snake) if part is not None and not part.thought else None
        if blob is not None and _is_given(blob.data):
            yield blob.data


def _is_given(value: msgspec.Raw) -> bool:
    return bytes(memoryview(value)[:5]) not in {b"", b"null"}


def _unquoted(data: msgspec.Raw) -> memoryview:
    text = memoryview(data)
    if bytes(text[:1]) != b'"':
        raise _unreadable()
    return text[1:-1]


def _why_not(answer: _Answer) -> ProviderFault:
    feedback = answer.camel_feedback or answer.snake_feedback
    blocked = (feedback.camel_reason or feedback.snake_reason) if feedback else None
    candidates = [candidate for candidate in answer.candidates or () if candidate is not None]
    return why_no_picture(
        blocked or "", [candidate.camel_reason or candidate.snake_reason or "" for candidate in candidates]
    )


async def write_picture(text: memoryview, into: BinaryIO) -> None:
    """Decode a picture into a file; the event loop gets its turn after every slice.

    `text` is what stands between the quotation marks. Raises `ProviderError` where it is not base64 or what
    it encodes is no JPEG, PNG or WebP.
    """
    is_first = True
    for piece, is_last in _slices(text):
        data = _decoded(piece, is_last=is_last)
        if is_first and image_type_of(data) is None:
            raise ProviderError("What Gemini sent is not a picture", maybe_billed=True)
        is_first = False
        into.write(data)
        await asyncio.sleep(0)


def _slices(text: memoryview) -> Iterator[tuple[bytes, bool]]:
    """Yield slices, one at least, and whether each is the last."""
    at = 0
    while True:
        piece = bytes(text[at : at + _SLICE])
        if b"\\" in piece:
            text, at = _unescaped(text[at:]), 0
            continue
        at += _SLICE
        yield piece, at >= len(text)
        if at >= len(text):
            return


def _unescaped(text: memoryview) -> memoryview:
    """Undo JSON's escapes, which are allowed and rare: a slash, for one, may have a backslash before it."""
    try:
        plain = msgspec.json.decode(b'"' + bytes(text) + b'"', type=str).encode("ascii")
    except (msgspec.DecodeError, ValueError):
        raise _broken() from None
    if b"\\" in plain:
        raise _broken()
    return memoryview(plain)


def _decoded(text: bytes, *, is_last: bool) -> bytes:
    """Decode a slice of base64 in either alphabet; only the last may be padded, and need not be."""
    if b"-" in text or b"_" in text:
        text = text.translate(_STANDARD)
    if is_last:
        text += b"=" * (-len(text) % 4)
    elif text.endswith(b"="):
        raise _broken()
    try:
        return pybase64.b64decode(text, validate=True)
    except binascii.Error:
        raise _broken() from None


def _broken() -> ProviderFault:
    return ProviderError("The picture that Gemini sent is broken", maybe_billed=True)


_STANDARD: Final = bytes.maketrans(b"-_", b"+/")
