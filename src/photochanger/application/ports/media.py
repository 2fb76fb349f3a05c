"""The ports to media: the records of files, and the files themselves."""

from abc import abstractmethod
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import BinaryIO, Protocol

from photochanger.domain.media import MediaId, MediaKind, MediaObject, StoredFile, StoredImage
from photochanger.domain.slot import SlotId


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaReading:
    """A media row, and the store's clock at the moment it was read, by which its end is judged."""

    media: MediaObject
    now: datetime


class MediaRegistry(Protocol):
    """The rows that know every file before it exists and until it is gone.

    Payloads, results and previews become stored together with their job's transition (`JobRepository`), and
    templates together with their record (`TemplateRepository`).
    """

    @abstractmethod
    async def intend(
        self, intents: Sequence[tuple[MediaId, MediaKind]], *, slot_id: SlotId | None, ttl: timedelta
    ) -> None:
        """Record that these files, of a slot or of none, are about to be written.

        Unless they are stored by then, they are doomed `ttl` from now. All or none. Raises `ValueError`
        where an id is already known.
        """

    @abstractmethod
    async def offer(self, image: StoredImage) -> None:
        """Mark a pending provider link as stored; it keeps the end that was intended.

        Raises `InternalError`, and writes nothing, where there is no pending provider link with this id.
        """

    @abstractmethod
    async def fetch(self, media_id: MediaId) -> MediaReading | None:
        """Return the row with the store's clock, or None where there is none.

        Where it is a stored provider link whose end has not come, the first such call is recorded as
        `fetched_at`, and the reading shows it; later ones leave it as it is.
        """

    @abstractmethod
    async def peek(self, media_id: MediaId) -> MediaReading | None:
        """Return the same, and record nothing."""

    @abstractmethod
    async def fetched(self, media_ids: Collection[MediaId]) -> Collection[MediaId]:
        """Return those of the files that were ever fetched, whatever has become of them since."""

    @abstractmethod
    async def get(self, media_id: MediaId) -> MediaObject | None:
        """Return the row, or None where there is none."""

    @abstractmethod
    async def condemn(self, media_ids: Collection[MediaId]) -> None:
        """Mark these files for deletion, whatever their state; unknown ones are passed over.

        Those that were deleted already are deleted once more: their writer may have come late.
        """

    @abstractmethod
    async def doomed(self, *, limit: int) -> Sequence[MediaObject]:
        """Return up to `limit` files that must go, and mark them `deleting`: condemned or expired ones.

        The oldest come first. Concurrent callers get different files where enough are there; one whose
        deletion is not confirmed is returned again later.
        """

    @abstractmethod
    async def confirm_deleted(self, media_ids: Collection[MediaId]) -> None:
        """Record that these files are gone; only those in `deleting` change, and a repetition is harmless."""

    @abstractmethod
    async def living(self, *, limit: int, after: str = "") -> Sequence[MediaObject]:
        """Return up to `limit` files that are not deleted, in the order of their keys, from after `after`."""

    @abstractmethod
    async def find(self, media_ids: Collection[MediaId]) -> Mapping[MediaId, MediaObject]:
        """Return the rows that there are, by their id."""

    @abstractmethod
    async def found(self, files: Collection[tuple[MediaId, MediaKind]]) -> Collection[MediaId]:
        """Take over files that no row expects: those without a row get one, in `deleting`.

        So do those that were deleted. They are offered for deletion at once. Returns those that were taken
        over; the rows of all others stay as they are.
        """

    @abstractmethod
    async def lost(self, media_ids: Collection[MediaId]) -> Collection[MediaId]:
        """Record that these files are not where they were stored; return those that are `deleted` by that.

        Only those in `stored` change. Where one is the picture of a result that has not expired, the result
        ends now, as by `JobRepository.end_results`, and its preview is condemned.
        """


