from pathlib import Path

import pytest

from photochanger.adapters.filesystem import FilesystemMediaStore
from photochanger.testing.media_store import MediaStoreContract


class TestFilesystemMediaStore(MediaStoreContract):
    @pytest.fixture
    def store(self, tmp_path: Path) -> FilesystemMediaStore:
        store = FilesystemMediaStore(tmp_path / "media")
        store.check()
        return store
