"""PNG files (W3C PNG, third edition): what the chunks say, and the same file without its metadata."""

import os
import struct
import zlib
from collections.abc import Iterator
from typing import BinaryIO, Final

from photochanger.adapters.images.anatomy import (
    CHUNK_BYTES,
    MAX_ICC_BYTES,
    MAX_PARTS,
    Anatomy,
    cut_short,
    malformed,
    read_exactly,
)
from photochanger.adapters.images.exif import UPRIGHT, orientation
from photochanger.domain.image import ImageInfo, ImageType

MAGIC: Final = b"\x89PNG\r\n\x1a\n"

_BIT_DEPTHS: Final = {0: {1, 2, 4, 8, 16}, 2: {8, 16}, 3: {1, 2, 4, 8}, 4: {8, 16}, 6: {8, 16}}
"""By colour type: section 11.2.1."""

_KEPT: Final = {
    b"IHDR": 13,
    b"PLTE": 768,
    b"IDAT": 2**31 - 1,
    b"IEND": 0,
    b"tRNS": 256,
    b"sRGB": 1,
    b"gAMA": 4,
    b"cHRM": 32,
}
"""Chunks without which the pixels would look different, and how long each may be."""

_CHUNK_OVERHEAD: Final = 12


def examine(file: BinaryIO) -> Anatomy:
    """Return what the chunks say; raise `InvalidImage` where they are broken or not all there."""
    turned, profile, declared, frames = UPRIGHT, None, 1, 0
    for kind, length in _chunks(file):
        if kind == b"eXIf":
            turned = orientation(read_exactly(file, min(length, CHUNK_BYTES)))
        elif kind == b"iCCP":
            profile = _icc_profile(read_exactly(file, min(length, MAX_ICC_BYTES)))
        elif kind == b"acTL" and length >= 4:
            (declared,) = struct.unpack(">I", read_exactly(file, 4))
        elif kind == b"fcTL":
            frames += 1
    depth, info = _header(file, max(declared, frames, 1))
    return Anatomy(
        info=info,
        orientation=turned,
        icc_profile=profile,
        is_plain=depth <= 8,
        decode_bytes=9 * info.pixels,
    )


def clean(file: BinaryIO) -> Iterator[bytes]:
    """Yield the file, in chunks, without metadata and without what follows its end."""
    yield MAGIC
    for kind, length in _chunks(file):
        if length <= _KEPT.get(kind, -1):
            yield struct.pack(">I4s", length, kind)
            yield from _copied(file, length + 4)


def _chunks(file: BinaryIO) -> Iterator[tuple[bytes, int]]:
    """Yield type and length of every chunk; the file then stands at the chunk's data."""
    size = file.seek(0, os.SEEK_END)
    at = len(MAGIC)
    seen: set[bytes] = set()
    for _ in range(MAX_PARTS):
        file.seek(at)
        length, kind = struct.unpack(">I4s", read_exactly(file, 8))
        at += length + _CHUNK_OVERHEAD
        if at > size:
            raise cut_short()
        if (kind == b"IHDR") == bool(seen):
            raise malformed()
        seen.add(kind)
        yield kind, length
        if kind == b"IEND":
            if b"IDAT" not in seen:
                raise malformed()
            return
    raise malformed()


def _header(file: BinaryIO, frames: int) -> tuple[int, ImageInfo]:
    file.seek(len(MAGIC))
    length, width, height, depth, colour, compression, filtering, interlace = struct.unpack(
        ">I4xIIBBBBB", read_exactly(file, 21)
    )
    if length != 13 or depth not in _BIT_DEPTHS.get(colour, ()) or compression or filtering or interlace > 1:
        raise malformed()
    return depth, ImageInfo(image_type=ImageType.PNG, width=width, height=height, frames=frames)


def _icc_profile(data: bytes) -> bytes | None:
    _name, _, rest = data.partition(b"\0")
    inflate = zlib.decompressobj()
    try:
        profile = inflate.decompress(rest[1:], MAX_ICC_BYTES)
    except zlib.error:
        return None
    return profile if inflate.eof else None


def _copied(file: BinaryIO, length: int) -> Iterator[bytes]:
    while length:
        chunk = read_exactly(file, min(length, CHUNK_BYTES))
        length -= len(chunk)
        yield chunk
