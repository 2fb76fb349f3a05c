from importlib.resources import files
from io import BytesIO

import pytest
from PIL import ExifTags

from photochanger.adapters.images import PillowImageEditor
from photochanger.domain.image import ImageRequirements
from photochanger.testing import marks, photos


@pytest.fixture
def sample() -> bytes:
    return (files("photochanger.entrypoints.cli") / "sample.jpg").read_bytes()


def test_the_sample_is_what_a_camera_would_send(sample: bytes) -> None:
    exif = photos.decoded(sample).getexif()
    assert len(sample) < 300_000
    assert exif[ExifTags.Base.Orientation] == 6
    assert exif.get_ifd(ExifTags.IFD.GPSInfo)
    assert exif.get_ifd(ExifTags.IFD.IFD1)


@pytest.mark.anyio
async def test_the_sample_is_turned_and_cleaned(sample: bytes) -> None:
    editor = PillowImageEditor()
    async with editor.prepare(BytesIO(sample), ImageRequirements()) as prepared:
        data = prepared.file.read()
    editor.close()
    assert marks.metadata_markers(data) == []
    top, bottom = (photos.decoded(data).crop((150, at, 300, at + 150)) for at in (0, 362))
    assert sum(top.convert("L").histogram()[200:]) > sum(bottom.convert("L").histogram()[200:])
