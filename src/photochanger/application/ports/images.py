"""The port to image decoding and encoding."""

from abc import abstractmethod
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import BinaryIO, Protocol

from photochanger.domain.image import ImageInfo, ImageRequirements


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedImage:
    """An image fit for a provider, in a file at its beginning."""

    file: BinaryIO
    info: ImageInfo
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FinishedImage:
    """A provider's picture, checked and cleaned, and its preview, each in a file at its beginning."""

    file: BinaryIO
    info: ImageInfo
    preview: BinaryIO
    preview_info: ImageInfo


class ImageEditor(Protocol):
    """Looks at images and changes them.

    All work happens off the event loop, only a bounded number of decodings runs at once, and the memory each
    takes is bounded by the image limits. Files handed out are anonymous: they vanish with their context or
    with the process, whatever ends it. Files given are read from their beginning and not closed.
    """

    @abstractmethod
    async def inspect(self, file: BinaryIO) -> ImageInfo:
        """Check an upload without decoding it, and return what its header says.

        Raises `UnsupportedMediaType` where the bytes are not one of the accepted types, whatever their name,
        and `InvalidImage` where the image is cut short, beyond the limits, or cannot be an image after all.
        """

    @abstractmethod
    def prepare(
        self, file: BinaryIO, requirements: ImageRequirements
    ) -> AbstractAsyncContextManager[PreparedImage]:
        """Return the image upright, without any metadata, and within the provider's requirements.

        An image that already fits keeps its pixel data bit for bit; others are rotated, scaled down (never
        up) and encoded again, in sRGB. Raises as `inspect` does, and `InvalidImage` where it has to be
        decoded and cannot be.
        """

    @abstractmethod
    def finish(self, file: BinaryIO) -> AbstractAsyncContextManager[FinishedImage]:
        """Check a provider's picture as an upload is checked, remove its metadata, and make its preview.

        The preview is a JPEG of at most 512 pixels on its longer side. Raises as `inspect` does, and
        `InvalidImage` where the picture cannot be decoded.
        """
