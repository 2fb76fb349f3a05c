"""The folder as a media store, held to the port's contract."""

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from photochanger.adapters.filesystem import FilesystemMediaStore
from photochanger.testing.media_store import LocalMediaStoreContract


class TestFilesystemMediaStore(LocalMediaStoreContract):
    """A real disk, on which everything is written; full where the suite asks for a full one."""

    @pytest.fixture
    def store(self, tmp_path: Path) -> FilesystemMediaStore:
        store = FilesystemMediaStore(tmp_path / "media")
        store.check()
        return store

    @pytest.fixture
    def full_store(
        self, store: FilesystemMediaStore, monkeypatch: pytest.MonkeyPatch
    ) -> FilesystemMediaStore:
        room, write = 1 << 20, os.write

        def write_while_there_is_room(descriptor: int, data: bytes) -> int:
            nonlocal room
            if len(data) > room:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            room -= len(data)
            return write(descriptor, data)

        monkeypatch.setattr(os, "write", write_while_there_is_room)
        return store

    @pytest.fixture
    def get_stuck(self, store: FilesystemMediaStore, tmp_path: Path) -> Callable[[str], None]:
        def put_a_folder_in_its_place(key: str) -> None:
            path = tmp_path / "media" / key
            path.unlink(missing_ok=True)
            (path / "of somebody else").mkdir(parents=True)

        return put_a_folder_in_its_place

    @pytest.fixture
    def unreachable_store(self, tmp_path: Path) -> FilesystemMediaStore:
        return FilesystemMediaStore(tmp_path / "not mounted")
