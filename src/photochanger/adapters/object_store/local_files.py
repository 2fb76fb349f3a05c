"""Files on this machine's disk: what is being received, before it is sent to the service."""

import io
import os
from mmap import PROT_READ, mmap
from typing import BinaryIO, cast

from photochanger.adapters.object_store.uploads import Body


def append(file: BinaryIO, chunk: memoryview) -> None:
    """Write all of `chunk` at the file's position, past its buffer."""
    while chunk:
        chunk = chunk[os.write(file.fileno(), chunk) :]


def body_of(file: BinaryIO) -> Body:
    """Return the bytes of the file without reading them; valid also when the file has been closed."""
    return mmap(file.fileno(), 0, prot=PROT_READ) if os.fstat(file.fileno()).st_size else b""


def reader_of(file: BinaryIO) -> BinaryIO:
    """Return the bytes of the file as a file with a position of its own."""
    return cast("BinaryIO", io.BufferedReader(_Window(file)))


class _Window(io.RawIOBase):
    """Reads through somebody else's descriptor, at its own position."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._file.fileno()

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        count = os.preadv(self.fileno(), [buffer], self._at)
        self._at += count
        return count

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        size = os.fstat(self.fileno()).st_size
        self._at = max(0, offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: size}[whence])
        return self._at
