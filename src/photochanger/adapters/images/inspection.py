"""The door: what is accepted as an image, by its bytes and its structure, before anyone decodes it."""

from typing import BinaryIO, Final

from photochanger.adapters.images import jpeg, png, webp
from photochanger.adapters.images.anatomy import Anatomy
from photochanger.domain.errors import InvalidImage, UnsupportedMediaType
from photochanger.domain.image import ImageLimits, ImageType

MAX_DECODE_BYTES: Final = 512_000_000
"""The memory that decoding one image may take."""

_EXAMINE: Final = {
    ImageType.JPEG: jpeg.examine,
    ImageType.PNG: png.examine,
    ImageType.WEBP: webp.examine,
}


def sniff(file: BinaryIO) -> ImageType:
    """Return the type of the bytes in `file`; raise `UnsupportedMediaType` where they are of no other use."""
    file.seek(0)
    head = file.read(12)
    if head.startswith(jpeg.MAGIC):
        return ImageType.JPEG
    if head.startswith(png.MAGIC):
        return ImageType.PNG
    if webp.is_webp(head):
        return ImageType.WEBP
    raise UnsupportedMediaType("Only JPEG, PNG and WebP images are accepted")


def examine(file: BinaryIO, limits: ImageLimits) -> Anatomy:
    """Return what the image in `file` says of itself.

    Raises `UnsupportedMediaType` or `InvalidImage` as `ImageEditor.inspect` does.
    """
    anatomy = _EXAMINE[sniff(file)](file)
    limits.check(anatomy.info)
    if anatomy.decode_bytes > MAX_DECODE_BYTES:
        raise InvalidImage("The image needs more memory than is allowed")
    return anatomy
