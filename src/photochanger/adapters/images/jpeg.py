"""JPEG files, by ITU-T T.81 annex B: what the header says, and the same file without its metadata."""

import os
import re
import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
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

MAGIC: Final = b"\xff\xd8\xff"

MAX_SCANS: Final = 64
"""Encoders make about ten; each costs a pass over the whole image, however few bytes it has."""

# Marker codes: ITU-T T.81, table B.1.
_SOI: Final = 0xD8
_EOI: Final = 0xD9
_SOS: Final = 0xDA
_APP0: Final = 0xE0
_APP1: Final = 0xE1
_APP2: Final = 0xE2
_APP14: Final = 0xEE
_STANDALONE: Final = frozenset({0x01, *range(0xD0, 0xD8)})
_FRAMES: Final = frozenset({0xC0, 0xC1, 0xC2, 0xC9, 0xCA})
"""Those that libjpeg decodes: sequential and progressive, Huffman and arithmetic."""
_STRUCTURAL: Final = _FRAMES | {0xC4, 0xCC, _SOS, 0xDB, 0xDC, 0xDD}
"""Frames, Huffman and arithmetic tables, scans, quantisation tables, number of lines, restart interval."""
_DROPPED: Final = frozenset({*range(0xE0, 0xFF)})
"""Applications' data, extensions, comments."""

_MARKER_IN_SCAN = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")
"""In entropy-coded data 0xFF is followed by 0x00 or a restart marker, or pads a marker with 0xFF."""

_JFIF: Final = b"JFIF\0"
_ADOBE: Final = b"Adobe"
_ICC: Final = b"ICC_PROFILE\0"


@dataclass(slots=True)
class _Header:
    frame: bytes = b""
    exif: bytes = b""
    icc: dict[int, bytes] = field(default_factory=dict)

    def take(self, marker: int, payload: bytes) -> None:
        if marker in _FRAMES:
            if self.frame:
                raise malformed()
            self.frame = payload
        elif marker == _APP1 and payload.startswith(b"Exif\0\0"):
            self.exif = self.exif or payload
        elif marker == _APP2 and payload.startswith(_ICC) and len(payload) > len(_ICC) + 2:
            self.icc[payload[len(_ICC)]] = payload[len(_ICC) + 2 :]

    def icc_profile(self) -> bytes | None:
        profile = b"".join(self.icc[number] for number in sorted(self.icc))
        return profile if 0 < len(profile) <= MAX_ICC_BYTES else None


def examine(file: BinaryIO) -> Anatomy:
    """Return what the header says; raise `InvalidImage` where it is broken, or the image has no end."""
    header = _Header()
    for marker, payload in _segments(file):
        header.take(marker, payload)
        if marker == _SOS:
            _require_end(file)
            return _anatomy(header)
    raise malformed()


