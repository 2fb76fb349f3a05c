"""Images that are stored at the same time."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from io import BytesIO

import pytest

from photochanger.adapters.memory import MemoryMediaStore
from photochanger.application.ports import MediaWriter
from photochanger.application.store_image import store_image, stored_at_once
from photochanger.domain.errors import StorageUnavailable
from photochanger.domain.media import MediaId, MediaKind
from photochanger.testing.harness import new_id
from tests.unit.application.house import INFO

pytestmark = pytest.mark.anyio


class _Sociable(MemoryMediaStore):
    """Opens no file before as many writers have come as are expected; then some find no room."""

    def __init__(self, expected: int, *, fails_for: str = "") -> None:
        super().__init__()
        self._barrier = asyncio.Barrier(expected)
        self._fails_for = fails_for
        self.left: list[str] = []

    @asynccontextmanager
    async def create(self, key: str) -> AsyncIterator[MediaWriter]:
        await self._barrier.wait()
        if self._fails_for and key.startswith(self._fails_for):
            raise StorageUnavailable
        try:
            if self._fails_for:
                await asyncio.Event().wait()
            async with super().create(key) as writer:
                yield writer
        finally:
            self.left.append(key.partition("/")[0])


async def test_they_wait_for_the_store_together() -> None:
    store = _Sociable(2)
    ids = [MediaId(new_id()), MediaId(new_id())]
    image, preview = await asyncio.wait_for(
        stored_at_once(
            store_image(store, MediaKind.RESULT, ids[0], BytesIO(b"image: large"), INFO),
            store_image(store, MediaKind.PREVIEW, ids[1], BytesIO(b"image: small"), INFO),
        ),
        5,
    )
    assert [image.media_id, preview.media_id] == ids
    assert (image.file.size_bytes, preview.file.size_bytes) == (12, 12)


async def test_where_one_fails_the_others_are_stopped_and_leave_nothing() -> None:
    store = _Sociable(2, fails_for="preview")
    with pytest.raises(StorageUnavailable):
        await asyncio.wait_for(
            stored_at_once(
                store_image(store, MediaKind.RESULT, MediaId(new_id()), BytesIO(b"image: 1"), INFO),
                store_image(store, MediaKind.PREVIEW, MediaId(new_id()), BytesIO(b"image: 2"), INFO),
            ),
            5,
        )
    assert store.left == ["result"]
    assert [key async for key in store.keys()] == []  # noqa: SIM118 - not a mapping
