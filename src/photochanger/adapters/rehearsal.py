"""A provider without key, network or cost: to try a booth before an event, or a fresh machine.

Its effects are plain image processing, made to be told from the original at a glance. Its parameters
`delay_ms` and `outcome` rehearse what goes wrong with real providers.
"""

import asyncio
import math
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from types import MappingProxyType
from typing import BinaryIO, Final

from PIL import Image, ImageChops, ImageEnhance, ImageFilter, ImageOps

from photochanger.application.ports.providers import ImageProvider, TransformRequest
from photochanger.domain.errors import ProviderError, ProviderMisconfigured, ProviderNoImage
from photochanger.domain.image import ImageRequirements
from photochanger.domain.operation import Operation, Parameter, ParameterValue, ProviderDescription

JPEG_QUALITY: Final = 90


def comic(photo: Image.Image) -> Image.Image:
    """Flatten the colours into a few strong tones, and draw black lines along the edges."""
    small = photo.reduce(max(1, math.ceil(max(photo.size) / 560))).filter(ImageFilter.MedianFilter(3))
    luma, blue, red = small.convert("YCbCr").split()
    tones = Image.merge("YCbCr", (luma.point(_STEPS), blue, red)).convert("RGB")
    flat = ImageEnhance.Color(tones).enhance(1.75).resize(photo.size, Image.Resampling.BILINEAR)
    return ImageChops.multiply(flat, _ink(photo))


def _ink(photo: Image.Image) -> Image.Image:
    """Return black lines on white where the photo is darker than its surroundings."""
    width = max(0.8, max(photo.size) / 900)
    fine = photo.convert("L").filter(ImageFilter.BoxBlur(width * 0.9))
    difference = ImageChops.subtract(fine, fine.filter(ImageFilter.BoxBlur(width * 1.6)), 1, 128)
    lines = difference.point(
        [255 if value > 124 else max(0, 255 - (124 - value) * 26) for value in range(256)]
    )
    return Image.merge("RGB", (lines, lines, lines))


def _step(value: int, steps: int = 6) -> int:
    """Return `value` moved to one of a few tones, with soft edges between them."""
    tone, between = divmod(value * steps / 255, 1)
    ramp = min(1.0, max(0.0, (between - 0.35) / 0.3))
    return min(255, round((tone + ramp * ramp * (3 - 2 * ramp)) / steps * 255 * 1.06))


_STEPS: Final = [_step(value) for value in range(256)]


def pencil(photo: Image.Image) -> Image.Image:
    """Draw the photo with a pencil on white paper."""
    grey = photo.convert("L")
    soft = ImageOps.invert(grey).filter(ImageFilter.BoxBlur(max(2.0, max(photo.size) / 110)))
    darker = [round(255 * max(0.0, (value - 60) / 195) ** 2.2) for value in range(256)]
    return ImageChops.add(grey, soft).point(darker)