def _require_end(file: BinaryIO) -> None:
    data = file.tell()
    end = file.seek(0, os.SEEK_END)
    file.seek(max(data, end - CHUNK_BYTES // 4))
    if file.read().rfind(bytes((0xFF, _EOI))) < 0:
        # Much may follow the end (a second picture, a film); only then is it worth reading everything.
        for _ in clean(file):
            pass


def clean(file: BinaryIO) -> Iterator[bytes]:
    """Yield the file, in chunks, without metadata, without a thumbnail and without what follows its end."""
    yield bytes((0xFF, _SOI))
    scans = 0
    for marker, payload in _segments(file):
        if marker == _EOI:
            yield bytes((0xFF, _EOI))
            return
        if kept := _kept(marker, payload):
            yield struct.pack(">BBH", 0xFF, marker, len(kept) + 2) + kept
        if marker == _SOS:
            if (scans := scans + 1) > MAX_SCANS:
                raise InvalidImage(f"The image has more than {MAX_SCANS} scans")
            yield from _entropy_coded(file)


def _segments(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """Yield markers and their payloads from the start of the file to its end-of-image marker.

    Whoever takes a scan header may read the scan before asking for more.
    """
    file.seek(len(MAGIC) - 1)
    for _ in range(MAX_PARTS):
        marker = _next_marker(file)
        if marker in _STANDALONE:
            continue
        if marker == _EOI:
            yield marker, b""
            return
        if marker not in _STRUCTURAL and marker not in _DROPPED:
            raise malformed()
        (length,) = struct.unpack(">H", read_exactly(file, 2))
        if length < 2:
            raise malformed()
        payload = read_exactly(file, length - 2)
        if not _is_sound(marker, payload):
            raise malformed()
        yield marker, payload
    raise malformed()


def _is_sound(marker: int, payload: bytes) -> bool:
    """Say whether a structural segment is as long as what it holds: nothing may hide behind that."""
    check = _SOUND.get(marker)
    return check is None or check(payload)


def _is_frame(payload: bytes) -> bool:
    return len(payload) >= 6 and len(payload) == 6 + 3 * payload[5]


def _is_scan(payload: bytes) -> bool:
    return len(payload) >= 4 and len(payload) == 4 + 2 * payload[0]


def _are_huffman_tables(payload: bytes) -> bool:
    at = 0
    while at + 17 <= len(payload):
        at += 17 + sum(payload[at + 1 : at + 17])
    return at == len(payload)


def _are_quantisation_tables(payload: bytes) -> bool:
    at = 0
    while at < len(payload):
        at += 1 + (128 if payload[at] >> 4 else 64)
    return at == len(payload)


# ITU-T T.81, sections B.2.2 to B.2.5.
_SOUND: Final[Mapping[int, Callable[[bytes], bool]]] = {
    **dict.fromkeys(_FRAMES, _is_frame),
    _SOS: _is_scan,
    0xC4: _are_huffman_tables,
    0xDB: _are_quantisation_tables,
    0xCC: lambda payload: len(payload) <= 2 * 32,
    0xDC: lambda payload: len(payload) == 2,
    0xDD: lambda payload: len(payload) == 2,
}


def _next_marker(file: BinaryIO) -> int:
    first, second = read_exactly(file, 2)
    if first == 0xFF and second not in {0x00, 0xFF}:
        return second
    # Padding and stray bytes between segments: cameras write them, and libjpeg skips them.
    file.seek(-2, os.SEEK_CUR)
    while chunk := file.read(CHUNK_BYTES):
        if match := re.search(rb"\xff[^\x00\xff]", chunk):
            file.seek(match.end() - len(chunk), os.SEEK_CUR)
            return chunk[match.end() - 1]
        if chunk.endswith(b"\xff") and len(chunk) > 1:
            file.seek(-1, os.SEEK_CUR)
    raise cut_short()


def _entropy_coded(file: BinaryIO) -> Iterator[bytes]:
    """Yield a scan's data up to the next marker, and leave the file standing there."""
    while len(chunk := file.read(CHUNK_BYTES)) > 1:
        if match := _MARKER_IN_SCAN.search(chunk):
            file.seek(match.start() - len(chunk), os.SEEK_CUR)
            yield chunk[: match.start()]
            return
        if chunk.endswith(b"\xff"):
            file.seek(-1, os.SEEK_CUR)
            chunk = chunk[:-1]
        yield chunk
    raise cut_short()


def _kept(marker: int, payload: bytes) -> bytes:
    if marker in _STRUCTURAL:
        return payload
    if marker == _APP0 and payload.startswith(_JFIF) and len(payload) >= 14:
        return payload[:12] + b"\0\0"  # the last two bytes are the size of a thumbnail that follows
    if marker == _APP14 and payload.startswith(_ADOBE) and len(payload) >= 12:
        return payload[:12]  # says how the colours are coded
    return b""


def _anatomy(header: _Header) -> Anatomy:
    if not header.frame:
        raise malformed()
    precision, height, width, components = struct.unpack(">BHHB", header.frame[:6])
    sampling = header.frame[7 : 6 + 3 * components : 3]
    if precision != 8 or components not in {1, 3, 4}:
        raise malformed()
    info = ImageInfo(image_type=ImageType.JPEG, width=width, height=height)
    return Anatomy(
        info=info,
        orientation=orientation(header.exif) if header.exif else UPRIGHT,
        icc_profile=header.icc_profile(),
        is_plain=components != 4,
        decode_bytes=max(8 * info.pixels, 4 * info.pixels + _coefficient_bytes(info.pixels, sampling)),
    )


def _coefficient_bytes(pixels: int, sampling: bytes) -> int:
    """Return what a progressive decoder keeps: two bytes for each sample of each component."""
    factors = [(byte >> 4, byte & 15) for byte in sampling]
    if not all(1 <= horizontal <= 4 and 1 <= vertical <= 4 for horizontal, vertical in factors):
        raise malformed()
    whole = max(horizontal for horizontal, _ in factors) * max(vertical for _, vertical in factors)
    return 2 * pixels * sum(horizontal * vertical for horizontal, vertical in factors) // whole
