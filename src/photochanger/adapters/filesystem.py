"""The media store in a folder: local, or shared by several machines.

A key `payload/ab/ab12…` is the file of that path below the root. It is written as `….part` beside its final
name, so that `delete` finds what a killed writer left, and becomes visible by a hard link, which never
replaces a file. Symbolic links below the root are not followed.

Where the root's disk is gone there may be an empty folder in its place. What is missing there is not deleted,
and nothing is stored there: the store is unavailable until the disk is back.

Chunks are written and read on the event loop: a page-cache copy of 256 KiB takes less time than a change of
threads. What waits for the disk (fsync, link, listing) runs in threads of low priority: what the kernel does
for a large file takes a core from the event loop otherwise, and makes answers late.
"""

import asyncio
import errno
import hashlib
import io
import os
import re
import secrets
import stat
import tempfile
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import BinaryIO, Final, TypeVar, cast

from photochanger.adapters.background_threads import background_threads
from photochanger.application.ports.media import MediaStore, MediaWriter
from photochanger.domain.errors import StorageUnavailable
from photochanger.domain.media import StoredFile

CHUNK_BYTES: Final = 256 * 1024

_DELETERS: Final = 4
"""So many folders are emptied at once. Every one of them waits for the disk, and next to no time is spent
otherwise; threads of their own, so that no photo waits until a deletion is done."""

_PART: Final = ".part"
_SCRATCH: Final = "scratch"
_FILE_MODE: Final = 0o600
_FOLDER_MODE: Final = 0o700
_ROOT_FLAGS: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_FOLDER_FLAGS: Final = _ROOT_FLAGS | os.O_NOFOLLOW
_NO_ROOM: Final = frozenset({errno.ENOSPC, errno.EDQUOT})

_T = TypeVar("_T")

_NOT_THERE: Final = "The media folder is not there: is its disk mounted?"

_KIND = re.compile(r"[a-z]+(?:_[a-z]+)*")
_KEY = re.compile(rf"({_KIND.pattern})/([0-9a-f]{{2}})/(\2[0-9a-f]{{30}})")


