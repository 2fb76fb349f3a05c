"""Pixels: decoding, colours, size, orientation, encoding.

Only clean files come here, so what Pillow parses is the picture and nothing else, and what it saves cannot
hold anything that was not drawn. At most two copies of an image exist at any moment.
"""

from io import BytesIO, RawIOBase
from typing import BinaryIO, Final, cast

from PIL import Image, ImageCms

from photochanger.adapters.images.anatomy import Anatomy
from photochanger.domain.errors import InvalidImage
from photochanger.domain.image import ImageInfo, ImageType

_FORMATS: Final = {ImageType.JPEG: "JPEG", ImageType.PNG: "PNG", ImageType.WEBP: "WEBP"}

_UPRIGHT_BY: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What makes an image upright, by its EXIF orientation (CIPA DC-008, tag 0x0112)."""

_QUALITIES: Final = {
    ImageType.JPEG: (92, 85, 78, 70),
    ImageType.PNG: (100,),
    ImageType.WEBP: (92, 85, 78, 70),
}
_SMALLER: Final = 0.75
_SMALLEST_SIDE_PX: Final = 16
_REDUCING_GAP: Final = 2.0
"""Pillow: "very close to fair resampling while still being faster"."""
_LANCZOS_UP_TO_PX: Final = 1024
"""Above, LANCZOS costs 250 ms more than BICUBIC for a 24 MP photo, and nobody sees the difference."""

# Pillow keeps pixels in blocks, by default of 16 MiB, which glibc's malloc takes from its heaps and does not
# give back: 420 MB stayed with the process after one photo of 50 MP. Blocks of more than 32 MiB (malloc's
# largest mmap threshold) are mapped, and gone when they are freed.
Image.core.set_block_size(40 * 1024 * 1024)  # type: ignore[attr-defined]


def render(clean: BinaryIO, anatomy: Anatomy, *, max_side_px: int | None = None) -> Image.Image:
    """Return the image decoded, upright, in 8-bit sRGB (or grey), scaled down to `max_side_px` if given."""
    # Nested, not step by step: a name in this function would keep an image that is not needed any more.
    image = _upright(
        _in_srgb(
            _in_eight_bits(
                _shrunk(
                    Image.open(clean, formats=(_FORMATS[anatomy.info.image_type],)),
                    max(anatomy.info.width, anatomy.info.height) if max_side_px is None else max_side_px,
                )
            ),
            anatomy.icc_profile,
        ),
        anatomy.orientation,
    )
    image.info = {}
    return image


def encode(
    image: Image.Image, image_type: ImageType, target: BinaryIO, *, max_bytes: int | None = None
) -> ImageInfo:
    """Write `image` to the empty file `target`, as good as `max_bytes` allows, and return what it is now.

    Raises `InvalidImage` where even a tiny image would be too large.
    """
    if image_type is ImageType.JPEG:
        image = without_alpha(image)
    for quality in _QUALITIES[image_type]:
        if _save(image, image_type, target, quality, max_bytes):
            return _info(image, image_type)
    while min(image.size) > _SMALLEST_SIDE_PX:
        image = _shrunk(image, round(max(image.size) * _SMALLER))
        if _save(image, image_type, target, _QUALITIES[image_type][-1], max_bytes):
            return _info(image, image_type)
    raise InvalidImage("The image cannot be made small enough")


def encode_preview(image: Image.Image, target: BinaryIO, *, max_side_px: int, quality: int) -> ImageInfo:
    """Write a small JPEG of `image` to the empty file `target`; may change `image`."""
    image = without_alpha(_shrunk(image, max_side_px))
    image.save(_sink(target), "JPEG", quality=quality)
    target.flush()
    target.seek(0)
    return _info(image, ImageType.JPEG)


def without_alpha(image: Image.Image) -> Image.Image:
    """Return `image` on a white ground."""
    if not image.has_transparency_data:
        return image
    ground = Image.new("RGB", image.size, "white")
    ground.paste(image, mask=image)
    return ground


class _Sink(RawIOBase):
    """A file without a descriptor.

    Where there is one, Pillow writes a JPEG past the file, and takes a write that fell short for a whole one
    (`encode_to_file` in src/encode.c, 13.0): on a disk that becomes full the picture lacks its end.
    """

    def __init__(self, target: BinaryIO) -> None:
        self._target = target

    def writable(self) -> bool:
        return True

    def write(self, chunk: bytes) -> int:  # type: ignore[override]
        return self._target.write(chunk)


def _sink(target: BinaryIO) -> BinaryIO:
    return cast("BinaryIO", _Sink(target))


def _shrunk(image: Image.Image, max_side_px: int) -> Image.Image:
    scale = max_side_px / max(image.size)
    if scale >= 1:
        return image
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    image.draft(None, size)  # JPEG: most of the way while decoding, at a fraction of the price
    image = _in_eight_bits(image)
    if has_alpha := image.mode == "RGBA":
        image = image.convert("RGBa")  # as resize would, keeping the other copy
    small = max_side_px <= _LANCZOS_UP_TO_PX
    resample = Image.Resampling.LANCZOS if small else Image.Resampling.BICUBIC
    image = image.resize(size, resample, reducing_gap=_REDUCING_GAP)
    return image.convert("RGBA") if has_alpha else image


def _in_eight_bits(image: Image.Image) -> Image.Image:
    """Return the image as grey, RGB, RGBA or CMYK with 8 bits a channel, decoded."""
    image.load()
    if image.mode.startswith("I"):
        return image.point(lambda value: value * (1 / 256)).convert("L")
    if image.mode in {"L", "RGB", "RGBA", "CMYK"} and "transparency" not in image.info:
        return image
    if image.has_transparency_data:
        return image.convert("RGBA")
    return image.convert("L" if image.mode == "1" else "RGB")


def _in_srgb(image: Image.Image, icc_profile: bytes | None) -> Image.Image:
    if icc_profile is not None:
        image = _by_profile(image, icc_profile)
    return image.convert("RGB") if image.mode == "CMYK" else image


def _by_profile(image: Image.Image, icc_profile: bytes) -> Image.Image:
    mode = "RGBA" if image.mode == "RGBA" else "RGB"
    try:
        converted = ImageCms.profileToProfile(
            image,
            ImageCms.ImageCmsProfile(BytesIO(icc_profile)),
            ImageCms.createProfile("sRGB"),
            renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
            outputMode=mode,
            inPlace=image.mode == mode,
            flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
    except (ImageCms.PyCMSError, OSError, ValueError):
        return image  # as browsers do with a profile that is broken or meant for other pixels
    return converted or image


def _upright(image: Image.Image, orientation: int) -> Image.Image:
    method = _UPRIGHT_BY.get(orientation)
    return image if method is None else image.transpose(method)


def _save(
    image: Image.Image, image_type: ImageType, target: BinaryIO, quality: int, max_bytes: int | None
) -> bool:
    target.seek(0)
    target.truncate()
    match image_type:
        case ImageType.JPEG:
            image.save(_sink(target), "JPEG", quality=quality, subsampling="4:4:4")
        case ImageType.PNG:
            image.save(target, "PNG")
        case ImageType.WEBP:
            image.save(target, "WEBP", quality=quality)
    target.flush()
    size = target.seek(0, 2)
    target.seek(0)
    return max_bytes is None or size <= max_bytes


def _info(image: Image.Image, image_type: ImageType) -> ImageInfo:
    return ImageInfo(image_type=image_type, width=image.width, height=image.height)
