from collections.abc import Iterator

import pytest

from photochanger.adapters.images import PillowImageEditor
from photochanger.testing.images import ImageEditorContract


class TestPillowImageEditor(ImageEditorContract):
    @pytest.fixture
    def editor(self) -> Iterator[PillowImageEditor]:
        editor = PillowImageEditor()
        yield editor
        editor.close()
