"""What the readers of JPEG, PNG and WebP make of files that are out of the ordinary."""

import struct
import zlib
from io import BytesIO

import pytest
from PIL import Image

from photochanger.adapters.images import jpeg, png, webp
from photochanger.adapters.images.anatomy import MAX_ICC_BYTES
from photochanger.adapters.images.exif import orientation
from photochanger.adapters.images.inspection import examine
from photochanger.domain.errors import InvalidImage
from photochanger.domain.image import ImageLimits
from photochanger.testing import hostile, marks, photos
from photochanger.testing.images import same_pixels

LIMITS = ImageLimits()


def cleaned_jpeg(data: bytes) -> bytes:
    return b"".join(jpeg.clean(BytesIO(data)))


def cleaned_png(data: bytes) -> bytes:
    return b"".join(png.clean(BytesIO(data)))


def cleaned_webp(data: bytes) -> bytes:
    return b"".join(webp.clean(BytesIO(data)))


def after_start(data: bytes, *inserted: bytes) -> bytes:
    return data[:2] + b"".join(inserted) + data[2:]


class TestExif:
    @pytest.mark.parametrize("value", range(1, 9))
    def test_the_orientation_is_read(self, value: int) -> None:
        assert orientation(marks.exif(value)) == value
        assert orientation(marks.exif(value).removeprefix(b"Exif\0\0")) == value

    def test_little_endian_is_read(self) -> None:
        tiff = b"II*\0" + struct.pack("<IHHHIHH", 8, 1, 0x0112, 3, 1, 6, 0)
        assert orientation(tiff) == 6

    @pytest.mark.parametrize(
        "data",
        [
            b"",
            b"Exif\0\0",
            b"II*\0",
            b"MM\0*\xff\xff\xff\xff",
            b"II*\0" + struct.pack("<IH", 8, 60_000),
            b"II*\0" + struct.pack("<IHHHIHH", 8, 1, 0x0112, 3, 1, 9, 0),
            b"II*\0" + struct.pack("<IHHHIHH", 8, 1, 0x0112, 3, 1, 0, 0),
            b"garbage",
        ],
    )
    def test_what_cannot_be_understood_is_upright(self, data: bytes) -> None:
        assert orientation(data) == 1


