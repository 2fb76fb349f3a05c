"""Removal of metadata without touching a pixel: what shows the picture is copied, and nothing else.

Lists of what to keep are short and known; lists of what cameras and editors add never end.
"""

from typing import BinaryIO, Final

from photochanger.adapters.images import jpeg, png, webp
from photochanger.domain.image import ImageType

_CLEAN: Final = {ImageType.JPEG: jpeg.clean, ImageType.PNG: png.clean, ImageType.WEBP: webp.clean}


def write_clean(source: BinaryIO, image_type: ImageType, target: BinaryIO) -> int:
    """Write the image in `source` to the empty file `target` without metadata, and return its size in bytes.

    Memory does not grow with the file. Raises `InvalidImage` where the structure is broken.
    """
    size = 0
    for chunk in _CLEAN[image_type](source):
        size += target.write(chunk)
    target.flush()
    target.seek(0)
    return size