class FilesystemMediaStore(MediaStore):
    """Keeps files below `root`, which only this user can read. Call `check` before the first use."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._checked: tuple[int, int] | None = None
        self._threads = background_threads(8, "media-store")
        self._deleters = background_threads(_DELETERS, "media-deletion")

    def check(self) -> None:
        """Make the folders that are missing, and try what every write needs.

        A folder that is full passes: what is in it can be read, and deleting makes room. Raises
        `StorageUnavailable` with one sentence that says what is wrong; it does not name the folder.
        """
        try:
            (self._root / _SCRATCH).mkdir(mode=_FOLDER_MODE, parents=True, exist_ok=True)
            self._try_to_publish()
        except OSError as error:
            if error.errno not in _NO_ROOM or not self._root.is_dir():
                reason = os.strerror(error.errno or errno.EIO)
                raise StorageUnavailable(f"The media folder cannot be used: {reason}") from error
        if (self._root / _SCRATCH).is_dir():
            self._checked = _identity(self._root.stat())

    def _try_to_publish(self) -> None:
        with _opened_folder(self._root) as folder:
            name = f".check-{secrets.token_hex(8)}"
            file = _create_part(folder, name)
            try:
                os.write(file, b"writable")
                _publish(file, folder, name)
            finally:
                os.close(file)
                _withdraw(folder, name)

    @asynccontextmanager
    async def create(self, key: str) -> AsyncIterator[MediaWriter]:
        """Return a writer for a new file; see the port."""
        path, name = _split(key)
        with _translated():
            folder = await self._folder_for_writing(path)
        try:
            with _translated():
                file = _create_part(folder, name)
        except BaseException:
            os.close(folder)
            raise
        writer = _Writer(file, folder, name, self._threads)
        try:
            yield writer
        finally:
            writer.close()

    async def _folder_for_writing(self, path: str) -> int:
        try:
            return self._open_folder(path)
        except FileNotFoundError:
            await asyncio.wrap_future(self._threads.submit(self._make_folder, path))
            return self._open_folder(path)

    def _make_folder(self, path: str) -> None:
        if self._checked is None:
            self._root.mkdir(mode=_FOLDER_MODE, parents=True, exist_ok=True)
        with self._opened_root() as root:
            self._require_ours(root)
            for folder in (_parent(path), path):
                with suppress(FileExistsError):
                    os.mkdir(folder, _FOLDER_MODE, dir_fd=root)
                    with _opened_folder(_parent(folder), within=root) as parent:
                        os.fsync(parent)

    @asynccontextmanager
    async def open(self, key: str) -> AsyncIterator[BinaryIO]:
        """Return the file's bytes as a readable file; see the port."""
        with os.fdopen(self._open_file(key), "rb") as file:
            yield file

    async def read(self, key: str, start: int = 0, stop: int | None = None) -> AsyncIterator[bytes]:
        """Yield the bytes from `start` up to `stop` in chunks of at most 256 KiB; see the port."""
        file = self._open_file(key)
        try:
            while stop is None or start < stop:
                wanted = CHUNK_BYTES if stop is None else min(CHUNK_BYTES, stop - start)
                with _translated():
                    chunk = os.pread(file, wanted, start)
                if not chunk:
                    return
                start += len(chunk)
                yield chunk
        finally:
            os.close(file)

    async def local(self, key: str) -> BinaryIO:
        """Return the file, open; see the port."""
        return os.fdopen(self._open_file(key), "rb", buffering=0)

    def _open_file(self, key: str) -> int:
        path, name = _split(key)
        with _translated():
            folder = self._open_folder(path)
            try:
                return _open_regular(folder, name)
            finally:
                os.close(folder)

    @contextmanager
    def scratch(self) -> Iterator[BinaryIO]:
        """Return an empty file without a name; see the port."""
        folder = self._root / _SCRATCH
        with _translated():
            try:
                file = _scratch_file(folder)
            except FileNotFoundError:
                self._make_folder(_SCRATCH)
                file = _scratch_file(folder)
        try:
            yield file
        finally:
            with suppress(StorageUnavailable):  # bytes that find no room at the end are not wanted any more
                file.close()

    async def delete(self, keys: Collection[str]) -> Collection[str]:
        """Delete the files and their unfinished parts, if there are any; see the port."""
        names_in: defaultdict[str, list[str]] = defaultdict(list)
        for key in keys:
            path, name = _split(key)
            names_in[path].append(name)
        folders = list(names_in.items())
        shares = [dict(folders[first::_DELETERS]) for first in range(max(1, min(_DELETERS, len(folders))))]
        deletions = [asyncio.wrap_future(self._deleters.submit(self._delete, share)) for share in shares]
        return set[str]().union(*await asyncio.gather(*deletions))

    def _delete(self, names_in: Mapping[str, Sequence[str]]) -> Collection[str]:
        clear: set[str] = set()
        with _reached(), self._opened_root() as root:
            self._require_ours(root)
            for path, names in names_in.items():
                with suppress(OSError):  # what is wrong with one folder does not keep the files of others
                    clear.update(f"{path}/{name}" for name in _delete_from(root, path, names))
        return clear

    async def keys(self, after: str = "") -> AsyncIterator[str]:
        """Yield the key of every file, whole or partial, that comes after `after`; see the port."""
        for kind in await self._in_thread(partial(self._folders_in, "", after)):
            for shard in await self._in_thread(partial(self._folders_in, kind, after)):
                for key in await self._in_thread(partial(self._keys_in, shard, after)):
                    yield key

    def _folders_in(self, folder: str, after: str) -> Sequence[str]:
        """Return the paths, with a slash at the end, of the folders that may hold keys after `after`."""
        paths = [f"{folder}{name}/" for name in self._listed(folder, folders=True)]
        return sorted(path for path in paths if after[: len(path)] <= path)

    def _keys_in(self, shard: str, after: str) -> Sequence[str]:
        names = {name.removesuffix(_PART) for name in self._listed(shard)}
        return sorted(key for name in names if _KEY.fullmatch(key := f"{shard}{name}") and key > after)

    async def ping(self) -> None:
        """Write a few bytes where files in work are; see the port."""
        with self.scratch() as file, _translated(), self._opened_root() as root:
            self._require_ours(root)
            os.write(file.fileno(), b"ready")

    async def _in_thread(self, call: Callable[[], _T]) -> _T:
        return await asyncio.wrap_future(self._threads.submit(call))

    def _listed(self, folder: str, *, folders: bool = False) -> Sequence[str]:
        with (
            _reached(),
            self._opened_root() as root,
            _opened_folder(folder or ".", within=root) as listed,
            os.scandir(listed) as entries,
        ):
            self._require_ours(root)
            return [
                entry.name
                for entry in entries
                if (entry.is_dir if folders else entry.is_file)(follow_symlinks=False)
            ]

    @contextmanager
    def _opened_root(self) -> Iterator[int]:
        try:
            root = os.open(self._root, _ROOT_FLAGS)
        except FileNotFoundError as error:
            if self._checked is not None:
                raise StorageUnavailable(_NOT_THERE) from error
            raise
        try:
            yield root
        finally:
            os.close(root)

    def _require_ours(self, root: int) -> None:
        """Raise `StorageUnavailable` where this is not the folder of `check`, and holds no files of ours.

        The same disk may be another one to the system when it is mounted again.
        """
        if self._checked in {None, _identity(os.fstat(root))}:
            return
        if not any(_KIND.fullmatch(name) for name in os.listdir(root) if name != _SCRATCH):
            raise StorageUnavailable(_NOT_THERE)

    def _open_folder(self, path: str) -> int:
        with self._opened_root() as root:
            try:
                return _open_below(root, path)
            except FileNotFoundError:
                self._require_ours(root)
                raise


