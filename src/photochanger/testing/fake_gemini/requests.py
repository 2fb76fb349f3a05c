"""What Gemini takes: the fields of a `generateContent` request, by their names, values and models.

The names are those of google.ai.generativelanguage.v1beta (github.com/googleapis/googleapis) and, for what is
newer, of the official client; the errors' texts are as users have quoted them.
"""

import base64
import binascii
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import Any, Final

from PIL import Image

from photochanger.testing.fake_gemini.errors import ApiError, bad_fields, invalid

MAX_BODY_BYTES: Final = 100 * 1024 * 1024
_MAX_IMAGES: Final = 14
_MIME_TYPES: Final = frozenset({"image/png", "image/jpeg", "image/webp", "image/heic", "image/heif"})
_RATIOS: Final = frozenset("1:1 2:3 3:2 3:4 4:3 4:5 5:4 9:16 16:9 21:9".split())  # noqa: SIM905
_LONG_RATIOS: Final = frozenset({"1:4", "4:1", "1:8", "8:1"})
_PACKAGE: Final = "type.googleapis.com/google.ai.generativelanguage.v1beta"


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A model and what it takes; without levels it takes no thinking configuration at all."""

    display_name: str
    sizes: frozenset[str]
    ratios: frozenset[str] = _RATIOS | _LONG_RATIOS
    levels: frozenset[str] = frozenset({"minimal", "high"})


MODELS: Final[Mapping[str, Model]] = {
    "gemini-nano-banana-2.1": Model(
        display_name="Nano Banana 2.1",
        sizes=frozenset({"1K", "2K", "4K"}),
        levels=frozenset({"minimal", "medium", "high"}),
    ),
    "gemini-3-pro-image": Model(
        display_name="Nano Banana Pro",
        sizes=frozenset({"1K", "2K", "4K"}),
        ratios=_RATIOS,
        levels=frozenset(),
    ),
    "gemini-3.1-flash-lite-image": Model(display_name="Nano Banana 2 Lite", sizes=frozenset({"1K"})),
    "gemini-3.1-flash-image": Model(display_name="Nano Banana 2", sizes=frozenset({"512", "1K", "2K", "4K"})),
}

SHUT_DOWN: Final = frozenset(
    {
        "gemini-2.5-flash-image",
        "gemini-2.5-flash-image-preview",
        "gemini-3-pro-image-preview",
        "gemini-3.1-flash-image-preview",
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceivedImage:
    """An image of a request, decoded."""

    mime_type: str
    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceivedCall:
    """A request that was right. Names in its parts are in snake_case, whatever they were sent in."""

    number: int
    model: str
    headers: Mapping[str, str]
    size_bytes: int
    images: tuple[ReceivedImage, ...]
    texts: tuple[str, ...]
    config: Mapping[str, Any]
    safety: Mapping[str, str]

    @property
    def prompt(self) -> str:
        """The last text."""
        return self.texts[-1] if self.texts else ""

    @property
    def image_config(self) -> Mapping[str, str]:
        """The aspect ratio and size that were asked for."""
        return dict(self.config.get("image_config") or {})


def read_call(body: bytes, *, number: int, model: str, headers: Mapping[str, str]) -> ReceivedCall:
    """Return what a request asks for; raises `ApiError` for what Gemini would not take."""
    if len(body) > MAX_BODY_BYTES:
        raise invalid(f"Request payload size exceeds the limit: {MAX_BODY_BYTES} bytes.")
    document = _normalised(_parsed(body))
    parts = [part for content in document.get("contents") or () for part in content.get("parts") or ()]
    if not parts:
        raise invalid("* GenerateContentRequest.contents: contents is not specified\n")
    config = document.get("generation_config") or {}
    _check_config(config, MODELS[model])
    return ReceivedCall(
        number=number,
        model=model,
        headers=headers,
        size_bytes=len(body),
        images=tuple(_images(parts)),
        texts=tuple(str(part["text"]) for part in parts if "text" in part),
        config=config,
        safety=dict(_safety(document.get("safety_settings") or [])),
    )


def _parsed(body: bytes) -> dict[str, Any]:
    try:
        document = json.loads(body, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise invalid("Invalid JSON payload received. Unexpected token.") from None
    if not isinstance(document, dict):
        raise invalid('Invalid JSON payload received. Unknown name "": Root element must be a message.')
    return document


def _no_constant(name: str) -> float:
    raise ValueError(name)


_ANY: Final = None
_BLOB: Final = {"mime_type": str, "data": str}
_PART: Final = {
    "text": str,
    "inline_data": _BLOB,
    "file_data": {"mime_type": str, "file_uri": str},
    "thought": bool,
    "thought_signature": str,
    "media_resolution": _ANY,
}
_CONTENT: Final = {"role": str, "parts": [_PART]}
_CONFIG: Final = {
    **dict.fromkeys(
        (
            "candidate_count",
            "stop_sequences",
            "max_output_tokens",
            "temperature",
            "top_p",
            "top_k",
            "seed",
            "presence_penalty",
            "frequency_penalty",
            "response_mime_type",
            "response_schema",
            "response_json_schema",
            "response_modalities",
            "media_resolution",
        ),
        _ANY,
    ),
    "image_config": {"aspect_ratio": str, "image_size": str},
    "thinking_config": {"thinking_level": str, "include_thoughts": bool, "thinking_budget": int},
}
_REQUEST: Final = {
    "contents": [_CONTENT],
    "generation_config": _CONFIG,
    "safety_settings": [{"category": str, "threshold": str}],
    "system_instruction": _CONTENT,
    **dict.fromkeys(
        ("model", "service_tier", "store", "labels", "cached_content", "tools", "tool_config"), _ANY
    ),
}


def _normalised(document: dict[str, Any]) -> dict[str, Any]:
    """Return the request with its names in snake_case; raises `ApiError` with all names nobody knows."""
    violations: list[tuple[str, str]] = []
    known = _known(document, _REQUEST, "", violations)
    if violations:
        raise bad_fields(violations)
    return dict(known)


def _known(value: Any, kind: Any, path: str, violations: list[tuple[str, str]]) -> Any:
    if value is None or kind is _ANY:
        return value
    if isinstance(kind, list) and isinstance(value, list):
        return [_known(item, kind[0], f"{path}[{at}]", violations) for at, item in enumerate(value)]
    if isinstance(kind, dict) and isinstance(value, dict):
        return dict(_known_fields(value, kind, path, violations))
    if isinstance(kind, type) and isinstance(value, kind):
        return value
    violations.append((path, f"Invalid value at '{path}', {json.dumps(value)[:60]}"))
    return None


def _known_fields(
    fields: dict[str, Any], kinds: dict[str, Any], path: str, violations: list[tuple[str, str]]
) -> Iterator[tuple[str, Any]]:
    for name, value in fields.items():
        snake = re.sub(r"(?<=[a-z0-9])([A-Z])", r"_\1", name).lower()
        if snake not in kinds or name not in {snake, _camel(snake)}:
            at = f" at '{path}'" if path else ""
            told = f'Invalid JSON payload received. Unknown name "{name}"{at}: Cannot find field.'
            violations.append((path, told))
        else:
            yield snake, _known(value, kinds[snake], f"{path}.{snake}" if path else snake, violations)


def _camel(snake: str) -> str:
    return re.sub(r"_([a-z0-9])", lambda found: found[1].upper(), snake)


def _images(parts: list[dict[str, Any]]) -> Iterator[ReceivedImage]:
    blobs = [(at, part["inline_data"]) for at, part in enumerate(parts) if part.get("inline_data")]
    if len(blobs) > _MAX_IMAGES:
        raise invalid(f"Please use fewer than {_MAX_IMAGES + 1} images in your request")
    for at, blob in blobs:
        mime_type = blob.get("mime_type", "")
        if mime_type not in _MIME_TYPES:
            raise invalid(f"Unsupported MIME type: {mime_type}")
        data = _decoded(blob.get("data", ""), f"contents[0].parts[{at}].inline_data.data")
        _check_image(data)
        yield ReceivedImage(mime_type=mime_type, data=data)


def _decoded(text: str, path: str) -> bytes:
    """Decode either alphabet of base64, padded or not, as proto-JSON does."""
    standard = text.translate(str.maketrans("-_", "+/")).rstrip("=")
    try:
        return base64.b64decode(standard + "=" * (-len(standard) % 4), validate=True)
    except (binascii.Error, ValueError):
        told = f"Invalid value at '{path}' (TYPE_BYTES), Base64 decoding failed for \"{text[:40]}\""
        raise bad_fields([(path, told)]) from None


def _check_image(data: bytes) -> None:
    try:
        with Image.open(BytesIO(data)) as image:
            image.verify()
    except Exception:  # noqa: BLE001  # Pillow raises all kinds of errors
        raise unreadable_image() from None


def unreadable_image() -> ApiError:
    """Return what is said of an image that cannot be decoded."""
    return invalid(
        "Unable to process input image. Please retry or report in "
        "https://developers.generativeai.google/guide/troubleshooting"
    )


def _check_config(config: dict[str, Any], model: Model) -> None:
    image = config.get("image_config") or {}
    thinking = config.get("thinking_config") or {}
    level = str(thinking.get("thinking_level", "")).lower()
    if not set(config.get("response_modalities") or ()) <= {"TEXT", "IMAGE"}:
        raise bad_fields(
            [("generation_config.response_modalities", "Invalid value at 'response_modalities'")]
        )
    if image.get("aspect_ratio") not in {None, *model.ratios}:
        raise invalid("Invalid aspect ratio for this model.")
    if image.get("image_size") not in {None, *model.sizes}:
        raise invalid("Invalid image size for this model.")
    if thinking and not model.levels:
        raise invalid("Thinking level is not supported for this model.")
    if level and level not in model.levels:
        raise invalid(f"Thinking level {level.upper()} is not supported for this model.")


def _safety(settings: list[dict[str, str]]) -> Iterator[tuple[str, str]]:
    for at, setting in enumerate(settings):
        for name, kind, values in _SAFETY_ENUMS:
            path, value = f"safety_settings[{at}].{name}", setting.get(name, "")
            if value not in values:
                raise bad_fields([(path, f"Invalid value at '{path}' ({_PACKAGE}.{kind}), \"{value}\"")])
        yield setting["category"], setting["threshold"]


_CATEGORIES: Final = frozenset(
    f"HARM_CATEGORY_{name}"
    for name in ("HARASSMENT", "HATE_SPEECH", "SEXUALLY_EXPLICIT", "DANGEROUS_CONTENT", "CIVIC_INTEGRITY")
)
_THRESHOLDS: Final = frozenset(
    {"BLOCK_LOW_AND_ABOVE", "BLOCK_MEDIUM_AND_ABOVE", "BLOCK_ONLY_HIGH", "BLOCK_NONE", "OFF"}
)
_SAFETY_ENUMS: Final = (
    ("category", "HarmCategory", _CATEGORIES),
    ("threshold", "SafetySetting.HarmBlockThreshold", _THRESHOLDS),
)
