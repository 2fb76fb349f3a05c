"""What PhotoChanger accepts as an image, and what a provider may ask of one."""

from dataclasses import dataclass
from enum import StrEnum

from photochanger.domain.errors import InvalidImage

MEGAPIXEL = 1_000_000


class ImageType(StrEnum):
    """The accepted types, by their media type; decided by the bytes, never by a name or a declared type."""

    JPEG = "image/jpeg"
    PNG = "image/png"
    WEBP = "image/webp"

    @property
    def extension(self) -> str:
        """The usual file extension, with its dot."""
        return {ImageType.JPEG: ".jpg", ImageType.PNG: ".png", ImageType.WEBP: ".webp"}[self]


def image_type_of(beginning: bytes) -> ImageType | None:
    """Return the type that a file's first twelve bytes claim, or None; it may be broken all the same."""
    if beginning.startswith(b"\xff\xd8\xff"):
        return ImageType.JPEG
    if beginning.startswith(b"\x89PNG\r\n\x1a\n"):
        return ImageType.PNG
    is_webp = beginning.startswith(b"RIFF") and beginning[8:12] == b"WEBP"
    return ImageType.WEBP if is_webp else None


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageInfo:
    """What the header of an image says: type, and size in pixels as stored (before EXIF orientation)."""

    image_type: ImageType
    width: int
    height: int
    frames: int = 1

    @property
    def pixels(self) -> int:
        """Width × height."""
        return self.width * self.height


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageLimits:
    """How large an image may be before anyone decodes it.

    The defaults are those of imgproxy: 50 megapixels, one frame.
    """

    max_pixels: int = 50 * MEGAPIXEL
    max_frames: int = 1

    def check(self, info: ImageInfo) -> None:
        """Raise `InvalidImage` where `info` is beyond these limits."""
        if info.width < 1 or info.height < 1:
            raise InvalidImage("The image has no pixels")
        if info.pixels > self.max_pixels:
            raise InvalidImage(
                f"The image has {info.width} × {info.height} pixels; "
                f"{self.max_pixels / MEGAPIXEL:g} megapixels are allowed"
            )
        if info.frames > self.max_frames:
            raise InvalidImage(f"The image has {info.frames} frames; {self.max_frames} is allowed")


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRequirements:
    """What a provider accepts: types, the longer side in pixels, and bytes."""

    types: frozenset[ImageType] = frozenset(ImageType)
    max_side_px: int = 4096
    max_bytes: int = 15_000_000

    def __post_init__(self) -> None:
        if not self.types:
            raise ValueError("a provider accepts at least one image type")

    def are_met_by(self, info: ImageInfo, size_bytes: int) -> bool:
        """Say whether an image can be passed on without being scaled or re-encoded."""
        return (
            info.image_type in self.types
            and max(info.width, info.height) <= self.max_side_px
            and size_bytes <= self.max_bytes
        )

    @property
    def preferred_type(self) -> ImageType:
        """The type to re-encode to: JPEG where it is accepted, for photos are small in it."""
        return ImageType.JPEG if ImageType.JPEG in self.types else min(self.types)