def pop_art(photo: Image.Image) -> Image.Image:
    """Print the photo four times, in four sets of loud colours."""
    width, height = (max(1, side // 2) for side in photo.size)
    grey = photo.resize((width, height), Image.Resampling.BOX).convert("L")
    soft = ImageOps.autocontrast(grey, cutoff=2).filter(ImageFilter.BoxBlur(max(1.0, width / 350)))
    poster = soft.point([value * 4 // 256 * 85 for value in range(256)])
    sheet = Image.new("RGB", (2 * width, 2 * height))
    for index, (dark, middle, light) in enumerate(_POP_ART_COLOURS):
        print_ = ImageOps.colorize(poster, dark, light, mid=middle)
        sheet.paste(print_, (width * (index % 2), height * (index // 2)))
    return sheet


_POP_ART_COLOURS: Final = (
    ("#1b1464", "#ff2e63", "#ffe66d"),
    ("#0b3d2e", "#ff9f1c", "#e0fbfc"),
    ("#3d0066", "#00c2d1", "#fff275"),
    ("#5a0a1e", "#7bd389", "#ffd6e0"),
)


def sepia(photo: Image.Image) -> Image.Image:
    """Age the photo: brown tones, and corners that fade into the dark."""
    grey = ImageOps.autocontrast(photo.convert("L"), cutoff=0.5)
    brown = ImageOps.colorize(grey, "#1c0f05", "#fff3d6", mid="#a07a4a")
    fading = [round(255 - 110 * (max(0, value - 90) / 165) ** 1.6) for value in range(256)]
    light = Image.radial_gradient("L").point(fading).resize(photo.size, Image.Resampling.BILINEAR)
    return ImageChops.multiply(brown, Image.merge("RGB", (light, light, light)))


def mirror(photo: Image.Image) -> Image.Image:
    """Put a mirror in the middle: the right half becomes the left one's reflection."""
    width, height = photo.size
    mirrored = photo.copy()
    mirrored.paste(ImageOps.mirror(photo.crop((0, 0, (width + 1) // 2, height))), (width // 2, 0))
    return mirrored


EFFECTS: Final[Mapping[str, Callable[[Image.Image], Image.Image]]] = {
    "comic": comic,
    "pencil": pencil,
    "pop_art": pop_art,
    "sepia": sepia,
    "mirror": mirror,
}

UNCHANGED: Final = "none"
"""The effect that leaves the photo alone: to see PhotoChanger's own share of the time."""

OPERATION: Final = Operation(
    name="photo_effect",
    display_name="Photo effect",
    parameters=(
        Parameter(
            name="effect",
            kind=str,
            description="What the photo is turned into; none hands it back as it came",
            default="comic",
            choices=(*EFFECTS, UNCHANGED),
        ),
        Parameter(
            name="delay_ms",
            kind=int,
            description="How long the provider takes before it answers, in milliseconds",
            default=0,
            minimum=0,
            maximum=120_000,
        ),
        Parameter(
            name="outcome",
            kind=str,
            description="How the call ends: ok, error, no_image (no picture in the answer), hang (never)",
            default="ok",
            choices=("ok", "error", "no_image", "hang"),
        ),
    ),
)


class RehearsalProvider(ImageProvider):
    """Offers `photo_effect`. Needs no configuration."""

    def __init__(self, _variables: Mapping[str, str] = MappingProxyType({})) -> None:
        self._description = ProviderDescription(
            name="rehearsal",
            display_name="Rehearsal (no AI, no cost)",
            operations=(OPERATION,),
            image_requirements=ImageRequirements(max_side_px=2048),
        )
        self._threads = ThreadPoolExecutor(max_workers=2, thread_name_prefix="rehearsal")

    @property
    def description(self) -> ProviderDescription:
        """What the provider offers; see the port."""
        return self._description

    async def transform(self, request: TransformRequest, into: BinaryIO) -> None:
        """Write the photo with its effect to `into` as a JPEG, or fail as `outcome` says; see the port."""
        params = _params(request)
        await asyncio.sleep(float(str(params["delay_ms"])) / 1000)
        match params["outcome"]:
            case "error":
                raise ProviderError("The rehearsal was to fail")
            case "no_image":
                raise ProviderNoImage("The rehearsal was to bring no picture")
            case "hang":
                await asyncio.Event().wait()
        # The thread gets bytes, not files: it may outlive a cancelled call by a fraction of a second.
        request.photo.file.seek(0)
        photo = request.photo.file.read()
        if params["effect"] == UNCHANGED:
            into.write(photo)
            return
        work = self._threads.submit(_picture, photo, EFFECTS[str(params["effect"])])
        into.write(await asyncio.wrap_future(work))


def _params(request: TransformRequest) -> Mapping[str, ParameterValue]:
    if request.operation != OPERATION.name:
        raise ProviderMisconfigured("The rehearsal provider has no such operation")
    if next(OPERATION.problems(request.params, (), ""), None) is not None:
        raise ProviderMisconfigured("The parameters of the rehearsal are not valid")
    return OPERATION.with_defaults(request.params)


def _picture(photo: bytes, effect: Callable[[Image.Image], Image.Image]) -> bytes:
    try:
        with Image.open(BytesIO(photo), formats=("JPEG", "PNG", "WEBP")) as image:
            picture = effect(image.convert("RGB"))
    except Exception as error:
        raise ProviderError("The rehearsal could not read the photo") from error
    buffer = BytesIO()
    picture.save(buffer, "JPEG", quality=JPEG_QUALITY)
    return buffer.getvalue()