class TestJpeg:
    def test_the_same_picture_is_left_and_nothing_else(self) -> None:
        for photo in (photos.camera_jpeg(), photos.camera_jpeg(progressive=True), photos.cmyk_jpeg()):
            clean = cleaned_jpeg(photo)
            assert marks.metadata_markers(clean) == []
            assert same_pixels(clean, photo)
            assert cleaned_jpeg(clean) == clean

    def test_a_clean_file_stays_as_it_is(self) -> None:
        assert cleaned_jpeg(photos.plain_jpeg()) == photos.plain_jpeg()

    def test_comments_between_scans_go(self) -> None:
        photo = photos.camera_jpeg(progressive=True)
        assert marks.mark("between scans") in photo
        assert marks.mark("between scans") not in cleaned_jpeg(photo)

    def test_a_second_picture_behind_the_first_does_not_count(self) -> None:
        photo = photos.plain_jpeg(64, 64)
        assert cleaned_jpeg(photo + photos.plain_jpeg(80, 80)) == photo

    def test_much_may_follow_the_end(self) -> None:
        photo = photos.plain_jpeg(64, 64)
        assert examine(BytesIO(photo + bytes(1_000_000)), LIMITS).info.width == 64
        with pytest.raises(InvalidImage):
            examine(BytesIO(photo[:-2] + bytes(1_000_000)), LIMITS)

    def test_the_thumbnail_in_jfif_goes(self) -> None:
        thumbnail = marks.mark("jfif thumbnail").ljust(48)
        photo = photos.plain_jpeg(64, 64)
        with_thumbnail = photo[:2] + marks.segment(0xE0, photo[6:18] + b"\4\4" + thumbnail) + photo[20:]
        assert cleaned_jpeg(with_thumbnail) == photo

    def test_the_colour_transform_of_adobe_stays(self) -> None:
        adobe = marks.segment(0xEE, b"Adobe\0\x64\0\0\0\0\1")
        photo = after_start(photos.plain_jpeg(64, 64), adobe[:2] + struct.pack(">H", 14) + adobe[4:])
        assert adobe in cleaned_jpeg(photo)

    def test_padding_and_stray_bytes_between_segments_are_skipped(self) -> None:
        photo = photos.plain_jpeg(64, 64)
        for padding in (b"\xff", b"\xff" * 300_000, b"\0\0\0", b"\0" * 300_000, b"junk", b"\xff\0"):
            padded = photo[:20] + padding + photo[20:]
            assert examine(BytesIO(padded), LIMITS).info.width == 64
            assert cleaned_jpeg(padded) == photo

    @pytest.mark.parametrize("shift", range(3))
    def test_markers_are_found_across_chunks(self, shift: int) -> None:
        # 256 KiB at a time: stuffed bytes, restart markers and the end may fall on a boundary.
        head = photos.plain_jpeg(64, 64).split(b"\xff\xda")[0]
        scan = marks.segment(0xDA, b"\3\1\0\2\x11\3\x11\0\x3f\0")
        data = bytes(shift) + b"\xff\0\xff\xd0" * 300_000
        photo = head + scan + data + b"\xff\xff\xd9"
        assert cleaned_jpeg(photo + b"behind") == photo

    def test_a_colour_profile_in_parts_is_put_together(self) -> None:
        profile = photos.adobe_rgb_profile()
        parts = [
            marks.segment(0xE2, b"ICC_PROFILE\0\2\2" + profile[100:]),
            marks.segment(0xE2, b"ICC_PROFILE\0\1\2" + profile[:100]),
        ]
        photo = after_start(photos.plain_jpeg(64, 64), *parts)
        assert examine(BytesIO(photo), LIMITS).icc_profile == profile

    def test_an_endless_colour_profile_is_ignored(self) -> None:
        parts = [
            marks.segment(0xE2, b"ICC_PROFILE\0" + bytes((number, 255)) + bytes(65_000))
            for number in range(1, 100)
        ]
        photo = after_start(photos.plain_jpeg(64, 64), *parts)
        assert sum(map(len, parts)) > MAX_ICC_BYTES
        assert examine(BytesIO(photo), LIMITS).icc_profile is None

    @pytest.mark.parametrize("marker", [0xC0, 0xC4, 0xDA, 0xDB, 0xDD])
    def test_nothing_hides_in_a_segment_that_is_too_long(self, marker: int) -> None:
        photo = photos.plain_jpeg(64, 64)
        if marker == 0xDD:
            photo = after_start(photo, marks.segment(marker, b"\0\1"))
        at = photo.index(bytes((0xFF, marker)))
        length = int.from_bytes(photo[at + 2 : at + 4], "big")
        hidden = marks.segment(marker, photo[at + 4 : at + 2 + length] + marks.mark("hidden"))
        with pytest.raises(InvalidImage):
            examine(BytesIO(photo[:at] + hidden + photo[at + 2 + length :]), LIMITS)

    def test_a_progressive_bomb_is_not_decoded(self) -> None:
        with pytest.raises(InvalidImage, match="scans"):
            cleaned_jpeg(hostile.progressive_bomb())

    def test_four_colours_may_need_too_much_memory(self) -> None:
        data = bytearray(photos.encoded(Image.new("CMYK", (64, 64)), "JPEG", subsampling="4:4:4"))
        at = data.index(b"\xff\xc0")
        data[at + 5 : at + 9] = struct.pack(">HH", 7000, 7000)
        with pytest.raises(InvalidImage, match="memory"):
            examine(BytesIO(data), LIMITS)


