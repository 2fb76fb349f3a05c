"""The contract of `ImageEditor`: subclass it and give it an `editor` fixture, with the default limits."""

import asyncio
import time
from collections.abc import Callable
from io import BytesIO
from itertools import product
from pathlib import Path
from typing import BinaryIO, TypeAlias

import pytest
from PIL import Image, ImageChops

from photochanger.application.ports.images import ImageEditor
from photochanger.domain.errors import InvalidImage, UnsupportedMediaType
from photochanger.domain.image import ImageInfo, ImageLimits, ImageRequirements, ImageType
from photochanger.testing import hostile, photos
from photochanger.testing.marks import metadata_markers

Make: TypeAlias = Callable[[], bytes]

ANYTHING = ImageRequirements(max_side_px=20_000, max_bytes=1_000_000_000)

UPRIGHT: dict[str, Make] = {
    "jpeg": photos.camera_jpeg,
    "progressive jpeg": lambda: photos.camera_jpeg(progressive=True),
    "png": photos.png,
    "png with alpha": lambda: photos.png(mode="RGBA"),
    "png with a palette": lambda: photos.png(mode="P"),
    "grey png": lambda: photos.png(mode="L"),
    "webp": photos.webp,
    "webp with alpha": lambda: photos.webp(mode="RGBA"),
    "lossless webp": lambda: photos.webp(lossless=True),
}
"""Images whose pixels need not change."""

OTHERS: dict[str, Make] = {
    "turned jpeg": lambda: photos.camera_jpeg(orientation=6),
    "turned png": lambda: photos.png(orientation=3),
    "turned webp": lambda: photos.webp(orientation=8),
    "cmyk": photos.cmyk_jpeg,
    "adobe rgb": photos.adobe_rgb_jpeg,
    "16-bit": lambda: photos.png(mode="I;16"),
}
"""Images whose pixels have to change."""

ALL = UPRIGHT | OTHERS


def each_of(images: dict[str, Make]) -> pytest.MarkDecorator:
    """Run a test with each of the images, made only when the test runs."""
    return pytest.mark.parametrize("make", images.values(), ids=images.keys())


def difference(one: Image.Image, other: Image.Image) -> float:
    """Return the mean difference of two images of one size, 0 to 255."""
    pixels = ImageChops.difference(one.convert("RGB"), other.convert("RGB")).convert("L")
    histogram = pixels.histogram()
    return sum(value * count for value, count in enumerate(histogram)) / max(1, sum(histogram))


def same_pixels(one: bytes, other: bytes) -> bool:
    """Say whether two files decode to the very same pixels."""
    first, second = photos.decoded(one), photos.decoded(other)
    return (first.mode, first.size, first.tobytes()) == (second.mode, second.size, second.tobytes())


def check_info(file: BinaryIO, info: ImageInfo) -> Image.Image:
    """Check that `file`, at its beginning, is what `info` says, and return its pixels."""
    assert file.tell() == 0
    image = photos.decoded(file.read())
    assert (f"image/{image.format}".lower(), image.size) == (info.image_type, (info.width, info.height))
    assert info.frames == 1
    file.seek(0)
    return image


