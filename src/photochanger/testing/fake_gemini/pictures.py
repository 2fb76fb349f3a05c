"""The answers with a picture: the photo, visibly changed, among the thoughts and drafts that precede it."""

import base64
import json
import math
import re
from io import BytesIO
from typing import Any, Final

from PIL import Image, ImageOps
from PIL.PngImagePlugin import PngInfo

from photochanger.testing.fake_gemini.requests import ReceivedCall, unreadable_image
from photochanger.testing.marks import mark

_PIXELS: Final = {
    "1:1": (1024, 1024),
    "2:3": (848, 1264),
    "3:2": (1264, 848),
    "3:4": (896, 1200),
    "4:3": (1200, 896),
    "4:5": (928, 1152),
    "5:4": (1152, 928),
    "9:16": (768, 1376),
    "16:9": (1376, 768),
    "21:9": (1584, 672),
}
"""Of size 1K, from ai.google.dev/gemini-api/docs/image-generation."""

_SCALES: Final = {"512": 0.5, "1K": 1, "2K": 2, "4K": 4}


def output_size(call: ReceivedCall, photo_size: tuple[int, int]) -> tuple[int, int]:
    """Return the pixels of the picture: of the ratio asked for, else of the one nearest to the photo's."""
    asked = call.image_config.get("aspect_ratio")
    scale = _SCALES[call.image_config.get("image_size", "1K")]
    if asked in _PIXELS:
        width, height = _PIXELS[asked]
    elif asked:
        across, down = map(int, asked.split(":"))
        width, height = (round(1024 * math.sqrt(side) / 16) * 16 for side in (across / down, down / across))
    else:
        shape = photo_size[0] / photo_size[1]
        width, height = min(_PIXELS.values(), key=lambda size: abs(math.log(size[0] / size[1] / shape)))
    return int(width * scale), int(height * scale)


def picture(call: ReceivedCall, mime_type: str = "image/png") -> bytes:
    """Return the photo of `call` in four tones, with metadata of the provider's own that may not go on.

    A call without images gets a grey one.
    """
    photo = _photo(call)
    changed = ImageOps.posterize(ImageOps.fit(photo, output_size(call, photo.size)), 2)
    file = BytesIO()
    if mime_type == "image/jpeg":
        changed.save(file, "JPEG", quality=90, comment=mark("provider"))
    else:
        notes = PngInfo()
        notes.add_text("Comment", mark("provider").decode())
        changed.save(file, "PNG", pnginfo=notes, compress_level=1)
    return file.getvalue()


def _photo(call: ReceivedCall) -> Image.Image:
    if not call.images:
        return Image.new("RGB", (1024, 1024), "grey")
    try:
        with Image.open(BytesIO(call.images[0].data)) as image:
            return image.convert("RGB")
    except Exception:  # noqa: BLE001  # Pillow raises all kinds of errors
        raise unreadable_image() from None


def draft() -> bytes:
    """Return a small red square, which is never the answer."""
    file = BytesIO()
    Image.new("RGB", (64, 64), "red").save(file, "PNG")
    return file.getvalue()


def answer(call: ReceivedCall, image: bytes, mime_type: str, *, urlsafe: bool = False) -> dict[str, Any]:
    """Return the document with `image` as the finished picture, behind a thought and two drafts."""
    parts = [
        {"text": "The guests are to be drawn in four tones.", "thought": True},
        {"inlineData": _blob(draft(), "image/png", urlsafe), "thought": True},
        {"inlineData": _blob(draft(), "image/png", urlsafe)},
        {"inlineData": _blob(image, mime_type, urlsafe), "thoughtSignature": "c2lnbmF0dXJl"},
    ]
    candidate = {
        "content": {"role": "model", "parts": parts},
        "finishReason": "STOP",
        "index": 0,
        "safetyRatings": [{"category": "HARM_CATEGORY_HARASSMENT", "probability": "NEGLIGIBLE"}],
    }
    return {
        "candidates": [candidate],
        "usageMetadata": usage(len(call.images)),
        "modelVersion": call.model,
        "responseId": f"fake{call.number:08d}",
    }


def usage(images: int = 1) -> dict[str, Any]:
    """Return the counts of tokens of a call."""
    prompt, drawn = 7 + 258 * images, 1290
    return {
        "promptTokenCount": prompt,
        "candidatesTokenCount": drawn,
        "totalTokenCount": prompt + drawn,
        "thoughtsTokenCount": 0,
        "promptTokensDetails": [
            {"modality": "TEXT", "tokenCount": 7},
            {"modality": "IMAGE", "tokenCount": 258 * images},
        ],
        "candidatesTokensDetails": [{"modality": "IMAGE", "tokenCount": drawn}],
    }


def _blob(data: bytes, mime_type: str, urlsafe: bool) -> dict[str, str]:
    encode = base64.urlsafe_b64encode if urlsafe else base64.b64encode
    return {"mimeType": mime_type, "data": encode(data).decode()}


def as_json(document: object, *, snake_case: bool = False) -> bytes:
    """Return a document as Gemini writes it, indented; or with its names in the other spelling."""
    return json.dumps(_snake(document) if snake_case else document, indent=2).encode()


def _snake(value: object) -> object:
    if isinstance(value, dict):
        return {re.sub(r"([A-Z])", r"_\1", name).lower(): _snake(item) for name, item in value.items()}
    return [_snake(item) for item in value] if isinstance(value, list) else value
