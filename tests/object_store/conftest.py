"""A bucket of its own for every test, and a store that comes to it through a gate."""

from pathlib import Path

import pytest

from photochanger.adapters.filesystem import FilesystemMediaStore
from photochanger.adapters.object_store.bucket import Bucket
from photochanger.adapters.object_store.store import ObjectMediaStore, Scratch
from photochanger.adapters.object_store.uploads import PART_BYTES
from tests.s3_gate import S3Gate


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
