"""Pictures that find no room while they are written."""

import os
import resource
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import BinaryIO

import pytest
from PIL import Image

from photochanger.adapters.images.pixels import encode, encode_preview
from photochanger.domain.image import ImageType

NOISE = Image.effect_noise((300, 300), 80).convert("RGB")


@contextmanager
def files_end_at(size_bytes: int) -> Iterator[None]:
    """Cut writes short where a file would become larger, and let the next ones fail: as a full disk does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def picture(image_type: ImageType) -> Callable[[BinaryIO], None]:
    return lambda file: (encode(NOISE, image_type, file), None)[1]


def preview(file: BinaryIO) -> None:
    encode_preview(NOISE.copy(), file, max_side_px=300, quality=80)


@pytest.mark.parametrize(
    "write",
    [
        pytest.param(preview, id="preview"),
        *(pytest.param(picture(image_type), id=image_type.name) for image_type in ImageType),
    ],
)
@pytest.mark.parametrize("missing", [1, 1000, 0.5])
def test_a_picture_that_lacks_its_end_is_never_taken_for_a_whole_one(
    write: Callable[[BinaryIO], None], missing: float
) -> None:
    with tempfile.TemporaryFile() as file:
        write(file)
        whole = os.fstat(file.fileno()).st_size
    room = int(whole * missing) if missing < 1 else whole - int(missing)
    with tempfile.TemporaryFile() as file, files_end_at(room), pytest.raises(OSError, match="too large"):
        write(file)
