import asyncio
import errno
import gc
import io
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
import tracemalloc
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, NoReturn

import pytest
from PIL import Image, ImageFile

from photochanger.adapters.images import PillowImageEditor
from photochanger.domain.errors import InvalidImage, StorageUnavailable, UnsupportedMediaType
from photochanger.domain.image import ImageLimits, ImageRequirements, ImageType
from photochanger.testing import hostile, marks, photos
from photochanger.testing.images import ANYTHING, enter_finish, enter_prepare

pytestmark = pytest.mark.anyio

SMALL = ImageRequirements(max_side_px=100)


@pytest.fixture
async def editor() -> AsyncIterator[PillowImageEditor]:
    editor = PillowImageEditor()
    yield editor
    editor.close()


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def wait_until(done: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not done():
        assert time.monotonic() < end
        time.sleep(0.01)


SEEDS: dict[str, Callable[[], bytes]] = {
    "jpeg": lambda: photos.camera_jpeg(160, 120),
    "progressive": lambda: photos.camera_jpeg(160, 120, progressive=True),
    "turned": lambda: photos.camera_jpeg(160, 120, orientation=6),
    "adobe": lambda: photos.adobe_rgb_jpeg(160, 120),
    "png": lambda: photos.png(160, 120),
    "palette": lambda: photos.png(160, 120, mode="P"),
    "webp": lambda: photos.webp(160, 120),
    "alpha": lambda: photos.webp(160, 120, mode="RGBA"),
}


@pytest.mark.parametrize("seed", SEEDS)
async def test_damaged_images_come_out_clean_or_not_at_all(editor: PillowImageEditor, seed: str) -> None:
    slowest = 0.0
    for data in hostile.mutations(SEEDS[seed](), 250):
        start = time.process_time()
        for attempt in (editor.inspect(BytesIO(data)), kept(editor, data), shrunk(editor, data)):
            try:
                outcome = await attempt
            except (UnsupportedMediaType, InvalidImage):
                continue
            if isinstance(outcome, bytes):
                assert marks.metadata_markers(outcome) == []
        await finish_if_possible(editor, data)
        slowest = max(slowest, time.process_time() - start)
    assert slowest < 2


async def kept(editor: PillowImageEditor, data: bytes) -> bytes:
    async with editor.prepare(BytesIO(data), ANYTHING) as prepared:
        return prepared.file.read()


async def shrunk(editor: PillowImageEditor, data: bytes) -> bytes:
    async with editor.prepare(BytesIO(data), SMALL) as prepared:
        return prepared.file.read()


async def finish_if_possible(editor: PillowImageEditor, data: bytes) -> None:
    try:
        async with editor.finish(BytesIO(data)) as finished:
            picture, preview = finished.file.read(), finished.preview.read()
    except (UnsupportedMediaType, InvalidImage):
        return
    for result in (picture, preview):
        photos.decoded(result)
        assert marks.metadata_markers(result) == []


async def test_no_metadata_survives_in_fifty_photos(editor: PillowImageEditor) -> None:
    choose = random.Random(50).choice
    for number in range(50):
        size = 200 + number, 150 + number
        make = choose((photos.camera_jpeg, photos.png, photos.webp))
        data = make(*size, orientation=choose(range(1, 9)))
        assert "gps" in marks.metadata_markers(data)
        for result in (await kept(editor, data), await shrunk(editor, data)):
            assert marks.metadata_markers(result) == []
            assert photos.is_upright(photos.decoded(result))
        await finish_if_possible(editor, data)


async def test_pixels_are_copied_bit_for_bit(editor: PillowImageEditor) -> None:
    plain = photos.encoded(photos.scene(300, 200), "JPEG", quality=92)
    scan = plain[plain.rindex(b"\xff\xda") :]
    assert (await kept(editor, photos.camera_jpeg(300, 200))).endswith(scan)


@pytest.mark.parametrize("image_type", ImageType)
async def test_alpha_is_kept_where_the_type_has_it(editor: PillowImageEditor, image_type: ImageType) -> None:
    wanted = ImageRequirements(types=frozenset({image_type}), max_side_px=100)
    async with editor.prepare(BytesIO(photos.png(mode="RGBA")), wanted) as prepared:
        image = photos.decoded(prepared.file.read())
    assert (image.mode == "RGBA") == (image_type is not ImageType.JPEG)


async def test_quality_goes_down_before_size_does(editor: PillowImageEditor) -> None:
    best = len(await shrunk(editor, photos.camera_jpeg()))
    wanted = ImageRequirements(max_side_px=100, max_bytes=best - best // 10)
    async with editor.prepare(BytesIO(photos.camera_jpeg()), wanted) as prepared:
        assert prepared.info.width == 100
    wanted = ImageRequirements(max_side_px=100, max_bytes=best // 4)
    async with editor.prepare(BytesIO(photos.camera_jpeg()), wanted) as prepared:
        assert prepared.info.width < 100


async def test_a_size_that_cannot_be_reached_is_reported(editor: PillowImageEditor) -> None:
    with pytest.raises(InvalidImage, match="small enough"):
        await enter_prepare(editor, BytesIO(photos.camera_jpeg()), ImageRequirements(max_bytes=10))


@pytest.mark.parametrize("profile", [b"garbage", bytes(1000), b"gray for colour"])
async def test_a_colour_profile_that_is_of_no_use_is_ignored(
    editor: PillowImageEditor, profile: bytes
) -> None:
    if profile == b"gray for colour":
        profile = photos.adobe_rgb_profile().replace(b"mntrRGB ", b"mntrGRAY")
    photo = photos.encoded(photos.scene(300, 200), "JPEG", icc_profile=profile)
    async with editor.finish(BytesIO(photo)) as finished:
        data = finished.file.read()
    assert photos.is_upright(photos.decoded(data))
    assert marks.metadata_markers(data) == []


async def test_limits_can_be_set() -> None:
    editor = PillowImageEditor(limits=ImageLimits(max_pixels=100 * 100))
    await editor.inspect(BytesIO(photos.plain_jpeg(100, 100)))
    with pytest.raises(InvalidImage, match="megapixels"):
        await editor.inspect(BytesIO(photos.plain_jpeg(101, 100)))
    editor.close()


async def test_running_out_of_memory_is_the_images_fault(
    editor: PillowImageEditor, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: ImageFile.ImageFile) -> NoReturn:
        raise MemoryError

    monkeypatch.setattr(ImageFile.ImageFile, "load", fail)
    with pytest.raises(InvalidImage):
        await enter_finish(editor, photos.camera_jpeg())


async def test_a_full_disk_is_the_storages_fault() -> None:
    class Full(io.BytesIO):
        def write(self, data: object) -> NoReturn:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    editor = PillowImageEditor(scratch=Full)
    for requirements in (ANYTHING, SMALL):
        with pytest.raises(StorageUnavailable):
            await enter_prepare(editor, BytesIO(photos.camera_jpeg()), requirements)
    with pytest.raises(StorageUnavailable):
        await enter_finish(editor, photos.camera_jpeg())
    editor.close()


async def test_only_so_many_decodings_run_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    editor, running, most, lock = PillowImageEditor(decodes=2), 0, 0, threading.Lock()
    real = Image.Image.resize

    def resize(image: Image.Image, *args: object, **options: object) -> Image.Image:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.02)
        with lock:
            running -= 1
        return real(image, (10, 10))

    monkeypatch.setattr(Image.Image, "resize", resize)
    photo = photos.camera_jpeg()
    await asyncio.gather(*(enter_finish(editor, photo) for _ in range(8)))
    assert most == 2
    editor.close()


async def test_inspection_does_not_queue_behind_decoding(
    editor: PillowImageEditor, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on, real = threading.Event(), Image.Image.resize

    def resize(image: Image.Image, *args: object, **options: object) -> Image.Image:
        go_on.wait(10)
        return real(image, (10, 10))

    monkeypatch.setattr(Image.Image, "resize", resize)
    photo = photos.camera_jpeg()
    slow = [asyncio.create_task(enter_finish(editor, photo)) for _ in range(4)]
    await asyncio.sleep(0.05)
    async with asyncio.timeout(5):
        await editor.inspect(BytesIO(photo))
    go_on.set()
    await asyncio.gather(*slow)


@pytest.fixture
def photo_file(tmp_path: Path) -> Iterator[BinaryIO]:
    (tmp_path / "photo").write_bytes(photos.jpeg_3mb())
    with (tmp_path / "photo").open("rb") as file:
        yield file


@pytest.mark.parametrize("delay", [0, 0.001, 0.005, 0.02, 0.05, 0.1])
async def test_a_cancelled_edit_leaks_no_file(
    editor: PillowImageEditor, photo_file: BinaryIO, delay: float
) -> None:
    before = open_descriptors()
    for work in (enter_prepare(editor, photo_file, SMALL), inspect_often(editor, photo_file)):
        task = asyncio.create_task(work)
        await asyncio.sleep(delay)
        task.cancel()
        await asyncio.wait([task])
    await asyncio.to_thread(wait_until, lambda: open_descriptors() <= before)
    gc.collect()  # a file closed only by the collector warns, and a warning fails the test
    await enter_prepare(editor, photo_file, SMALL)


async def inspect_often(editor: PillowImageEditor, file: BinaryIO) -> None:
    for _ in range(100):
        await editor.inspect(file)


async def test_an_edit_cancelled_in_the_queue_leaks_no_file(
    photo_file: BinaryIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on, real = threading.Event(), Image.Image.resize

    def resize(image: Image.Image, *args: object, **options: object) -> Image.Image:
        go_on.wait(10)
        return real(image, (10, 10))

    monkeypatch.setattr(Image.Image, "resize", resize)
    editor, before = PillowImageEditor(decodes=1), open_descriptors()
    tasks = [asyncio.create_task(enter_prepare(editor, photo_file, SMALL)) for _ in range(3)]
    await asyncio.sleep(0.1)
    for task in tasks:
        task.cancel()
    start = time.monotonic()
    await asyncio.wait(tasks)
    assert time.monotonic() - start < 0.5
    go_on.set()
    await asyncio.to_thread(wait_until, lambda: open_descriptors() <= before)
    editor.close()


async def test_finished_edits_leak_no_file(editor: PillowImageEditor, photo_file: BinaryIO) -> None:
    await enter_prepare(editor, photo_file, SMALL)
    before = open_descriptors()
    for _ in range(5):
        await enter_prepare(editor, photo_file, SMALL)
        await editor.inspect(photo_file)
        with pytest.raises(UnsupportedMediaType):
            await enter_finish(editor, b"text")
    assert open_descriptors() == before


async def test_scratch_files_are_made_by_whom_the_editor_is_given(tmp_path: Path) -> None:
    made = []

    def scratch() -> AbstractContextManager[BinaryIO]:
        made.append(tempfile.TemporaryFile(dir=tmp_path))  # noqa: SIM115  # the editor closes it
        return made[-1]

    editor = PillowImageEditor(scratch=scratch)
    async with editor.finish(BytesIO(photos.camera_jpeg())) as finished:
        assert finished.file in made
        assert finished.preview in made
    assert all(file.closed for file in made)
    editor.close()


MEASURE = """
import asyncio, resource, sys
from photochanger.adapters.images import PillowImageEditor
from photochanger.domain.image import ImageRequirements

def kib(name):
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith(name))

async def main():
    editor = PillowImageEditor()
    before = kib("VmRSS")
    with open(sys.argv[1], "rb") as photo:
        async with editor.prepare(photo, ImageRequirements(max_side_px=20_000, max_bytes=10**9)):
            pass
        async with editor.prepare(photo, ImageRequirements()):
            pass
        async with editor.finish(photo):
            pass
    print(kib("VmHWM") - before, kib("VmRSS") - before)

asyncio.run(main())
"""


def memory_of_editing(photo: Path) -> tuple[float, float]:
    """Return how many MB a process took at most, and how many it kept."""
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(photo)], capture_output=True, text=True, timeout=60, check=True
    )
    peak, kept = map(int, done.stdout.split())
    return peak * 1024 / 1e6, kept * 1024 / 1e6


def fifty_megapixels(kind: str) -> bytes:
    match kind:
        case "jpeg":
            return photos.camera_jpeg(8640, 5760, orientation=6)
        case "progressive":
            image = photos.scene(8640, 5760).transpose(Image.Transpose.ROTATE_90)
            coded = photos.encoded(image, "JPEG", subsampling="4:4:4", progressive=True)
            return marks.marked_jpeg(coded, orientation=6)
        case _:
            image = Image.new("RGBA", (8640, 5760), (200, 100, 50, 128))
            return marks.mark_png(photos.encoded(image, "PNG", compress_level=1), orientation=6)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads memory from /proc")
@pytest.mark.parametrize("kind", ["jpeg", "progressive", "png with alpha"])
def test_memory_of_fifty_megapixels_is_bounded_and_given_back(tmp_path: Path, kind: str) -> None:
    (tmp_path / "photo").write_bytes(fifty_megapixels(kind))
    peak, kept = memory_of_editing(tmp_path / "photo")
    assert peak < 512
    assert kept < 150


async def test_passing_a_photo_on_takes_no_memory(editor: PillowImageEditor, tmp_path: Path) -> None:
    (tmp_path / "photo").write_bytes(photos.jpeg_24mp())
    with (tmp_path / "photo").open("rb") as photo:
        await enter_prepare(editor, photo, ANYTHING)
        tracemalloc.start()
        try:
            await enter_prepare(editor, photo, ANYTHING)
            assert tracemalloc.get_traced_memory()[1] < 3 * 1024 * 1024
        finally:
            tracemalloc.stop()
