"""WebP files, by the WebP Container Specification: what the chunks say, and the file without metadata."""

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
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
from photochanger.domain.errors import InvalidImage
from photochanger.domain.image import ImageInfo, ImageType

_ALPHA_FLAG: Final = 0x10
_KEPT: Final = (b"VP8X", b"ALPH", b"VP8 ", b"VP8L")
_BITSTREAMS: Final = (b"VP8 ", b"VP8L")

_BYTES_PER_PIXEL: Final = 16
"""libwebp's animation decoder, which Pillow uses for still pictures as well, holds two canvases."""


@dataclass(frozen=True, slots=True)
class _Chunk:
    kind: bytes
    at: int
    length: int

    @property
    def padded(self) -> int:
        return self.length + self.length % 2

    def read(self, file: BinaryIO, limit: int) -> bytes:
        file.seek(self.at)
        return read_exactly(file, min(self.length, limit))


def is_webp(head: bytes) -> bool:
    """Say whether a file that begins with `head` (12 bytes) is a WebP."""
    return head[:4] == b"RIFF" and head[8:12] == b"WEBP"


def examine(file: BinaryIO) -> Anatomy:
    """Return what the chunks say; raise `InvalidImage` where they are broken or not all there."""
    chunks = list(_chunks(file))
    first = {chunk.kind: chunk for chunk in reversed(chunks)}
    frames = sum(chunk.kind == b"ANMF" for chunk in chunks)
    width, height = _size(file, first)
    info = ImageInfo(image_type=ImageType.WEBP, width=width, height=height, frames=max(frames, 1))
    if frames == 1:
        raise InvalidImage("An animated WebP is not accepted")
    if not frames and not any(kind in first for kind in _BITSTREAMS):
        raise malformed()
    exif, icc = first.get(b"EXIF"), first.get(b"ICCP")
    return Anatomy(
        info=info,
        orientation=orientation(exif.read(file, CHUNK_BYTES)) if exif else UPRIGHT,
        icc_profile=icc.read(file, MAX_ICC_BYTES) or None if icc else None,
        is_plain=True,
        decode_bytes=_BYTES_PER_PIXEL * info.pixels + 2 * file.seek(0, os.SEEK_END),
    )


def clean(file: BinaryIO) -> Iterator[bytes]:
    """Yield the file, in chunks, without metadata and without what follows its end."""
    first = {chunk.kind: chunk for chunk in reversed(list(_chunks(file)))}
    bitstream = next((first[kind] for kind in _BITSTREAMS if kind in first), None)
    kept = [first[kind] for kind in (b"VP8X", b"ALPH") if kind in first]
    if bitstream is None:
        raise malformed()
    kept.append(bitstream)
    yield struct.pack("<4sI4s", b"RIFF", 4 + sum(8 + chunk.padded for chunk in kept), b"WEBP")
    for chunk in kept:
        yield struct.pack("<4sI", chunk.kind, chunk.length)
        yield from _copied(file, chunk)


def _copied(file: BinaryIO, chunk: _Chunk) -> Iterator[bytes]:
    file.seek(chunk.at)
    left = chunk.padded
    while left:
        data = read_exactly(file, min(left, CHUNK_BYTES))
        if chunk.kind == b"VP8X" and left == chunk.padded:
            data = bytes((data[0] & _ALPHA_FLAG, 0, 0, 0)) + data[4:]  # the rest announces what is gone
        left -= len(data)
        yield data


def _chunks(file: BinaryIO) -> Iterator[_Chunk]:
    size = file.seek(0, os.SEEK_END)
    file.seek(4)
    (length,) = struct.unpack("<I", read_exactly(file, 4))
    at, end = 12, 8 + length
    if end > size:
        raise cut_short()
    for _ in range(MAX_PARTS):
        if at + 8 > end:
            return
        file.seek(at)
        kind, length = struct.unpack("<4sI", read_exactly(file, 8))
        chunk = _Chunk(kind, at + 8, length)
        at = chunk.at + chunk.padded
        if at > end:
            raise cut_short()
        yield chunk
    raise malformed()


def _size(file: BinaryIO, first: dict[bytes, _Chunk]) -> tuple[int, int]:
    for kind, parse in ((b"VP8X", _canvas), (b"VP8 ", _lossy), (b"VP8L", _lossless)):
        if chunk := first.get(kind):
            head = chunk.read(file, 10)
            if len(head) < 5 or (kind != b"VP8L" and len(head) < 10):
                raise malformed()
            return parse(head)
    raise malformed()


def _canvas(head: bytes) -> tuple[int, int]:
    return int.from_bytes(head[4:7], "little") + 1, int.from_bytes(head[7:10], "little") + 1


def _lossy(head: bytes) -> tuple[int, int]:
    """Read a key frame's header: RFC 6386, section 9.1."""
    if head[3:6] != b"\x9d\x01\x2a":
        raise malformed()
    width, height = struct.unpack_from("<HH", head, 6)
    return width & 0x3FFF, height & 0x3FFF


def _lossless(head: bytes) -> tuple[int, int]:
    """Read the header of the WebP Lossless Bitstream Specification, section 3."""
    if head[0] != 0x2F:
        raise malformed()
    (bits,) = struct.unpack_from("<I", head, 1)
    return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
