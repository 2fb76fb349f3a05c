"""A bucket of its own for every test, and a store that comes to it through a gate."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from photochanger.adapters.filesystem import FilesystemMediaStore
from photochanger.adapters.object_store.bucket import Bucket
from photochanger.adapters.object_store.store import ObjectMediaStore, Scratch
from photochanger.adapters.object_store.uploads import PART_BYTES
from tests.s3_gate import S3Gate
from tests.s3_server import S3Server


@pytest.fixture
def bucket(s3_server: S3Server) -> Bucket:
    """An empty bucket, without the gate."""
    return s3_server.new_bucket()


@pytest.fixture
async def gate(s3_server: S3Server) -> AsyncIterator[S3Gate]:
    """A gate that lets everything through, unless a test says otherwise."""
    async with S3Gate(s3_server.port).open() as gate:
        yield gate


@pytest.fixture
def scratch(tmp_path: Path) -> Scratch:
    """Files in work, in a folder of the test's."""
    return FilesystemMediaStore(tmp_path / "media").scratch


@pytest.fixture
def store(gate: S3Gate, bucket: Bucket, scratch: Scratch) -> ObjectMediaStore:
    """A store on the bucket, through the gate."""
    return ObjectMediaStore(gate.before(bucket), scratch=scratch)


@pytest.fixture
def store_in_parts(gate: S3Gate, bucket: Bucket, scratch: Scratch) -> ObjectMediaStore:
    """The same, for which what is larger than a part is a large file."""
    return ObjectMediaStore(gate.before(bucket), scratch=scratch, single_bytes=PART_BYTES)
