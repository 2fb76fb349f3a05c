"""The S3-compatible media store, held to the port's contract: small files and large ones."""

import errno
import os
from pathlib import Path

import pytest

from photochanger.adapters.filesystem import FilesystemMediaStore
from photochanger.adapters.object_store.store import ObjectMediaStore
from photochanger.testing.media_store import MediaStoreContract
from tests.s3_server import S3Server


class TestObjectMediaStore(MediaStoreContract):
    """A local service over HTTP; its scratch disk is full where the suite asks for a full one."""

    @pytest.fixture
    async def store(self, s3_server: S3Server, tmp_path: Path) -> ObjectMediaStore:
        scratch = FilesystemMediaStore(tmp_path / "media").scratch
        store = ObjectMediaStore(s3_server.new_bucket(), scratch=scratch)
        await store.check()
        return store

    @pytest.fixture
    def full_store(self, store: ObjectMediaStore, monkeypatch: pytest.MonkeyPatch) -> ObjectMediaStore:
        room, write = 1 << 20, os.write

        def write_while_there_is_room(descriptor: int, data: bytes) -> int:
            nonlocal room
            if len(data) > room:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            room -= len(data)
            return write(descriptor, data)

        monkeypatch.setattr(os, "write", write_while_there_is_room)
        return store


class TestObjectMediaStoreInParts(TestObjectMediaStore):
    """The same where every file counts as a large one."""

    @pytest.fixture
    async def store(self, s3_server: S3Server, tmp_path: Path) -> ObjectMediaStore:
        scratch = FilesystemMediaStore(tmp_path / "media").scratch
        return ObjectMediaStore(
            s3_server.new_bucket(), scratch=scratch, single_bytes=0, part_bytes=5 * 1024 * 1024
        )