class _ScratchFile(io.FileIO):
    """A file whose writers, whoever they are, learn in our words that there is no room."""

    def write(self, chunk: bytes | bytearray | memoryview) -> int:  # type: ignore[override]
        with _translated():
            return os.write(self.fileno(), chunk)


class _Writer(MediaWriter):
    """Owns the descriptors of the part and its folder, until it is closed or a thread takes them over."""

    def __init__(self, file: int, folder: int, name: str, threads: ThreadPoolExecutor) -> None:
        self._file = file
        self._folder = folder
        self._name = name
        self._threads = threads
        self._hash = hashlib.sha256()
        self._size = 0
        self._readers = ExitStack()
        self._usable = True
        self._committed = False
        self._left_to_thread = False

    async def write(self, chunk: bytes | bytearray | memoryview) -> None:
        self._require_usable()
        rest = memoryview(chunk).cast("B")
        self._usable = False
        with _translated():
            self._hash.update(rest)
            while rest:
                written = os.write(self._file, rest)
                self._size += written
                rest = rest[written:]
        self._usable = True

    def contents(self) -> BinaryIO:
        name = self._name if self._committed else self._name + _PART
        with _translated():
            return self._readers.enter_context(os.fdopen(_open_regular(self._folder, name), "rb"))

    async def commit(self) -> StoredFile:
        self._require_usable()
        self._usable = False
        publishing = self._threads.submit(_publish, self._file, self._folder, self._name)
        try:
            with _translated():
                await asyncio.wrap_future(publishing)
        except asyncio.CancelledError:
            self._left_to_thread = True
            publishing.add_done_callback(self._undo)
            raise
        self._committed = True
        return StoredFile(size_bytes=self._size, sha256=self._hash.hexdigest())

    def close(self) -> None:
        """Leave nothing behind but what was committed."""
        self._readers.close()
        if not self._left_to_thread:
            self._release(keep=self._committed)

    def _undo(self, publishing: Future[None]) -> None:
        # Nobody learned that the file was stored: it must not be there. A disk that hangs in fsync hangs
        # this thread, and not the caller who gave up.
        if publishing.cancelled() or publishing.exception() is not None:
            self._release(keep=False)
            return
        with suppress(OSError):
            os.unlink(self._name, dir_fd=self._folder)
        self._release(keep=True)

    def _release(self, *, keep: bool) -> None:
        with suppress(OSError):
            if not keep:
                os.unlink(self._name + _PART, dir_fd=self._folder)
        with suppress(OSError):  # NFS says only now that there was no room (close(2)), for what nobody wants
            os.close(self._file)
        os.close(self._folder)

    def _require_usable(self) -> None:
        if not self._usable:
            raise StorageUnavailable("The file could not be written")


