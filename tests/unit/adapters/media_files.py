"""Files for the tests of media stores: deterministic keys, and short ways to write and read."""

import hashlib

import pytest

from photochanger.application.ports import MediaStore
from photochanger.domain.media import MediaId, MediaKind, StoredFile, media_key

BYTES = bytes(range(256)) * 4096
"""1 MiB: more than one chunk of any store."""


def a_key(number: int = 1, kind: MediaKind = MediaKind.PAYLOAD) -> str:
    """Return a key like those of the product; equal numbers give equal keys."""
    return media_key(kind, MediaId(hashlib.md5(b"%d" % number, usedforsecurity=False).hexdigest()))


async def put(store: MediaStore, key: str, content: bytes = BYTES) -> StoredFile:
    """Store `content` under `key`."""
    async with store.create(key) as writer:
        await writer.write(content)
        return await writer.commit()


async def fetch(store: MediaStore, key: str, start: int = 0, stop: int | None = None) -> bytes:
    """Return the bytes under `key` as `read` yields them."""
    return b"".join([chunk async for chunk in store.read(key, start, stop)])


async def listed(store: MediaStore) -> list[str]:
    """Return all keys, as they come."""
    return [key async for key in store.keys()]  # noqa: SIM118 - not a mapping


async def is_absent(store: MediaStore, key: str) -> bool:
    """Say whether neither `open` nor `read` finds the key."""
    with pytest.raises(FileNotFoundError):
        async with store.open(key):
            pass
    with pytest.raises(FileNotFoundError):
        await fetch(store, key)
    return True
