"""Photographs for tests: made quickly, the same every time, and full of what must not survive.

Each shows a blurred scene with noise and has a coloured patch in every corner, so that `is_upright` can tell
which way up it is.
"""

import random
from functools import cache
from io import BytesIO
from typing import Final

from PIL import Image, ImageCms, ImageDraw

from photochanger.testing.marks import mark, mark_png, mark_webp, marked_jpeg

CORNERS: Final = ((200, 30, 30), (30, 160, 30), (30, 30, 200), (230, 230, 230))
"""Top left, top right, bottom left, bottom right."""

_STORED_BY: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}
"""How a camera held that way stores an upright scene."""


@cache
def scene(width: int, height: int, noise: float = 0.08) -> Image.Image:
    """Return an upright RGB scene; the more `noise` (0 to 1), the larger its files. Do not change it."""
    source = random.Random(width * 31 + height)  # the same pictures every time
    blobs = Image.frombytes("RGB", (12, 8), source.randbytes(12 * 8 * 3))
    image = Image.blend(blobs.resize((width, height), Image.Resampling.BICUBIC), _grain(width, height), noise)
    draw = ImageDraw.Draw(image)
    side = max(2, min(width, height) // 5)
    for index, colour in enumerate(CORNERS):
        left, top = (width - side) * (index % 2), (height - side) * (index // 2)
        draw.rectangle((left, top, left + side, top + side), fill=colour)
    return image


def _grain(width: int, height: int) -> Image.Image:
    side = 1024
    tile = Image.frombytes("L", (side, side), random.Random(7).randbytes(side * side))
    grain = Image.new("L", (width, height))
    for left in range(0, width, side):
        for top in range(0, height, side):
            grain.paste(tile, (left, top))
    return Image.merge("RGB", (grain, grain, grain))


def is_upright(image: Image.Image, tolerance: int = 60) -> bool:
    """Say whether the coloured corners are where they belong; transparent ones count as they are."""
    rgb = image.convert("RGB").resize((40, 40), Image.Resampling.BOX)
    seen = [rgb.getpixel(at) for at in ((2, 2), (37, 2), (2, 37), (37, 37))]
    return all(
        isinstance(pixel, tuple) and max(abs(a - b) for a, b in zip(pixel, colour, strict=True)) <= tolerance
        for pixel, colour in zip(seen, CORNERS, strict=True)
    )


@cache
def camera_jpeg(
    width: int = 1200,
    height: int = 800,
    *,
    orientation: int = 1,
    quality: int = 92,
    noise: float = 0.08,
    progressive: bool = False,
) -> bytes:
    """Return a JPEG as a camera writes it, with marks in every place that holds metadata.

    `width` and `height` are those of the upright scene. EXIF with GPS, maker note and thumbnail, XMP, IPTC, a
    comment and a second picture behind the end are all there; see `photochanger.testing.marks`.
    """
    image = scene(width, height, noise)
    if orientation in _STORED_BY:
        image = image.transpose(_STORED_BY[orientation])
    return marked_jpeg(
        encoded(image, "JPEG", quality=quality, progressive=progressive), orientation=orientation
    )


def jpeg_3mb(orientation: int = 1) -> bytes:
    """Return a camera's JPEG of 3456 × 2304 pixels and about 3 MB."""
    return camera_jpeg(3456, 2304, orientation=orientation, quality=92, noise=0.1)


def jpeg_24mp(orientation: int = 1) -> bytes:
    """Return a camera's JPEG of 6000 × 4000 pixels and more than 10 MB."""
    return camera_jpeg(6000, 4000, orientation=orientation, quality=92, noise=0.2)


def jpeg_50mb(orientation: int = 1) -> bytes:
    """Return a camera's JPEG of 50 megapixels and about 50 MB."""
    return camera_jpeg(8640, 5760, orientation=orientation, quality=97, noise=0.6)


@cache
def plain_jpeg(width: int = 1200, height: int = 800) -> bytes:
    """Return a JPEG without any metadata."""
    return encoded(scene(width, height), "JPEG", quality=90)


@cache
def png(width: int = 600, height: int = 400, *, mode: str = "RGB", orientation: int = 1) -> bytes:
    """Return a PNG of the given Pillow mode, marked in every place that holds metadata."""
    image = scene(width, height)
    if orientation in _STORED_BY:
        image = image.transpose(_STORED_BY[orientation])
    return mark_png(encoded(_in_mode(image, mode), "PNG"), orientation=orientation)


@cache
def webp(
    width: int = 600, height: int = 400, *, mode: str = "RGB", orientation: int = 1, lossless: bool = False
) -> bytes:
    """Return a WebP of the given Pillow mode, marked in every place that holds metadata."""
    image = scene(width, height)
    if orientation in _STORED_BY:
        image = image.transpose(_STORED_BY[orientation])
    return mark_webp(
        encoded(_in_mode(image, mode), "WEBP", quality=90, lossless=lossless), orientation=orientation
    )


def _in_mode(image: Image.Image, mode: str) -> Image.Image:
    """Return `image` in `mode`; where that has alpha, the middle is transparent."""
    if mode == "I;16":
        grey = image.convert("L")
        wide = b"".join(bytes((0, value)) for value in grey.tobytes())
        return Image.frombytes("I;16", image.size, wide)
    converted = image.convert(mode)
    if mode in {"LA", "RGBA"}:
        alpha = Image.new("L", image.size, 255)
        width, height = image.size
        alpha.paste(0, (width * 3 // 8, height * 3 // 8, width * 5 // 8, height * 5 // 8))
        converted.putalpha(alpha)
    return converted


@cache
def cmyk_jpeg(width: int = 600, height: int = 400) -> bytes:
    """Return a JPEG with four colours, as a printer's prepress makes them."""
    return marked_jpeg(encoded(scene(width, height).convert("CMYK"), "JPEG", quality=92))


@cache
def adobe_rgb_jpeg(width: int = 600, height: int = 400) -> bytes:
    """Return a JPEG whose pixels are in Adobe RGB (1998), with that profile."""
    profile = ImageCms.ImageCmsProfile(BytesIO(adobe_rgb_profile()))
    image = ImageCms.profileToProfile(scene(width, height), ImageCms.createProfile("sRGB"), profile)
    if image is None:
        raise RuntimeError("the image was not converted")
    return marked_jpeg(encoded(image, "JPEG", quality=95, icc_profile=adobe_rgb_profile()))


@cache
def adobe_rgb_profile() -> bytes:
    """Return an ICC profile with the primaries and the gamma of Adobe RGB (1998), made for these tests.

    The numbers are those of the Adobe RGB (1998) Color Image Encoding, section 4, adapted to D50; the layout
    is that of ICC.1:2004-10, clauses 7 and 10.
    """
    tags = {
        b"desc": b"desc" + bytes(4) + (5).to_bytes(4, "big") + b"test\0" + bytes(78),
        b"cprt": b"text" + bytes(4) + mark("icc") + b"\0",
        b"wtpt": _xyz(0.96420, 1.0, 0.82491),
        b"rXYZ": _xyz(0.60974, 0.31111, 0.01947),
        b"gXYZ": _xyz(0.20528, 0.62567, 0.06087),
        b"bXYZ": _xyz(0.14919, 0.06322, 0.74457),
    }
    curve = b"curv" + bytes(4) + (1).to_bytes(4, "big") + round(2.19921875 * 256).to_bytes(2, "big")
    tags |= {b"rTRC": curve, b"gTRC": curve, b"bTRC": curve}
    return _icc_file(tags)


def _xyz(*values: float) -> bytes:
    return b"XYZ " + bytes(4) + b"".join(round(value * 65536).to_bytes(4, "big") for value in values)


def _icc_file(tags: dict[bytes, bytes]) -> bytes:
    table, data = len(tags).to_bytes(4, "big"), b""
    start = 128 + 4 + 12 * len(tags)
    for name, content in tags.items():
        table += name + (start + len(data)).to_bytes(4, "big") + len(content).to_bytes(4, "big")
        data += content + bytes(-len(content) % 4)
    header = bytearray(128)
    header[0:4] = (start + len(data)).to_bytes(4, "big")
    header[8:12] = b"\x02\x40\0\0"
    header[12:24] = b"mntrRGB XYZ "
    header[36:40] = b"acsp"
    header[68:80] = _xyz(0.96420, 1.0, 0.82491)[8:]
    return bytes(header) + table + data


def encoded(image: Image.Image, image_format: str, **options: object) -> bytes:
    """Return `image` as a file of `image_format`, with Pillow's own `options`."""
    buffer = BytesIO()
    image.save(buffer, image_format, **options)
    return buffer.getvalue()


def decoded(data: bytes) -> Image.Image:
    """Return the pixels of a JPEG, PNG or WebP file; raises what Pillow raises."""
    image: Image.Image = Image.open(BytesIO(data), formats=("JPEG", "PNG", "WEBP"))
    image.load()
    return image
