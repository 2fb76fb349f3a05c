"""Marks in every place where an image file can hold metadata, and the search for what is left of them."""

import re
import struct
import zlib
from functools import cache
from io import BytesIO
from typing import Final

from PIL import ExifTags, Image

_MARK: Final = b"PhotoChangerMark:"

_STRUCTURES: Final = {
    "exif": b"Exif\0\0",
    "xmp": b"http://ns.adobe.com/",
    "iptc": b"Photoshop 3.0",
    "icc": b"ICC_PROFILE",
    "mpf": b"MPF\0MM",
    "xmp packet": b"<?xpacket",
    "script": b"<script",
    "zip": b"PK\x03\x04",
}

_ONE_PICTURE: Final = (
    b"MM\0*" + struct.pack(">IHHHIIHHIII", 8, 2, 0xB001, 4, 1, 1, 0xB002, 7, 16, 38, 0) + bytes(16)
)
"""The smallest index of the Multi-Picture Format (CIPA DC-007): the number of images, 1, and its entry."""


def mark(place: str) -> bytes:
    """Return the mark of a place: `PhotoChangerMark:gps`."""
    return _MARK + place.encode()


def metadata_markers(data: bytes) -> list[str]:
    """Return which marks, and which kinds of metadata, are left in `data`; an empty list is a clean image."""
    marks = {match.decode() for match in re.findall(rb"PhotoChangerMark:([a-z ]+)", data)}
    kinds = {kind for kind, structure in _STRUCTURES.items() if structure in data}
    return sorted(marks | kinds | _containers_of_metadata(data))


def _containers_of_metadata(data: bytes) -> set[str]:
    if data.startswith(b"\xff\xd8"):
        return {f"segment {marker:02X}" for marker in _jpeg_markers(data) if marker in _JPEG_METADATA}
    if data.startswith(b"\x89PNG"):
        return {f"chunk {kind}" for kind in _png_chunks(data) if kind not in _PNG_PICTURE}
    if data.startswith(b"RIFF"):
        return {f"chunk {kind}" for kind in _webp_chunks(data) if kind not in _WEBP_PICTURE}
    return {"not an image"}


_JPEG_METADATA: Final = frozenset({*range(0xE1, 0xEE), 0xEF, 0xFE, 0x00})
_PNG_PICTURE: Final = frozenset({"IHDR", "PLTE", "IDAT", "IEND", "tRNS", "sRGB", "gAMA", "cHRM"})
_WEBP_PICTURE: Final = frozenset({"VP8X", "VP8 ", "VP8L", "ALPH"})


def _jpeg_markers(data: bytes) -> list[int]:
    """Return all markers from start to end of image, and 0 where something follows."""
    markers, at = [], 2
    while (marker := data[at + 1]) != 0xD9:
        if marker not in {0x00, 0xFF} and not 0xD0 <= marker <= 0xD7:
            markers.append(marker)
            at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        else:
            at += 1 if marker == 0xFF else 2
        at = data.index(b"\xff", at)
    return markers if at + 2 == len(data) else [*markers, 0]


def _png_chunks(data: bytes) -> list[str]:
    kinds, at = [], 8
    while at < len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        kinds.append(kind.decode("latin-1"))
        at += length + 12
        if kind == b"IEND" and at < len(data):
            kinds.append("behind the end")
            break
    return kinds


def _webp_chunks(data: bytes) -> list[str]:
    kinds, at = [], 12
    (size,) = struct.unpack_from("<I", data, 4)
    if size + 8 != len(data):
        kinds.append("behind the end")
    while at < size + 8:
        kind, length = struct.unpack_from("<4sI", data, at)
        kinds.append(kind.decode("latin-1"))
        at += 8 + length + length % 2
    return kinds


@cache
def exif(orientation: int = 1) -> bytes:
    """Return EXIF as a camera writes it, with GPS, a maker note and a thumbnail, all marked."""
    data = Image.Exif()
    data[ExifTags.Base.Make] = mark("make").decode()
    data[ExifTags.Base.Model] = mark("model").decode()
    data[ExifTags.Base.Artist] = mark("artist").decode()
    data[ExifTags.Base.Orientation] = orientation
    details = data.get_ifd(ExifTags.IFD.Exif)
    details[ExifTags.Base.DateTimeOriginal] = "2026:11:20 21:15:00"
    details[ExifTags.Base.MakerNote] = mark("maker note")
    details[ExifTags.Base.BodySerialNumber] = mark("serial").decode()
    details[ExifTags.Base.UserComment] = b"ASCII\0\0\0" + mark("user comment")
    gps = data.get_ifd(ExifTags.IFD.GPSInfo)
    gps[ExifTags.GPS.GPSLatitudeRef], gps[ExifTags.GPS.GPSLatitude] = "N", (55.0, 45.0, 21.0)
    gps[ExifTags.GPS.GPSLongitudeRef], gps[ExifTags.GPS.GPSLongitude] = "E", (37.0, 37.0, 2.0)
    gps[ExifTags.GPS.GPSAreaInformation] = b"ASCII\0\0\0" + mark("gps")
    data[ExifTags.IFD.Exif], data[ExifTags.IFD.GPSInfo] = details, gps
    return with_thumbnail(data.tobytes(), _thumbnail())


