"""Whether a bucket is fit for us, and if not, what to do about it."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError
from obstore.store import S3Store

from photochanger.adapters.object_store.bucket import Bucket
from photochanger.adapters.object_store.faults import ANSWER_SEC, NO_ACCESS, NO_BUCKET, OTHER_REGION, code_of
from photochanger.domain.errors import StorageUnavailable

_CONTENT: Final = b"PhotoChanger looks whether it can use this bucket"

_WITHOUT_CONDITIONS: Final = frozenset({"NotImplemented", "501"})
"""What services answer that know no `If-None-Match` and say so; others pass over it."""

# https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html
_REASONS: Final = {
    NO_BUCKET: "there is no such bucket (MEDIA_URL)",
    OTHER_REGION: "it is in another region (AWS_REGION)",
    "AuthorizationHeaderMalformed": "it is in another region (AWS_REGION)",
    "InvalidAccessKeyId": "the service does not know this key (AWS_ACCESS_KEY_ID)",
    "SignatureDoesNotMatch": "the key's secret is another (AWS_SECRET_ACCESS_KEY)",
    "ExpiredToken": "the session token has expired (AWS_SESSION_TOKEN)",
    "InvalidToken": "the session token is wrong (AWS_SESSION_TOKEN)",
    "RequestTimeTooSkewed": "this machine's clock is wrong",
}


async def check_bucket(client: S3Store, bucket: Bucket) -> bool:
    """Write, read, list and delete; return whether the service keeps conditions of requests.

    Raises `StorageUnavailable` with what is wrong, as one sentence.
    """
    path = f".check-{secrets.token_hex(8)}"
    async with _explained(bucket, "write"):
        is_conditional, version = await _write(client, path)
    try:
        await _read_and_list(client, bucket, path)
    finally:
        async with _explained(bucket, "delete"):
            await obstore.delete_async(client, path)
    if version is not None:
        await _refuse_kept_versions(client, path, version)
    return is_conditional


async def _write(client: S3Store, path: str) -> tuple[bool, str | None]:
    """Write an object, try to write it again, and return whether that was refused, with its version."""
    try:
        first = await obstore.put_async(client, path, _CONTENT, mode="create")
    except BaseError as error:
        if code_of(error) not in _WITHOUT_CONDITIONS:
            raise
        return False, (await obstore.put_async(client, path, _CONTENT, use_multipart=False))["version"]
    try:
        second = await obstore.put_async(client, path, _CONTENT, mode="create")
    except AlreadyExistsError:
        return True, first["version"]
    return False, second["version"]


async def _read_and_list(client: S3Store, bucket: Bucket, path: str) -> None:
    async with _explained(bucket, "read"):
        found = await obstore.get_async(client, path)
        content = bytes(await found.bytes_async())
    if content != _CONTENT:
        raise _unfit("what was written there is not what is read")
    async with _explained(bucket, "list"):
        async for _page in obstore.list(client, path):
            pass


async def _refuse_kept_versions(client: S3Store, path: str, version: str) -> None:
    """Ask for what was just deleted. Only an answer that it is not there will do."""
    try:
        async with asyncio.timeout(ANSWER_SEC):
            await obstore.get_async(client, path, options={"version": version, "head": True})
    except (BaseError, OSError) as error:
        if code_of(error) not in {NO_ACCESS, None}:
            return
    raise _unfit("it keeps old versions, and so what was deleted: suspend its versioning, or take another")


@asynccontextmanager
async def _explained(bucket: Bucket, verb: str) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(ANSWER_SEC):
            yield
    except (BaseError, OSError) as error:
        raise _unfit(_reason(code_of(error), bucket, verb)) from None


def _reason(code: str | None, bucket: Bucket, verb: str) -> str:
    own = "" if bucket.access_key_id else " (the machine's own: AWS_ACCESS_KEY_ID is not set)"
    if code == NO_ACCESS:
        return f"these credentials may not {verb} there{own}"
    if code is not None:
        return _REASONS.get(code, f"the service answers {code} to an attempt to {verb}")
    alternative = ", or there are no credentials (AWS_ACCESS_KEY_ID)" if own else ""
    return f"the service does not answer (AWS_ENDPOINT_URL){alternative}"


def _unfit(reason: str) -> StorageUnavailable:
    return StorageUnavailable(f"The media bucket cannot be used: {reason}")
