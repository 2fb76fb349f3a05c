"""Taking an administrator's image in: its bytes into a nameless file, and no more of them than allowed."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

from photochanger.application.ports.media import MediaStore
from photochanger.domain.errors import InvalidRequest, PayloadTooLarge


class ReceivedImage:
    """An image on its way in. It vanishes unless it is stored."""

    def __init__(self, file: BinaryIO, limit_bytes: int) -> None:
        self._file = file
        self._limit_bytes = limit_bytes
        self._size_bytes = 0

    def write(self, chunk: bytes) -> None:
        """Take the next bytes; raises `PayloadTooLarge` as soon as they are too many."""
        self._size_bytes += len(chunk)
        if self._size_bytes > self._limit_bytes:
            raise PayloadTooLarge(self._limit_bytes)
        self._file.write(chunk)

    def contents(self) -> BinaryIO:
        """Return the whole file, at its beginning; raises `InvalidRequest` where there are no bytes."""
        if self._size_bytes == 0:
            raise InvalidRequest("The file is empty")
        self._file.flush()
        self._file.seek(0)
        return self._file


@contextmanager
def receiving(store: MediaStore, *, limit_bytes: int) -> Iterator[ReceivedImage]:
    """Open a place for an image's bytes, for the time of the context."""
    with store.scratch() as file:
        yield ReceivedImage(file, limit_bytes)