class TestPng:
    def test_the_same_picture_is_left_and_nothing_else(self) -> None:
        for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16"):
            clean = cleaned_png(photos.png(mode=mode))
            assert marks.metadata_markers(clean) == []
            assert same_pixels(clean, photos.png(mode=mode))
            assert cleaned_png(clean) == clean

    def test_what_changes_the_look_stays(self) -> None:
        photo = photos.encoded(photos.scene(64, 64), "PNG")
        kept = [
            marks.png_chunk(b"gAMA", struct.pack(">I", 45455)),
            marks.png_chunk(b"cHRM", bytes(32)),
            marks.png_chunk(b"sRGB", b"\0"),
            marks.png_chunk(b"tRNS", bytes(6)),
        ]
        picture = photo[:33] + b"".join(kept) + photo[33:]
        assert cleaned_png(picture) == picture

    def test_nothing_hides_in_a_chunk_that_is_too_long(self) -> None:
        photo = photos.encoded(photos.scene(64, 64), "PNG")
        hidden = marks.png_chunk(b"gAMA", struct.pack(">I", 45455) + marks.mark("gamma"))
        assert cleaned_png(photo[:33] + hidden + photo[33:]) == photo

    def test_the_colour_profile_is_read(self) -> None:
        photo = photos.encoded(photos.scene(64, 64), "PNG", icc_profile=photos.adobe_rgb_profile())
        assert examine(BytesIO(photo), LIMITS).icc_profile == photos.adobe_rgb_profile()

    @pytest.mark.parametrize(
        "content", [b"name", b"name\0\0garbage", b"name\0\0" + zlib.compress(bytes(10**7))]
    )
    def test_a_broken_or_endless_colour_profile_is_ignored(self, content: bytes) -> None:
        photo = photos.encoded(photos.scene(64, 64), "PNG")
        photo = photo[:33] + marks.png_chunk(b"iCCP", content) + photo[33:]
        assert examine(BytesIO(photo), LIMITS).icc_profile is None

    def test_frames_are_counted_and_not_believed(self) -> None:
        animation = hostile.animated_png(3)
        lie = animation.replace(b"acTL\0\0\0\3", b"acTL\0\0\0\1")
        for data in (animation, lie):
            with pytest.raises(InvalidImage, match="3 frames"):
                examine(BytesIO(data), LIMITS)

    @pytest.mark.parametrize(
        "header",
        [
            struct.pack(">IIBBBBB", 8, 8, 3, 0, 0, 0, 0),
            struct.pack(">IIBBBBB", 8, 8, 8, 1, 0, 0, 0),
            struct.pack(">IIBBBBB", 8, 8, 8, 2, 1, 0, 0),
            struct.pack(">IIBBBBB", 8, 8, 8, 2, 0, 1, 0),
            struct.pack(">IIBBBBB", 8, 8, 8, 2, 0, 0, 2),
            struct.pack(">IIBBBBB", 0, 8, 8, 2, 0, 0, 0),
            struct.pack(">II", 8, 8),
        ],
    )
    def test_a_header_that_cannot_be_is_invalid(self, header: bytes) -> None:
        chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(bytes(200))), (b"IEND", b""))
        data = png.MAGIC + b"".join(marks.png_chunk(*chunk) for chunk in chunks)
        with pytest.raises(InvalidImage):
            examine(BytesIO(data), LIMITS)


class TestWebp:
    def test_the_same_picture_is_left_and_nothing_else(self) -> None:
        for photo in (photos.webp(), photos.webp(mode="RGBA"), photos.webp(lossless=True)):
            clean = cleaned_webp(photo)
            assert marks.metadata_markers(clean) == []
            assert same_pixels(clean, photo)
            assert cleaned_webp(clean) == clean

    def test_all_three_headers_are_read(self) -> None:
        image = photos.scene(123, 77)
        for data in (
            photos.encoded(image, "WEBP"),
            photos.encoded(image, "WEBP", lossless=True),
            photos.webp(123, 77),
        ):
            info = examine(BytesIO(data), LIMITS).info
            assert (info.width, info.height) == (123, 77)

    def test_the_colour_profile_is_read(self) -> None:
        photo = photos.encoded(photos.scene(64, 64), "WEBP", icc_profile=photos.adobe_rgb_profile())
        assert examine(BytesIO(photo), LIMITS).icc_profile == photos.adobe_rgb_profile()

    def test_an_animation_is_refused_however_short(self) -> None:
        for frames in (2, 3):
            with pytest.raises(InvalidImage, match="frames"):
                examine(BytesIO(hostile.animated_webp(frames)), LIMITS)
        with pytest.raises(InvalidImage, match="animated"):
            examine(BytesIO(only_first_frame(hostile.animated_webp(2))), LIMITS)

    def test_a_canvas_that_needs_too_much_memory_is_refused(self) -> None:
        data = bytearray(photos.webp())
        data[24:30] = (6999).to_bytes(3, "little") * 2
        with pytest.raises(InvalidImage, match="memory"):
            examine(BytesIO(data), LIMITS)


def only_first_frame(data: bytes) -> bytes:
    first = data.index(b"ANMF")
    second = data.index(b"ANMF", first + 4)
    return data[:4] + struct.pack("<I", second - 8) + data[8:second]
