"""What the service or the network reports, as what the port promises.

obstore's texts hold addresses, names and whole answers: none of them gets out, not even as a cause.
"""

import asyncio
import errno
import os
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Final

from obstore.exceptions import BaseError, PermissionDeniedError, UnauthenticatedError

from photochanger.domain.errors import StorageUnavailable

ANSWER_SEC: Final = 10.0
"""How long the service may take to answer what is no upload, repetitions included."""

NO_BUCKET: Final = "NoSuchBucket"
NO_ACCESS: Final = "AccessDenied"
NOT_SATISFIABLE: Final = "InvalidRange"
OTHER_REGION: Final = "PermanentRedirect"

_NO_ROOM: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
_CODE = re.compile(r"<Code>([A-Za-z]{1,64})</Code>")
_STATUS = re.compile(r"non-2xx status code: ([1-5][0-9]{2})\b")
_BARE_REDIRECT: Final = "redirect without LOCATION"
_ONE_OBJECT: Final = "DeleteObjects request failed for key"

CODE_OF_STATUS: Final = {"403": NO_ACCESS, "416": NOT_SATISFIABLE, "301": OTHER_REGION, "307": OTHER_REGION}
"""What an answer without a body, or without a code in it, comes down to."""


def code_of(error: BaseException) -> str | None:
    """Return the service's word for what is wrong, or its HTTP status; None where there was no answer.

    https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html
    """
    text = str(error)
    if code := _CODE.search(text):
        return code[1]
    if status := _STATUS.search(text):
        return CODE_OF_STATUS.get(status[1], status[1])
    if _BARE_REDIRECT in text:
        return OTHER_REGION
    return NO_ACCESS if isinstance(error, PermissionDeniedError | UnauthenticatedError) else None


def is_about_one_object(error: BaseException) -> bool:
    """Say whether a request for many objects was understood and carried out, but not for each of them."""
    return _ONE_OBJECT in str(error)


def unavailable(error: BaseException) -> StorageUnavailable:
    """Return the error of ours for one of obstore's or the system's."""
    if isinstance(error, OSError) and error.errno in _NO_ROOM:
        return StorageUnavailable("There is no room for files in work")
    code = code_of(error)
    return StorageUnavailable(
        f"The object store answers {code}" if code else "The object store does not answer"
    )


@contextmanager
def translated() -> Iterator[None]:
    """Turn what obstore and the system report into what the port promises."""
    try:
        yield
    except FileNotFoundError as error:
        if code_of(error) == NO_BUCKET:
            raise unavailable(error) from None
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT)) from None
    except FileExistsError:
        raise
    except (BaseError, OSError) as error:
        raise unavailable(error) from None


@asynccontextmanager
async def answered() -> AsyncIterator[None]:
    """Do the same, for what may take no longer than `ANSWER_SEC`."""
    with translated():
        async with asyncio.timeout(ANSWER_SEC):
            yield
