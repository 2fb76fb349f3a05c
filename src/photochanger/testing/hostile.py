"""Files that come to harm whoever opens them, or only claim to be images."""

import random
import struct
import zlib
from collections.abc import Iterator
from functools import cache
from io import BytesIO

from PIL import Image

from photochanger.testing.marks import png_chunk, segment
from photochanger.testing.photos import plain_jpeg, scene


@cache
def png_bomb(side: int = 20_000) -> bytes:
    """Return a PNG of side × side pixels in some 50 KB."""
    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    squeeze = zlib.compressobj(9)
    row = bytes(side // 8 + 2)
    data = b"".join(squeeze.compress(row * 100) for _ in range(side // 100)) + squeeze.flush()
    return (
        b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + png_chunk(b"IDAT", data) + png_chunk(b"IEND", b"")
    )


@cache
def jpeg_bomb(width: int = 65_500, height: int = 65_500) -> bytes:
    """Return a small JPEG whose header lies about its size."""
    data = bytearray(plain_jpeg(64, 64))
    frame = data.index(b"\xff\xc0")
    data[frame + 5 : frame + 9] = struct.pack(">HH", height, width)
    return bytes(data)


@cache
def progressive_bomb(side: int = 4000, scans: int = 2000) -> bytes:
    """Return a progressive JPEG with very many empty scans, each of which costs a pass over the image."""
    buffer = BytesIO()
    Image.new("L", (side, side), 128).save(buffer, "JPEG", progressive=True)
    data = buffer.getvalue()
    last = data.rfind(b"\xff\xda")
    return data[:last] + data[last:-2] * scans + data[-2:]


def animated_webp(frames: int = 3) -> bytes:
    """Return a WebP with several frames."""
    return _animation("WEBP", frames)


def animated_png(frames: int = 3) -> bytes:
    """Return a PNG with several frames."""
    return _animation("PNG", frames)


@cache
def _animation(image_format: str, frames: int) -> bytes:
    buffer = BytesIO()
    pictures = [scene(120, 80 + 10 * index).resize((120, 80)) for index in range(frames)]
    pictures[0].save(buffer, image_format, save_all=True, append_images=pictures[1:], duration=100)
    return buffer.getvalue()


def not_images() -> dict[str, bytes]:
    """Return files that are no JPEG, PNG or WebP, whatever they are called."""
    gif = BytesIO()
    Image.new("P", (8, 8)).save(gif, "GIF")
    return {
        "empty": b"",
        "text": b"This is a holiday.jpg, honestly.",
        "html": b"<!doctype html><script>alert(1)</script>",
        "svg": b'<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"/>',
        "pdf": b"%PDF-1.7\n%\xff\xd8\xff\xe0",
        "gif": gif.getvalue(),
        "gif and script": b"GIF89a/*<script>*/=1;alert(1)",
        "heic": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic",
        "tiff": b"II*\0\x08\0\0\0\0\0",
        "riff": b"RIFF\x24\0\0\0WAVEfmt ",
        "html before jpeg": b"<html>" + plain_jpeg(64, 64),
    }


def broken_images() -> dict[str, bytes]:
    """Return files that begin like images and are none, or not all of one."""
    jpeg, png = plain_jpeg(64, 64), png_bomb(80)
    webp = BytesIO()
    scene(64, 64).save(webp, "WEBP")
    return {
        "three bytes of jpeg": b"\xff\xd8\xff",
        "jpeg without a picture": b"\xff\xd8\xff\xd9",
        "jpeg without a frame": b"\xff\xd8" + segment(0xDA, bytes(6)) + b"\xff\xd9",
        "jpeg without pixels": jpeg_bomb(0, 0),
        "jpeg cut in its header": jpeg[:100],
        "jpeg cut in its data": jpeg[:-200],
        "jpeg without its last byte": jpeg[:-1],
        "jpeg of endless comments": b"\xff\xd8" + segment(0xFE, b"") * 200_000,
        "png signature": png[:8],
        "png cut": png[:-20],
        "png without its last byte": png[:-1],
        "png without data": png[:33] + png_chunk(b"IEND", b""),
        "png with two headers": png[:33] + png[8:],
        "png of endless chunks": png[:33] + png_chunk(b"tEXt", b"") * 200_000,
        "webp head": webp.getvalue()[:12],
        "webp cut": webp.getvalue()[:-10],
        "webp without a picture": b"RIFF\x04\0\0\0WEBP",
        "riff that lies": b"RIFF\xff\xff\xff\xffWEBPVP8 \xff\xff\xff\xff",
    }


def polyglots() -> dict[str, bytes]:
    """Return good images that are something else as well."""
    jpeg = plain_jpeg(64, 64)
    return {
        "jpeg and html": jpeg[:2] + segment(0xFE, b"<script>alert(1)</script>") + jpeg[2:],
        "jpeg and zip": jpeg + b"PK\x03\x04" + bytes(100),
        "jpeg and php": jpeg[:2] + segment(0xE1, b"<?php system($_GET[0]) ?>") + jpeg[2:],
    }


def mutations(data: bytes, count: int, seed: int = 1) -> Iterator[bytes]:
    """Yield `count` damaged copies of `data`: bits turned, bytes overwritten, ends cut off, parts doubled."""
    source = random.Random(seed)  # a failure can be repeated
    for _ in range(count):
        copy = bytearray(data)
        for _ in range(source.choice((1, 1, 2, 8, 64))):
            # Headers are short, and it is there that damage does most.
            at = source.randrange(len(copy) if source.random() < 0.5 else min(len(copy), 700))
            match source.randrange(5):
                case 0:
                    copy[at] ^= 1 << source.randrange(8)
                case 1:
                    copy[at] = source.choice((0x00, 0x7F, 0x80, 0xFF))
                case 2:
                    copy[at : at + 4] = source.randbytes(4)
                case 3:
                    copy[at:at] = copy[at : at + source.randrange(1, 50)]
                case _:
                    del copy[at : at + source.choice((1, 2, 4, 40))]
        yield bytes(copy if source.random() < 0.9 else copy[: source.randrange(len(copy))])
