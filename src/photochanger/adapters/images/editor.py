"""The port `ImageEditor`, by Pillow."""

import os
import tempfile
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import BinaryIO, Final

from photochanger.adapters.images.anatomy import Anatomy
from photochanger.adapters.images.inspection import examine
from photochanger.adapters.images.metadata import write_clean
from photochanger.adapters.images.pixels import encode, encode_preview, render
from photochanger.adapters.images.workbench import Scratch, Workbench, workbench
from photochanger.application.ports.images import FinishedImage, ImageEditor, PreparedImage
from photochanger.domain.image import ImageInfo, ImageLimits, ImageRequirements

PREVIEW_SIDE_PX: Final = 512
PREVIEW_QUALITY: Final = 80


class PillowImageEditor(ImageEditor):
    """Walks containers itself, and leaves pixels to Pillow.

    `scratch` makes the files that are handed out. `decodes` pictures are decoded at once, each with at most
    512 MB; what needs no decoding does not queue behind them.
    """

    def __init__(
        self,
        *,
        scratch: Scratch = tempfile.TemporaryFile,
        limits: ImageLimits = ImageLimits(),  # noqa: B008  # frozen
        decodes: int = 2,
    ) -> None:
        self._scratch = scratch
        self._limits = limits
        self._quick = ThreadPoolExecutor(max_workers=2, thread_name_prefix="image-inspection")
        self._decoding = ThreadPoolExecutor(max_workers=decodes, thread_name_prefix="image-decoding")

    def close(self) -> None:
        """Give the threads back; work that has not begun is cancelled."""
        for executor in (self._quick, self._decoding):
            executor.shutdown(wait=False, cancel_futures=True)

    async def inspect(self, file: BinaryIO) -> ImageInfo:
        """Check an upload without decoding it; see the port."""
        async with workbench(self._scratch) as bench:
            source = bench.reader(file)
            return (await bench.run(self._quick, lambda: examine(source, self._limits))).info

    @asynccontextmanager
    async def prepare(self, file: BinaryIO, requirements: ImageRequirements) -> AsyncIterator[PreparedImage]:
        """Return the image upright, clean and within the requirements; see the port."""
        async with workbench(self._scratch) as bench:
            source = bench.reader(file)
            anatomy, clean, size = await bench.run(self._quick, lambda: self._cleaned(bench, source))
            if anatomy.needs_rendering or not requirements.are_met_by(anatomy.info, size):
                yield await bench.run(self._decoding, lambda: _rendered(bench, clean, anatomy, requirements))
            else:
                yield PreparedImage(file=clean, info=anatomy.info, size_bytes=size)

    @asynccontextmanager
    async def finish(self, file: BinaryIO) -> AsyncIterator[FinishedImage]:
        """Check a provider's picture, clean it, and make its preview; see the port."""
        async with workbench(self._scratch) as bench:
            source = bench.reader(file)
            yield await bench.run(self._decoding, lambda: self._finished(bench, source))

    def _cleaned(self, bench: Workbench, source: BinaryIO) -> tuple[Anatomy, BinaryIO, int]:
        anatomy = examine(source, self._limits)
        clean = bench.empty_file()
        return anatomy, clean, write_clean(source, anatomy.info.image_type, clean)

    def _finished(self, bench: Workbench, source: BinaryIO) -> FinishedImage:
        anatomy, picture, _size = self._cleaned(bench, source)
        info, preview = anatomy.info, bench.empty_file()
        if anatomy.needs_rendering:
            image = render(bench.reader(picture), anatomy)
            picture = bench.empty_file()
            info = encode(image, info.image_type, picture)
        else:
            # Reduced while it is decoded, all of it: this is also the check that it can be decoded.
            image = render(bench.reader(picture), anatomy, max_side_px=PREVIEW_SIDE_PX)
        preview_info = encode_preview(image, preview, max_side_px=PREVIEW_SIDE_PX, quality=PREVIEW_QUALITY)
        return FinishedImage(file=picture, info=info, preview=preview, preview_info=preview_info)


def _rendered(
    bench: Workbench, clean: BinaryIO, anatomy: Anatomy, requirements: ImageRequirements
) -> PreparedImage:
    file = bench.empty_file()
    info = encode(
        render(bench.reader(clean), anatomy, max_side_px=requirements.max_side_px),
        requirements.preferred_type,
        file,
        max_bytes=requirements.max_bytes,
    )
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    return PreparedImage(file=file, info=info, size_bytes=size)
