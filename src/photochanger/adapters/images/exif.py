"""The one thing that is wanted from EXIF (CIPA DC-008): the orientation."""

import struct
from typing import Final

UPRIGHT: Final = 1

_ORIENTATION_TAG: Final = 0x0112
_ENTRY_BYTES: Final = 12
_BYTE_ORDERS: Final = {b"II*\0": "<", b"MM\0*": ">"}


def orientation(exif: bytes) -> int:
    """Return the orientation, 1 to 8; 1 where the data does not say, or cannot be understood.

    `exif` is a TIFF structure, with or without the `Exif` prefix that JPEG puts before it.
    """
    tiff = exif.removeprefix(b"Exif\0\0")
    order = _BYTE_ORDERS.get(tiff[:4])
    if order is None:
        return UPRIGHT
    try:
        return _first_directory_entry(tiff, order)
    except struct.error:
        return UPRIGHT


def _first_directory_entry(tiff: bytes, order: str) -> int:
    (directory,) = struct.unpack_from(f"{order}I", tiff, 4)
    (count,) = struct.unpack_from(f"{order}H", tiff, directory)
    for index in range(count):
        at = directory + 2 + index * _ENTRY_BYTES
        tag, _kind, _count, value = struct.unpack_from(f"{order}HHIH", tiff, at)
        if tag == _ORIENTATION_TAG:
            return value if 1 <= value <= 8 else UPRIGHT
    return UPRIGHT
