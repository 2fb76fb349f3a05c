"""Deleting many objects: with one request where the service can do that, or else one by one.

obstore tells of a request for many (DeleteObjects) no more than its first error, and not what became of the
others. So where one is answered with an error, whatever it is, every object is asked for by itself.
"""

import asyncio
from collections.abc import Collection, Sequence
from itertools import islice
from typing import Final

import obstore

from photochanger.adapters.object_store.bucket import Bucket
from photochanger.adapters.object_store.client import connect
from photochanger.adapters.object_store.faults import ANSWER_SEC, is_about_one_object, unavailable
from photochanger.adapters.object_store.uploads import PART, Uploads
from photochanger.domain.errors import StorageUnavailable

KEYS_AT_ONCE: Final = 250
"""Each is two objects, and 1000 are allowed; so few that also a slow service is done in `ANSWER_SEC`.

https://docs.aws.amazon.com/AmazonS3/latest/API/API_DeleteObjects.html
"""

_REQUESTS_AT_ONCE: Final = 16


class Deletion:
    """Deletes files, with the marks of unfinished uploads beside them."""

    def __init__(self, bucket: Bucket, uploads: Uploads) -> None:
        self._client = connect(bucket, deletes_many=True)
        self._uploads = uploads

    async def __call__(self, keys: Collection[str]) -> Collection[str]:
        """Delete the files; return the keys of which nothing is left. Raises `StorageUnavailable`."""
        left, clear = iter(dict.fromkeys(keys)), set[str]()
        while some := list(islice(left, KEYS_AT_ONCE)):
            clear.update(await self._delete(some))
        return clear

    async def _delete(self, keys: Sequence[str]) -> Collection[str]:
        error = await self._delete_at_once([path for key in keys for path in (key, key + PART)])
        if error is None:
            return keys
        places = asyncio.Semaphore(_REQUESTS_AT_ONCE)
        outcomes = await asyncio.gather(*(self._is_deleted(key, places) for key in keys))
        clear = [key for key, is_deleted in zip(keys, outcomes, strict=True) if is_deleted]
        if not clear and not is_about_one_object(error):
            raise unavailable(error) from None
        return clear

    async def _delete_at_once(self, paths: Sequence[str]) -> Exception | None:
        try:
            async with asyncio.timeout(ANSWER_SEC):
                await obstore.delete_async(self._client, paths)
        except (FileNotFoundError, TimeoutError) as error:  # there is no bucket, or no answer
            raise unavailable(error) from None
        except Exception as error:  # noqa: BLE001  # it panics at an answer that names another object
            return error
        return None

    async def _is_deleted(self, key: str, places: asyncio.Semaphore) -> bool:
        try:
            for path in (key, key + PART):
                async with places:
                    await self._uploads.remove(path)
        except StorageUnavailable:
            return False
        return True
