"""The S3-compatible media store, held to the port's contract: small files and large ones."""

import errno
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from photochanger.adapters.filesystem import FilesystemMediaStore
from photochanger.adapters.object_store.store import ObjectMediaStore
from photochanger.testing.media_store import MediaStoreContract
from tests.s3_gate import Keeping, S3Gate
from tests.s3_server import PREFIX, S3Server


class TestObjectMediaStore(MediaStoreContract):
    """A local service over HTTP; its scratch disk is full where the suite asks for a full one."""

    @pytest.fixture
    async def gate(self, s3_server: S3Server) -> AsyncIterator[S3Gate]:
        async with S3Gate(s3_server.port).open() as gate:
            yield gate

    @pytest.fixture
    async def store(self, s3_server: S3Server, gate: S3Gate, tmp_path: Path) -> ObjectMediaStore:
        scratch = FilesystemMediaStore(tmp_path / "media").scratch
        store = ObjectMediaStore(gate.before(s3_server.new_bucket()), scratch=scratch)
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

    @pytest.fixture
    def get_stuck(self, store: ObjectMediaStore, gate: S3Gate) -> Callable[[str], None]:
        def keep(key: str) -> None:
            gate.rule = Keeping(key, PREFIX)

        return keep

    @pytest.fixture
    def unreachable_store(self, s3_server: S3Server, tmp_path: Path) -> ObjectMediaStore:
        return ObjectMediaStore(
            s3_server.bucket("photos-elsewhere"), scratch=FilesystemMediaStore(tmp_path / "media").scratch
        )


class TestObjectMediaStoreInParts(TestObjectMediaStore):
    """The same where every file counts as a large one."""

    @pytest.fixture
    async def store(self, s3_server: S3Server, gate: S3Gate, tmp_path: Path) -> ObjectMediaStore:
        scratch = FilesystemMediaStore(tmp_path / "media").scratch
        bucket = gate.before(s3_server.new_bucket())
        return ObjectMediaStore(bucket, scratch=scratch, single_bytes=0, part_bytes=5 * 1024 * 1024)