def _split(key: str) -> tuple[str, str]:
    """Return the folder and the name of a key's file."""
    if not _KEY.fullmatch(key):
        raise ValueError("not a key of the media store")
    folder, _, name = key.rpartition("/")
    return folder, name


def _parent(folder: str) -> str:
    return folder.rpartition("/")[0] or "."


def _identity(found: os.stat_result) -> tuple[int, int]:
    return found.st_dev, found.st_ino


def _scratch_file(folder: Path) -> BinaryIO:
    with tempfile.TemporaryFile(dir=folder, buffering=0) as nameless:
        file = _ScratchFile(os.dup(nameless.fileno()), "r+")
    return cast("BinaryIO", io.BufferedRandom(file))


def _create_part(folder: int, name: str) -> int:
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    return os.open(name + _PART, flags, _FILE_MODE, dir_fd=folder)


def _publish(file: int, folder: int, name: str) -> None:
    """Make the part durable, then visible, then its visibility durable."""
    os.fsync(file)
    os.link(name + _PART, name, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)
    try:
        os.unlink(name + _PART, dir_fd=folder)
        os.fsync(folder)
    except OSError:
        with suppress(OSError):
            os.unlink(name, dir_fd=folder)
        raise


def _withdraw(folder: int, name: str) -> None:
    for each in (name + _PART, name):
        with suppress(FileNotFoundError):
            os.unlink(each, dir_fd=folder)


def _delete_from(root: int, path: str, names: Sequence[str]) -> Sequence[str]:
    """Delete files of one folder, and return the names of which durably nothing is left."""
    try:
        folder = _open_below(root, path)
    except FileNotFoundError:
        return names
    try:
        clear = [name for name in names if _is_withdrawn(folder, name)]
        # Without this a file could be back after a power failure, when its row says that it is deleted. It is
        # done also where nothing was found: who deleted it may have been killed before this.
        os.fsync(folder)
    finally:
        os.close(folder)
    return clear


def _is_withdrawn(folder: int, name: str) -> bool:
    try:
        _withdraw(folder, name)
    except OSError:
        return False
    return True


def _open_below(root: int, path: str) -> int:
    kind, _, shard = path.partition("/")
    parent = os.open(kind, _FOLDER_FLAGS, dir_fd=root)
    try:
        return os.open(shard, _FOLDER_FLAGS, dir_fd=parent)
    finally:
        os.close(parent)


def _open_regular(folder: int, name: str) -> int:
    # O_NONBLOCK: a FIFO in the folder must not make the process wait for its writer.
    try:
        file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise FileNotFoundError(errno.ENOENT, "not a file of the media store") from error
        raise
    if stat.S_ISREG(os.fstat(file).st_mode):
        return file
    os.close(file)
    raise FileNotFoundError(errno.ENOENT, "not a file of the media store")


@contextmanager
def _opened_folder(path: Path | str, *, within: int | None = None) -> Iterator[int]:
    folder = os.open(path, _ROOT_FLAGS, dir_fd=within)
    try:
        yield folder
    finally:
        os.close(folder)


@contextmanager
def _reached() -> Iterator[None]:
    """Turn whatever is wrong with a folder that was there into what the port promises."""
    try:
        yield
    except OSError as error:
        raise StorageUnavailable from error


@contextmanager
def _translated() -> Iterator[None]:
    """Turn what the system reports into what the port promises."""
    try:
        yield
    except (FileNotFoundError, FileExistsError):
        raise
    except OSError as error:
        message = "There is no room in the media store" if error.errno in _NO_ROOM else None
        raise StorageUnavailable(message) from error
