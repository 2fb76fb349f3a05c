"""The body of a `generateContent` request, made while it is sent.

The format is that of ai.google.dev/api/generate-content: images first, the photo before the templates, then
the prompt. Images are base64 inside JSON; they are never held in memory in that form as a whole.
"""

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import Final, TypeAlias

import msgspec
import pybase64

from photochanger.adapters.gemini.models import Model, model
from photochanger.adapters.gemini.operations import DEFAULT, GUIDES, SAFETY
from photochanger.adapters.outbound_http import Body
from photochanger.application.ports.images import PreparedImage
from photochanger.application.ports.providers import TransformRequest
from photochanger.domain.errors import ProviderRejected
from photochanger.domain.operation import ParameterValue

MAX_REQUEST_BYTES: Final = 20_000_000
"""What every version of the documentation allows for inline images (100 MB since January 2026)."""

_SLICE: Final = 3 * 64 * 1024
"""Bytes that are encoded at once: a multiple of three, so that only the last ones are padded."""

_Piece: TypeAlias = bytes | PreparedImage


def body_of(request: TransformRequest) -> Body:
    """Return the body that asks the request's model for what the request says.

    Raises `ProviderRejected` where it would be too large, or the prompt cannot be sent as UTF-8.
    """
    try:
        pieces = list(_pieces(request, model(request.model or "")))
    except UnicodeEncodeError:
        raise ProviderRejected("The prompt holds characters that cannot be sent") from None
    size = sum(_size(piece) for piece in pieces)
    if size > MAX_REQUEST_BYTES:
        raise ProviderRejected(
            f"Photo and templates make a request of {size / 1e6:.1f} MB; "
            f"Gemini takes {MAX_REQUEST_BYTES / 1e6:g} MB"
        )
    return Body(size, _chunks(pieces))


def _pieces(request: TransformRequest, wanted: Model) -> Iterator[_Piece]:
    yield b'{"contents":[{"role":"user","parts":['
    for image in (request.photo, *(template.image for template in request.templates)):
        yield b'{"inlineData":{"mimeType":"%s","data":"' % image.info.image_type.value.encode()
        yield image
        yield b'"}},'
    texts = [*_guide([template.role for template in request.templates]), str(request.params["prompt"])]
    yield b",".join(msgspec.json.encode({"text": text}) for text in texts)
    settings = msgspec.json.encode(_settings(request.params, wanted))
    yield b"]}]," + settings.removeprefix(b"{")


def _guide(roles: Sequence[str]) -> Iterator[str]:
    """Yield what tells the model which image is which; nothing where there is only the photo."""
    if roles:
        told = [f"Image {number} {GUIDES[role]}." for number, role in enumerate(roles, start=2)]
        yield " ".join(["Image 1 is the photo to change.", *told])


def _settings(params: Mapping[str, ParameterValue], wanted: Model) -> dict[str, object]:
    image = {"imageSize": wanted.size(str(params["image_size"]))}
    if (ratio := wanted.ratio(str(params["aspect_ratio"]))) is not None:
        image["aspectRatio"] = ratio
    # Without "TEXT": an answer of words alone is then not possible.
    config: dict[str, object] = {"responseModalities": ["IMAGE"], "imageConfig": image}
    if (level := wanted.thinking_level(str(params["thinking_level"]))) is not None:
        config["thinkingConfig"] = {"thinkingLevel": level.upper()}
    safety = [
        {"category": category, "threshold": str(params[name]).upper()}
        for name, (category, _what) in SAFETY.items()
        if params[name] != DEFAULT
    ]
    return {"generationConfig": config} | ({"safetySettings": safety} if safety else {})


def _size(piece: _Piece) -> int:
    return len(piece) if isinstance(piece, bytes) else (piece.size_bytes + 2) // 3 * 4


async def _chunks(pieces: Sequence[_Piece]) -> AsyncIterator[bytes]:
    for piece in pieces:
        if isinstance(piece, bytes):
            yield piece
            continue
        for at in range(0, piece.size_bytes, _SLICE):
            # Two calls may share a file: each finds its place anew.
            piece.file.seek(at)
            wanted = min(_SLICE, piece.size_bytes - at)
            data = piece.file.read(wanted)
            if len(data) < wanted:
                # Gemini would wait for the rest.
                raise OSError("the image is shorter than it was said to be")
            yield pybase64.b64encode(data)
