"""Sending files to the service: each key once, and nothing left of what failed.

Up to `SINGLE_BYTES` a file is one request, with `If-None-Match: *`: the service makes the object, whole, or
refuses, and there is no state in between that could be left behind, whoever is killed when. The body is a map
of the file, so that it is never copied into memory.

A larger file is a multipart upload, for which obstore knows no condition. Its writer first makes `….part`, an
empty object, as a single request; whoever cannot, has lost. What fails or is given up is aborted. Only a
process that is killed during such an upload leaves parts, which no listing shows and obstore cannot find: a
rule of the bucket (AbortIncompleteMultipartUpload) has to remove them; see docs/media.md.

An answer can be lost on its way. So every object carries a mark of its writer, by which it finds out whether
what is there is its own.
"""

import asyncio
import errno
import os
import secrets
from contextlib import suppress
from mmap import mmap
from typing import Final, TypeAlias

import obstore
from obstore.exceptions import BaseError
from obstore.store import S3Store

from photochanger.adapters.object_store.faults import answered, unavailable
from photochanger.domain.errors import StorageUnavailable

SINGLE_BYTES: Final = 64 * 1024 * 1024
"""More than the upload limit that slots begin with (50 MB)."""

PART_BYTES: Final = 8 * 1024 * 1024
"""At least 5 MiB; with at most 10,000 parts that makes 78 GiB.

https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html
"""

PART: Final = ".part"
_PARTS_AT_ONCE: Final = 2
_ATTEMPTS: Final = 2
_MARK: Final = "photochanger-writer"

Body: TypeAlias = bytes | mmap


class _GivenUp(Exception):
    """Nobody wants the file any more."""


class Uploads:
    """Puts files under keys. `is_conditional` says whether the service keeps the conditions of requests.

    Where it does not, it is looked first whether a key is taken: then two writers of one key at the same time
    would both be told that they have stored it.
    """

    def __init__(
        self, client: S3Store, *, single_bytes: int = SINGLE_BYTES, part_bytes: int = PART_BYTES
    ) -> None:
        self._client = client
        self._single_bytes = single_bytes
        self._part_bytes = part_bytes
        self.is_conditional = True

    async def put(self, key: str, body: Body, given_up: asyncio.Event) -> None:
        """Make the file durable and visible; raises `FileExistsError` or `StorageUnavailable`.

        Not to be cancelled: set `given_up`, and wait.
        """
        if len(body) <= self._single_bytes:
            await self._put_once(key, body)
            return
        await self._put_once(key + PART, b"")
        try:
            await self._put_in_parts(key, body, given_up)
        finally:
            with suppress(StorageUnavailable):
                await self.remove(key + PART)

    async def remove(self, path: str) -> None:
        """Delete an object; harmless where there is none."""
        with suppress(FileNotFoundError):
            async with answered():
                await obstore.delete_async(self._client, path)

    async def _put_once(self, path: str, body: Body) -> None:
        if not self.is_conditional and await self._mark_at(path) is not None:
            raise _exists()
        mark = secrets.token_hex(8)
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                await obstore.put_async(
                    self._client,
                    path,
                    body,
                    mode="create" if self.is_conditional else "overwrite",
                    use_multipart=False,
                    attributes={_MARK: mark},
                )
            except (BaseError, OSError) as error:
                if await self._is_stored(path, mark, error):
                    return
                if attempt == _ATTEMPTS:
                    raise unavailable(error) from None
            else:
                return

    async def _put_in_parts(self, key: str, body: Body, given_up: asyncio.Event) -> None:
        if await self._mark_at(key) is not None:
            raise _exists()
        mark, whole = secrets.token_hex(8), memoryview(body)
        try:
            async with obstore.open_writer_async(
                self._client,
                key,
                buffer_size=self._part_bytes,
                max_concurrency=_PARTS_AT_ONCE,
                attributes={_MARK: mark},
            ) as parts:  # aborts the upload where the block or its end fails
                for start in range(0, len(whole), self._part_bytes):
                    await parts.write(whole[start : start + self._part_bytes])
                    if given_up.is_set():
                        raise _GivenUp
        except (BaseError, OSError) as error:
            if not await self._is_stored(key, mark, error):
                raise unavailable(error) from None

    async def _is_stored(self, path: str, mark: str, error: Exception) -> bool:
        """Say whether an upload that ended with `error` has succeeded nevertheless.

        Raises `FileExistsError` where another writer's file is there.
        """
        try:
            found = await self._mark_at(path)
        except StorageUnavailable:
            raise unavailable(error) from None
        if found is None or found == mark:
            return found == mark
        raise _exists() from None

    async def _mark_at(self, path: str) -> str | None:
        """Return the mark of the object's writer, or None where there is no object."""
        try:
            async with answered():
                found = await obstore.get_async(self._client, path, options={"head": True})
        except FileNotFoundError:
            return None
        return found.attributes.get(_MARK, "")


def _exists() -> FileExistsError:
    return FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