def with_thumbnail(exif_data: bytes, thumbnail: bytes) -> bytes:
    """Return EXIF (with its prefix) with `thumbnail` as its second directory (TIFF IFD1)."""
    prefix, tiff = exif_data[:6], bytearray(exif_data[6:])
    order = "<" if tiff.startswith(b"II") else ">"
    tiff += bytes(len(tiff) % 2)
    (first,) = struct.unpack_from(f"{order}I", tiff, 4)
    (count,) = struct.unpack_from(f"{order}H", tiff, first)
    struct.pack_into(f"{order}I", tiff, first + 2 + 12 * count, len(tiff))
    at = len(tiff) + 2 + 3 * 12 + 4
    directory = struct.pack(f"{order}H", 3) + struct.pack(f"{order}HHIHH", 0x0103, 3, 1, 6, 0)
    for tag, value in ((0x0201, at), (0x0202, len(thumbnail))):
        directory += struct.pack(f"{order}HHII", tag, 4, 1, value)
    return prefix + bytes(tiff) + directory + bytes(4) + thumbnail


def _thumbnail() -> bytes:
    buffer = BytesIO()
    Image.new("RGB", (160, 120), "orange").save(buffer, "JPEG", comment=mark("thumbnail"))
    return buffer.getvalue()


def xmp() -> bytes:
    """Return a marked XMP packet."""
    return (
        b'<?xpacket begin="" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
        + mark("xmp")
        + b"</x:xmpmeta><?xpacket end='w'?>"
    )


def segment(marker: int, payload: bytes) -> bytes:
    """Return a JPEG segment."""
    return struct.pack(">BBH", 0xFF, marker, len(payload) + 2) + payload


def marked_jpeg(data: bytes, *, orientation: int = 1) -> bytes:
    """Return the JPEG `data` (as Pillow writes it) with marks before, between and behind its parts."""
    head = (
        segment(0xE1, exif(orientation))
        + segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + xmp())
        + segment(0xE2, b"MPF\0" + _ONE_PICTURE + mark("mpf"))
        + segment(0xED, b"Photoshop 3.0\x008BIM\x04\x04\0\0" + mark("iptc"))
        + segment(0xEF, mark("app fifteen"))
        + segment(0xFE, b"<script>" + mark("comment") + b"</script>")
    )
    jfxx = segment(0xE0, b"JFXX\0\x10" + mark("jfxx"))
    behind = _thumbnail() + b"PK\x03\x04" + mark("behind the end")
    jfif_end = 2 + 2 + int.from_bytes(data[4:6], "big") if data[2:4] == b"\xff\xe0" else 2
    between = data.rfind(b"\xff\xda") if data.count(b"\xff\xc2") else len(data) - 2
    late = segment(0xFE, mark("between scans"))
    return data[:jfif_end] + jfxx + head + data[jfif_end:between] + late + data[between:] + behind


def png_chunk(kind: bytes, payload: bytes) -> bytes:
    """Return a PNG chunk with its checksum."""
    return struct.pack(">I4s", len(payload), kind) + payload + struct.pack(">I", zlib.crc32(kind + payload))


def mark_png(data: bytes, *, orientation: int = 1) -> bytes:
    """Return the PNG `data` with marks before and behind its picture."""
    before = (
        png_chunk(b"eXIf", exif(orientation).removeprefix(b"Exif\0\0"))
        + png_chunk(b"tEXt", b"Comment\0" + mark("text"))
        + png_chunk(b"zTXt", b"Comment\0\0" + zlib.compress(mark("compressed text")))
        + png_chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp())
        + png_chunk(b"tIME", bytes(7))
        + png_chunk(b"prVt", mark("private"))
    )
    return data[:33] + before + data[33:] + mark("behind the end")


def mark_webp(data: bytes, *, orientation: int = 1) -> bytes:
    """Return the WebP `data` (as Pillow writes it, still) with marks behind its picture."""
    body = data[12:]
    if body[:4] == b"VP8X":
        extended, body = body[:18], body[18:]
    else:
        width, height = Image.open(BytesIO(data)).size
        size = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
        extended = struct.pack("<4sI4x", b"VP8X", 10) + size
    extended = extended[:8] + bytes((extended[8] | 0x0C,)) + extended[9:]
    chunks = (b"EXIF", exif(orientation)), (b"XMP ", xmp()), (b"MARK", mark("private"))
    rest = b"".join(
        struct.pack("<4sI", kind, len(content)) + content + bytes(len(content) % 2)
        for kind, content in chunks
    )
    content = b"WEBP" + extended + body + rest
    return struct.pack("<4sI", b"RIFF", len(content)) + content + mark("behind the end")
