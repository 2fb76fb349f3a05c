"""Writing images of ours into the media store."""

import asyncio
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from typing import Any, BinaryIO, Final

from photochanger.application.ports.media import MediaRegistry, MediaStore
from photochanger.domain.errors import StorageUnavailable, Unavailable
from photochanger.domain.image import ImageInfo
from photochanger.domain.media import MediaId, MediaKind, StoredImage, media_key
from photochanger.domain.slot import SlotId

_CHUNK: Final = 256 * 1024


@asynccontextmanager
async def announced(
    registry: MediaRegistry,
    media: Sequence[tuple[MediaId, MediaKind]],
    *,
    slot_id: SlotId | None,
    ttl: timedelta,
) -> AsyncIterator[None]:
    """Record the rows of files that are written in the context; where that fails, condemn all of them.

    Then the next sweep makes room again. What is cancelled is swept away at the end of `ttl`. From then on
    nobody would know the files, so what takes as long ends with `StorageUnavailable`.
    """
    limit = asyncio.timeout(ttl.total_seconds())
    try:
        async with limit:
            await registry.intend(media, slot_id=slot_id, ttl=ttl)
            yield
    except Exception as error:
        with suppress(Unavailable):
            await registry.condemn([media_id for media_id, _ in media])
        if isinstance(error, TimeoutError) and limit.expired():
            raise StorageUnavailable("The media store takes too long") from error
        raise


async def stored_at_once(*storing: Coroutine[Any, Any, StoredImage]) -> Sequence[StoredImage]:
    """Store several images at the same time; where one fails, the others are stopped and its error raised.

    What takes its time is to wait for a disk or a service, which they do together.
    """
    tasks = [asyncio.ensure_future(each) for each in storing]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


async def store_image(
    store: MediaStore, kind: MediaKind, media_id: MediaId, file: BinaryIO, info: ImageInfo
) -> StoredImage:
    """Copy `file`, from where it stands to its end, into the store; its row has to be there already."""
    async with store.create(media_key(kind, media_id)) as writer:
        while chunk := file.read(_CHUNK):
            await writer.write(chunk)
        return StoredImage(media_id=media_id, file=await writer.commit(), info=info)
