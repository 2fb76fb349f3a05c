"""Pictures that say which they are: a number in black and white blocks, which survives every re-encoding."""

import zlib
from dataclasses import dataclass
from io import BytesIO
from typing import Final

from PIL import Image

_BLOCKS: Final = 8
"""On each side of the picture; so it holds 64 bits: 32 of the photo, 16 of the call, 16 to check them."""

_PIXELS: Final = 64


@dataclass(frozen=True, slots=True)
class Numbers:
    """Which photo it is, and which call of the provider drew it: 0 for the photo itself."""

    photo: int
    call: int


def numbered(numbers: Numbers, image_format: str = "JPEG") -> bytes:
    """Return a small picture of these numbers."""
    known = numbers.photo.to_bytes(4, "big") + numbers.call.to_bytes(2, "big")
    bits = int.from_bytes(known + _check(known), "big")
    blocks = Image.new("L", (_BLOCKS, _BLOCKS))
    blocks.putdata([255 * (bits >> (63 - at) & 1) for at in range(_BLOCKS**2)])
    buffer = BytesIO()
    blocks.convert("RGB").resize((_PIXELS, _PIXELS), Image.Resampling.NEAREST).save(buffer, image_format)
    return buffer.getvalue()


def numbers_in(data: bytes) -> Numbers | None:
    """Return the numbers of a picture, however it was encoded meanwhile; None where it has none."""
    try:
        with Image.open(BytesIO(data)) as image:
            blocks = image.convert("L").resize((_BLOCKS, _BLOCKS), Image.Resampling.BOX)
    except OSError:
        return None
    bits = 0
    for level in blocks.tobytes():
        bits = bits << 1 | (level > 127)
    known, check = (bits >> 16).to_bytes(6, "big"), (bits & 0xFFFF).to_bytes(2, "big")
    if check != _check(known):
        return None
    return Numbers(int.from_bytes(known[:4], "big"), int.from_bytes(known[4:], "big"))


def _check(known: bytes) -> bytes:
    return (zlib.crc32(known) & 0xFFFF).to_bytes(2, "big")