@pytest.mark.anyio
class ImageEditorContract:
    """What every image editor promises."""

    @pytest.fixture
    def anyio_backend(self) -> str:
        return "asyncio"

    @pytest.fixture
    def editor(self) -> ImageEditor:
        raise NotImplementedError("give the suite an `editor` fixture")

    @each_of(ALL)
    async def test_inspect_says_what_the_header_says(self, editor: ImageEditor, make: Make) -> None:
        image = photos.decoded(make())
        assert await editor.inspect(BytesIO(make())) == ImageInfo(
            image_type=ImageType(f"image/{image.format}".lower()), width=image.width, height=image.height
        )

    @pytest.mark.parametrize("name", hostile.not_images())
    async def test_what_is_no_image_is_an_unsupported_type(self, editor: ImageEditor, name: str) -> None:
        with pytest.raises(UnsupportedMediaType):
            await editor.inspect(BytesIO(hostile.not_images()[name]))
        with pytest.raises(UnsupportedMediaType):
            await enter_finish(editor, hostile.not_images()[name])

    @pytest.mark.parametrize("name", hostile.broken_images())
    async def test_what_is_cut_short_or_broken_is_invalid(self, editor: ImageEditor, name: str) -> None:
        with pytest.raises(InvalidImage):
            await editor.inspect(BytesIO(hostile.broken_images()[name]))
        with pytest.raises(InvalidImage):
            await enter_finish(editor, hostile.broken_images()[name])

    @pytest.mark.parametrize(
        "make",
        [hostile.png_bomb, hostile.jpeg_bomb, hostile.animated_png, hostile.animated_webp],
        ids=["png bomb", "jpeg bomb", "animated png", "animated webp"],
    )
    async def test_what_is_beyond_the_limits_is_invalid_at_once(
        self, editor: ImageEditor, make: Make
    ) -> None:
        data = make()
        start = time.monotonic()
        for attempt in (editor.inspect(BytesIO(data)), enter_finish(editor, data)):
            with pytest.raises(InvalidImage):
                await attempt
        assert time.monotonic() - start < 2

    async def test_the_limits_are_those_of_the_domain(self, editor: ImageEditor) -> None:
        limit = ImageLimits().max_pixels
        with pytest.raises(InvalidImage):
            await editor.inspect(BytesIO(hostile.jpeg_bomb(limit // 1000 + 1, 1000)))
        info = await editor.inspect(BytesIO(hostile.jpeg_bomb(limit // 1000, 1000)))
        assert info.pixels == limit

    @pytest.mark.parametrize("name", hostile.polyglots())
    async def test_a_polyglot_comes_out_as_an_image_and_nothing_else(
        self, editor: ImageEditor, name: str
    ) -> None:
        async with editor.finish(BytesIO(hostile.polyglots()[name])) as finished:
            assert metadata_markers(finished.file.read()) == []

    async def test_files_given_are_read_from_their_beginning_and_not_closed(
        self, editor: ImageEditor, tmp_path: Path
    ) -> None:
        (tmp_path / "photo").write_bytes(photos.camera_jpeg())
        with (tmp_path / "photo").open("rb") as real, BytesIO(photos.camera_jpeg()) as in_memory:
            for file in (real, in_memory):
                file.seek(1000)
                await editor.inspect(file)
                file.seek(1000)
                async with editor.prepare(file, ANYTHING):
                    file.seek(1000)
                async with editor.finish(file):
                    assert not file.closed
                assert not file.closed

    async def test_bytes_that_are_still_in_a_buffer_are_read(
        self, editor: ImageEditor, tmp_path: Path
    ) -> None:
        with (tmp_path / "photo").open("w+b", buffering=10_000_000) as file:
            file.write(photos.camera_jpeg())
            assert (await editor.inspect(file)).width == 1200

    @each_of(UPRIGHT)
    async def test_prepare_keeps_the_pixels_of_an_image_that_fits(
        self, editor: ImageEditor, make: Make
    ) -> None:
        async with editor.prepare(BytesIO(make()), ANYTHING) as prepared:
            check_info(prepared.file, prepared.info)
            assert same_pixels(prepared.file.read(), make())

    @each_of(ALL)
    async def test_prepare_removes_all_metadata(self, editor: ImageEditor, make: Make) -> None:
        assert metadata_markers(make())
        async with editor.prepare(BytesIO(make()), ANYTHING) as prepared:
            assert metadata_markers(prepared.file.read()) == []

    @each_of(ALL)
    async def test_prepare_meets_the_requirements(self, editor: ImageEditor, make: Make) -> None:
        for types, side, size in product(ImageType, (100, 350), (4_000, 200_000)):
            wanted = ImageRequirements(types=frozenset({types}), max_side_px=side, max_bytes=size)
            async with editor.prepare(BytesIO(make()), wanted) as prepared:
                image = check_info(prepared.file, prepared.info)
                data = prepared.file.read()
            assert wanted.are_met_by(prepared.info, len(data))
            assert prepared.size_bytes == len(data)
            assert metadata_markers(data) == []
            assert image.mode in {"L", "P", "RGB", "RGBA"}

    @each_of(OTHERS)
    async def test_prepare_turns_images_upright_in_srgb(self, editor: ImageEditor, make: Make) -> None:
        async with editor.prepare(BytesIO(make()), ANYTHING) as prepared:
            image = check_info(prepared.file, prepared.info)
        upright = photos.scene(*image.size)
        # 16-bit pictures are grey here, and CMYK is no exact science.
        wanted = upright.convert("L") if image.mode == "L" else upright
        assert difference(image, wanted) < (25 if make is photos.cmyk_jpeg else 4)

    @pytest.mark.parametrize("orientation", range(1, 9))
    async def test_prepare_applies_every_orientation(self, editor: ImageEditor, orientation: int) -> None:
        for data in (
            photos.camera_jpeg(300, 200, orientation=orientation),
            photos.png(300, 200, orientation=orientation),
            photos.webp(300, 200, orientation=orientation),
        ):
            async with editor.prepare(BytesIO(data), ANYTHING) as prepared:
                image = check_info(prepared.file, prepared.info)
            assert image.size == (300, 200)
            assert photos.is_upright(image)

    async def test_prepare_keeps_the_proportions_and_never_scales_up(self, editor: ImageEditor) -> None:
        small = ImageRequirements(types=frozenset({ImageType.JPEG}), max_side_px=600)
        for orientation, size in ((1, (600, 400)), (6, (600, 400))):
            photo = BytesIO(photos.camera_jpeg(1200, 800, orientation=orientation))
            async with editor.prepare(photo, small) as prepared:
                assert (prepared.info.width, prepared.info.height) == size
        async with editor.prepare(BytesIO(photos.png(60, 40)), small) as prepared:
            assert (prepared.info.width, prepared.info.height) == (60, 40)

    async def test_prepare_puts_transparency_on_white_where_the_type_has_none(
        self, editor: ImageEditor
    ) -> None:
        jpeg = ImageRequirements(types=frozenset({ImageType.JPEG}))
        for data in (photos.png(mode="RGBA"), photos.png(mode="LA"), photos.webp(mode="RGBA")):
            async with editor.prepare(BytesIO(data), jpeg) as prepared:
                image = check_info(prepared.file, prepared.info).convert("L")
            width, height = image.size
            middle = image.crop((width // 2 - 5, height // 2 - 5, width // 2 + 5, height // 2 + 5))
            assert min(middle.tobytes()) > 250

    @pytest.mark.parametrize("name", hostile.broken_images())
    async def test_prepare_refuses_what_is_broken(self, editor: ImageEditor, name: str) -> None:
        with pytest.raises(InvalidImage):
            async with editor.prepare(BytesIO(hostile.broken_images()[name]), ANYTHING):
                pass

    async def test_prepare_refuses_what_is_no_image(self, editor: ImageEditor) -> None:
        with pytest.raises(UnsupportedMediaType):
            async with editor.prepare(BytesIO(b"text"), ANYTHING):
                pass

    async def test_what_has_to_be_decoded_and_cannot_be_is_invalid(self, editor: ImageEditor) -> None:
        for data in undecodable():
            with pytest.raises(InvalidImage):
                await enter_finish(editor, data)
            with pytest.raises(InvalidImage):
                async with editor.prepare(BytesIO(data), ImageRequirements(max_side_px=100)):
                    pass

    @each_of(UPRIGHT)
    async def test_finish_keeps_the_pixels_and_removes_all_metadata(
        self, editor: ImageEditor, make: Make
    ) -> None:
        async with editor.finish(BytesIO(make())) as finished:
            check_info(finished.file, finished.info)
            data = finished.file.read()
        assert same_pixels(data, make())
        assert metadata_markers(data) == []

    @each_of(OTHERS)
    async def test_finish_turns_pictures_upright_in_srgb(self, editor: ImageEditor, make: Make) -> None:
        async with editor.finish(BytesIO(make())) as finished:
            image = check_info(finished.file, finished.info)
            assert metadata_markers(finished.file.read()) == []
        upright = photos.scene(*image.size)
        wanted = upright.convert("L") if image.mode == "L" else upright
        assert difference(image, wanted) < (25 if make is photos.cmyk_jpeg else 4)

    @each_of(ALL)
    async def test_the_preview_is_a_small_clean_upright_jpeg(self, editor: ImageEditor, make: Make) -> None:
        async with editor.finish(BytesIO(make())) as finished:
            preview = check_info(finished.preview, finished.preview_info)
            data = finished.preview.read()
        assert finished.preview_info.image_type is ImageType.JPEG
        assert max(preview.size) == 512
        assert preview.mode in {"L", "RGB"}
        assert metadata_markers(data) == []
        upright = photos.scene(finished.info.width, finished.info.height).resize(preview.size)
        if "A" not in photos.decoded(make()).mode:
            wanted = upright.convert("L") if preview.mode == "L" else upright
            assert difference(preview, wanted) < (25 if make is photos.cmyk_jpeg else 8)

    async def test_a_small_picture_has_a_preview_of_its_own_size(self, editor: ImageEditor) -> None:
        async with editor.finish(BytesIO(photos.png(60, 40))) as finished:
            assert (finished.preview_info.width, finished.preview_info.height) == (60, 40)

    async def test_files_handed_out_vanish_with_their_context(self, editor: ImageEditor) -> None:
        async with editor.prepare(BytesIO(photos.camera_jpeg()), ANYTHING) as prepared:
            pass
        async with editor.finish(BytesIO(photos.camera_jpeg())) as finished:
            pass
        assert prepared.file.closed
        assert finished.file.closed
        assert finished.preview.closed

    async def test_the_event_loop_is_not_held_up(self, editor: ImageEditor, tmp_path: Path) -> None:
        (tmp_path / "photo").write_bytes(photos.jpeg_24mp())
        with (tmp_path / "photo").open("rb") as photo:
            # A busy machine may take the processor away for longer; it will not do so every time.
            assert min([await longest_pause(editor, photo) for _ in range(3)]) < 0.05

    async def test_cancellation_is_prompt_and_leaves_the_editor_usable(
        self, editor: ImageEditor, tmp_path: Path
    ) -> None:
        (tmp_path / "photo").write_bytes(photos.jpeg_24mp())
        for delay in (0, 0.005, 0.02, 0.05, 0.1, 0.15):
            with (tmp_path / "photo").open("rb") as file:
                task = asyncio.create_task(enter_prepare(editor, file, ImageRequirements(max_side_px=2048)))
                await asyncio.sleep(delay)
                task.cancel()
                start = time.monotonic()
                with pytest.raises(asyncio.CancelledError):
                    await task
            assert time.monotonic() - start < 0.5
        async with editor.finish(BytesIO(photos.camera_jpeg())) as finished:
            assert finished.preview_info.width == 512


async def longest_pause(editor: ImageEditor, photo: BinaryIO) -> float:
    """Return for how long, in seconds, nothing else ran on the event loop while `photo` was worked on."""
    longest, last = 0.0, time.perf_counter()

    async def tick() -> None:
        nonlocal longest, last
        while True:
            await asyncio.sleep(0.001)
            longest, last = max(longest, time.perf_counter() - last), time.perf_counter()

    ticking = asyncio.create_task(tick())
    await editor.inspect(photo)
    async with (
        editor.prepare(photo, ImageRequirements(max_side_px=2048)),
        editor.finish(photo),
    ):
        pass
    ticking.cancel()
    await asyncio.wait([ticking])
    return longest


def undecodable() -> list[bytes]:
    """Return images that look whole and are not."""
    png = photos.encoded(photos.scene(600, 400), "PNG")
    middle = len(png) // 2
    webp = photos.encoded(photos.scene(600, 400), "WEBP", lossless=True)
    jpeg = photos.plain_jpeg()
    tables = jpeg.index(b"\xff\xc4")
    return [
        png[:middle] + bytes(1000) + png[middle + 1000 :],
        webp[:100] + b"\xff" * (len(webp) - 100),
        jpeg[: tables + 5] + b"\xff" * 16 + jpeg[tables + 21 :],
    ]


async def enter_finish(editor: ImageEditor, data: bytes) -> None:
    """Have `data` finished, and drop the outcome."""
    async with editor.finish(BytesIO(data)):
        pass


async def enter_prepare(editor: ImageEditor, file: BinaryIO, requirements: ImageRequirements) -> None:
    """Have `file` prepared, and drop the outcome."""
    async with editor.prepare(file, requirements):
        pass
