"""Writing an image of ours into the media store."""

from typing import BinaryIO, Final

from photochanger.application.ports.storage import MediaStore
from photochanger.domain.image import ImageInfo
from photochanger.domain.media import MediaId, MediaKind, StoredImage, media_key

_CHUNK: Final = 256 * 1024


async def store_image(
    store: MediaStore, kind: MediaKind, media_id: MediaId, file: BinaryIO, info: ImageInfo
) -> StoredImage:
    """Copy `file`, from where it stands to its end, into the store; its row has to be there already."""
    async with store.create(media_key(kind, media_id)) as writer:
        while chunk := file.read(_CHUNK):
            await writer.write(chunk)
        return StoredImage(media_id=media_id, file=await writer.commit(), info=info)