class Installation(Protocol):
    """The records as a whole, which have a name of their own."""

    @abstractmethod
    async def get_id(self) -> str:
        """Return 32 hexadecimal digits that were made with the records and stay for as long as they do.

        Records that are made independently have another id; a copy of the records has the same.
        """

    @abstractmethod
    async def has_marked_media(self) -> bool:
        """Return whether `media_marked` was ever called for these records."""

    @abstractmethod
    async def media_marked(self) -> None:
        """Remember for good that a media store was marked as theirs; may be called again."""


class MediaWriter(Protocol):
    """A file being written. Until `commit` it is not there for anyone else."""

    @abstractmethod
    async def write(self, chunk: bytes | bytearray | memoryview) -> None:
        """Append `chunk`. The caller may reuse its buffer afterwards."""

    @abstractmethod
    def contents(self) -> BinaryIO:
        """Return the bytes written so far as a local, seekable, readable file, at its beginning.

        It is the writer's own: valid until the writer ends, and not to be written to or closed.
        """

    @abstractmethod
    async def commit(self) -> StoredFile:
        """Make the file durable and visible under its key, whole or not at all; say what was stored."""


class MediaStore(Protocol):
    """Bytes under keys (`photochanger.domain.media.media_key`). Knows nothing of jobs or time."""

    @abstractmethod
    def create(self, key: str) -> AbstractAsyncContextManager[MediaWriter]:
        """Return a writer for a new file. Leaving the context without `commit` leaves no file.

        A key is written once: `create` or `commit` raises `FileExistsError` for one that exists, and leaves
        it untouched. Of concurrent writers of one key, one wins.
        Raises `StorageUnavailable` where there is no room.
        """

    @abstractmethod
    def open(self, key: str) -> AbstractAsyncContextManager[BinaryIO]:
        """Return the file's bytes as a local, seekable, readable file, for the time of the context.

        Deleting the key meanwhile does not disturb the reader. Raises `FileNotFoundError` where there is no
        such file.
        """

    @abstractmethod
    def read(self, key: str, start: int = 0, stop: int | None = None) -> AsyncIterator[bytes]:
        """Yield the bytes from `start` up to, not including, `stop` (None: the end), in bounded chunks.

        The file is open from the first chunk on, and deleting it then does not disturb the reader. Raises
        `FileNotFoundError` where there is no such file.
        """

    @abstractmethod
    async def local(self, key: str) -> BinaryIO | None:
        """Return the stored file itself, open for reading, where it has a descriptor on this machine.

        None where its bytes are elsewhere and have to be `read`; a store always does the one or always the
        other. The caller closes it. Deleting the key meanwhile does not disturb the reader. Raises
        `FileNotFoundError` where there is no such file; who answers None need not look.
        """

    @abstractmethod
    def scratch(self) -> AbstractContextManager[BinaryIO]:
        """Return an empty file without a name, for work in progress.

        It vanishes with the context, or with the process, whatever ends it. Writing through it raises
        `StorageUnavailable` where there is no room; what is buffered may be written as late as at the next
        `flush` or `seek`.
        """

    @abstractmethod
    async def delete(self, keys: Collection[str]) -> Collection[str]:
        """Delete these files, and whatever a writer that died left of them; return the keys that are clear.

        Those are the keys of which nothing is left, durably; a key that had nothing is one of them. One that
        is missing from the answer may still have its file; the call has tried all others.
        Raises `StorageUnavailable` where the store as a whole cannot be reached; nothing is known then.
        """

    @abstractmethod
    def keys(self, after: str = "") -> AsyncIterator[str]:
        """Yield the key of every file, whole or partial, that comes after `after`.

        They come in ascending order of their code points, each once, with bounded memory. A file that is
        written or deleted meanwhile may be among them or not. Raises `StorageUnavailable` where the store
        cannot be reached: then it is not known what there is.
        """

    @abstractmethod
    async def ping(self) -> None:
        """Return if files can be stored and read now, as far as can be told cheaply; leave no file.

        Raises `StorageUnavailable` otherwise.
        """
