"""What the readers of the three formats find, without decoding a pixel."""

from dataclasses import dataclass
from typing import BinaryIO, Final

from photochanger.domain.errors import InvalidImage
from photochanger.domain.image import ImageInfo

CHUNK_BYTES: Final = 256 * 1024

MAX_PARTS: Final = 100_000
"""Segments or chunks in one file; more are an attack on whoever walks them."""

MAX_ICC_BYTES: Final = 4 * 1024 * 1024
"""Larger colour profiles are ignored; those of printers have up to 3 MB."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Anatomy:
    """An image as its container describes it.

    `orientation` is the EXIF value, 1 to 8, where 1 is upright. `is_plain` says that the pixels are 8-bit
    grey or RGB, with or without alpha or palette, as everyone can read them. `decode_bytes` is an upper
    estimate of the memory that decoding and rotating takes.
    """

    info: ImageInfo
    orientation: int
    icc_profile: bytes | None
    is_plain: bool
    decode_bytes: int

    @property
    def needs_rendering(self) -> bool:
        """Whether the pixels have to change before the metadata can go."""
        return self.orientation != 1 or self.icc_profile is not None or not self.is_plain


def read_exactly(file: BinaryIO, size: int) -> bytes:
    """Return the next `size` bytes, or raise `InvalidImage` where there are fewer."""
    data = file.read(size)
    if len(data) < size:
        raise cut_short()
    return data


def cut_short() -> InvalidImage:
    """Return the error for a file that ends too early."""
    return InvalidImage("The image is cut short")


def malformed() -> InvalidImage:
    """Return the error for a file that breaks its own format."""
    return InvalidImage("The image is broken")
