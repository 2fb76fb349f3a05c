"""The ports to storage: of records (jobs, media, slots, settings) and of bytes (the media store)."""

from abc import abstractmethod
from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import BinaryIO, Protocol

from photochanger.domain.audit import AuditEntry
from photochanger.domain.concurrency import UNLIMITED, ConcurrencyLimits
from photochanger.domain.job import Job, JobEvent, JobId, JobResult, JobSource, can_bring
from photochanger.domain.media import MediaId, MediaKind, MediaObject, StoredFile, StoredImage
from photochanger.domain.quota import ProviderUsed, Quota
from photochanger.domain.settings import Settings
from photochanger.domain.slot import Slot, SlotId
from photochanger.domain.template import Template


@dataclass(frozen=True, slots=True, kw_only=True)
class JobReading:
    """A job, and the store's clock at the moment it was read.

    Deadlines and times to live are judged by `now`: it is the one clock that all processes share.
    `ended_here` is true where the very call that returned this reading ended the job; so whoever counts
    ended jobs counts each of them once, whoever else was trying.
    """

    job: Job
    now: datetime
    ended_here: bool = False

    @property
    def seconds_to_deadline(self) -> float:
        """The time left until the job's deadline, in seconds; negative once it has passed."""
        return (self.job.deadline - self.now).total_seconds()


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultReading:
    """What of a job is needed to deliver its result, and the store's clock at the moment it was read.

    The fields have the values that the job itself has under these names, `result_expires_at` included.
    """

    job_id: JobId
    finalized_at: datetime | None
    result_expires_at: datetime | None
    result: JobResult | None
    now: datetime

    @classmethod
    def of(cls, reading: JobReading) -> "ResultReading":
        """Return what is needed of a whole job."""
        job = reading.job
        return cls(
            job_id=job.job_id,
            finalized_at=job.finalized_at,
            result_expires_at=job.result_expires_at,
            result=job.result,
            now=reading.now,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSubmission:
    """A photo that has been received and checked, and is to become a job.

    `time_left` is the time from the announcement of the payload (`MediaRegistry.intend`) to the deadline.
    With `deduplicate`, the same photo for the same version of the slot is not done twice, unless it is wanted
    `anew`.
    """

    job_id: JobId
    slot: Slot
    payload: StoredImage
    time_left: timedelta
    retention: timedelta
    source: JobSource = JobSource.BOOTH
    idempotency_key: str | None = None
    trace_context: str | None = None
    deduplicate: bool = False
    anew: bool = False

    def __post_init__(self) -> None:
        if self.deduplicate and self.idempotency_key is not None:
            raise ValueError("who brings an Idempotency-Key says which photos are the same")


@dataclass(frozen=True, slots=True, kw_only=True)
class Submitted:
    """What became of a submission: the job, and whether it is an older one, for the same key or photo."""

    reading: JobReading
    replayed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """How a worker ended a job: `SUCCEEDED` with a result, or one of the failures with its reason.

    The result of a success is a picture of a provider's. A failure may have one too: the stand-in, which is
    the booth's own photo.
    """

    event: JobEvent
    attempts: int
    result: JobResult | None = None
    failure_reason: str | None = None

    def __post_init__(self) -> None:
        if self.event not in {JobEvent.SUCCEEDED, JobEvent.PROVIDER_FAILED, JobEvent.INTERNALLY_FAILED}:
            raise ValueError("a worker's verdict is success or one of the failures")
        if not can_bring(self.event, self.result):
            raise ValueError("success brings a provider's picture, and a failure nothing or the stand-in")
        if (self.event is JobEvent.SUCCEEDED) != (self.failure_reason is None):
            raise ValueError("a failure has a reason, and success has none")


class Claimed(tuple[JobReading, ...]):
    """The jobs that were claimed, in their order; and whether others were seen that have to wait."""

    others_wait: bool

    def __new__(cls, readings: Iterable[JobReading] = (), *, others_wait: bool = False) -> "Claimed":
        """Return these jobs."""
        claimed = super().__new__(cls, readings)
        claimed.others_wait = others_wait
        return claimed


class Place(StrEnum):
    """What came of asking for a place at a provider."""

    TAKEN = "taken"
    """The job has it."""
    AWAITED = "awaited"
    """There is none; the job waits for it."""
    LOST = "lost"
    """The caller does not hold the job any more."""


@dataclass(frozen=True, slots=True)
class EndedResults:
    """How many results were ended before their time, and the bytes of their files, previews included."""

    results: int
    size_bytes: int


class JobRepository(Protocol):
    """Durable jobs, which are also the queue.

    Every change is one compare-and-set by the table `photochanger.domain.job.TRANSITIONS`, judged by the
    store's clock at the moment of the change: of any number of concurrent writers, those whose transition the
    table still allows succeed one after the other, and the rest are told that they lost. Values returned are
    copies that nothing changes afterwards. Times are kept to the microsecond.
    """

    @abstractmethod
    async def submit(self, submission: JobSubmission) -> Submitted:
        """Make the job, and mark its payload (a pending media row) as stored, both or neither.

        `created_at` is the store's time; the deadline is `time_left` after the `created_at` of the payload's
        row, however long this call has had to wait for its turn. When it returns, the job
        is durable and `JOB_PENDING` is announced. The payload then lives until the job is final. Raises
        `InternalError`, and writes nothing, where the payload's row is not pending.

        Where the slot already has a job with the same Idempotency-Key, nothing is written: with the same
        content that job is returned as replayed; with other content `IdempotencyKeyReused` is raised. Of
        concurrent submissions with one key, one makes the job and the others get it. A key is free again
        when its job is not visible any more (`Job.visible_until`).

        With `deduplicate`, the same holds for jobs of the same content, made with `deduplicate` for the same
        version of the slot, as long as they can answer again (`Job.can_answer_again`): they are under way,
        or completed with a result that has not ended. One that is wanted `anew` is made all the same, and
        takes the place of the earlier one for those that come after it.

        Whoever got no answer may submit the same again: where it has made the job, that is returned, and it
        is no replay.
        """

    @abstractmethod
    async def get(self, job_id: JobId) -> JobReading | None:
        """Return the job, or None where there is none."""

    @abstractmethod
    async def get_result(self, job_id: JobId) -> ResultReading | None:
        """Return of the job what `get` would say of its result, or None where there is no such job."""

    @abstractmethod
    async def claim(
        self, *, limit: int, lease: timedelta, limits: ConcurrencyLimits = UNLIMITED
    ) -> "Claimed":
        """Take up to `limit` claimable jobs, in the order of their submission, and lease them to the caller.

        Claimable is what `JobEvent.CLAIMED` allows: pending jobs, and those whose worker let its lease
        lapse, before their deadline. No job is given to two callers at once.

        Each takes a place at its slot, and one at the provider of its slot's own call. With any number of
        callers, no job is given out that there is no place for under the `limits`, and none while an earlier
        one could be: whoever is passed over finds his slot or his provider full, or is being changed at that
        moment. Jobs that hold more places than there are, because a limit was lowered, keep them. Jobs that
        wait for a place at a provider (`move`) come before all that are claimed.

        An answer may hold fewer jobs than could be given out, and then says that others wait: the next call
        goes on. An empty one means that at some moment during the call nothing could be given out; it never
        hides a job because another caller was just looking at its neighbour.
        """

    @abstractmethod
    async def move(self, job_id: JobId, *, fence: int, provider: str, places: int | None) -> "Place":
        """Give up the job's place at its present provider, and take one of so many `places` at another.

        None is no limit. Where none is free, the job waits: the place that it had is given up all the same,
        so that two jobs that want each other's places do not wait for ever. Ask again, for the same provider,
        until there is one: of all that wait, places go to the job that was submitted first, and before any
        that is still to be claimed. Asking for the provider that the job has a place at changes nothing.
        Where it comes from another provider, `PLACE_FREED` is announced. `LOST` where the caller has lost
        the job.

        A job that is claimed anew, by whomever, is at the provider of its slot's own call again.
        """

    @abstractmethod
    async def renew(self, job_id: JobId, *, fence: int, lease: timedelta, attempts: int = 0) -> bool:
        """Extend the lease to `lease` from now; False where the caller has lost the job.

        `attempts` is how often providers have been called for the job so far, by whoever held it; where that
        is more than what is recorded, it is recorded.
        """

    @abstractmethod
    async def release(self, job_id: JobId, *, fence: int) -> bool:
        """Hand the job back to be claimed by others at once; announce `JOB_PENDING` and `PLACE_FREED`.

        False where the caller has lost the job.
        """

    @abstractmethod
    async def finalize(self, job_id: JobId, verdict: Verdict, *, fence: int) -> JobReading | None:
        """End the job as `verdict` says; None where the caller has lost it (lease, deadline, or finished).

        In the same transaction the media rows of a result become stored, to expire with the result, and the
        payload is condemned. When this returns a job, it is durable and `JOB_FINALIZED` is announced. Raises
        `InternalError`, and writes nothing, where a media row of the result is not pending.
        """

    @abstractmethod
    async def expire(self, job_ids: Collection[JobId]) -> Sequence[JobReading]:
        """End those of the jobs whose deadline has passed and that are not final, as `failed_timeout`.

        Returns the present state of all of them, in no particular order, without those that do not exist.
        Payloads of ended jobs are condemned, and `JOB_FINALIZED` is announced for each.
        """

    @abstractmethod
    async def expire_overdue(self, *, limit: int) -> Sequence[JobId]:
        """Do the same for up to `limit` jobs whose deadline has passed, whoever waits for them."""

    @abstractmethod
    async def cancel(self, job_id: JobId, *, entry: AuditEntry) -> JobReading | None:
        """End the job as `cancelled` and add `entry` to the audit log, with the job as its subject.

        Returns the job as it is then, `ended_here` where this call ended it; where it was final already, or
        its deadline has passed, nothing is written. None where there is no such job. The payload is
        condemned and `JOB_FINALIZED` announced as by `finalize`.
        """

    @abstractmethod
    async def cancel_pending(self, slot_id: SlotId, *, entry: AuditEntry) -> Sequence[JobReading]:
        """Do the same for all jobs of the slot that wait for a worker; return those that this call ended."""

    @abstractmethod
    async def end_results(self, slot_id: SlotId, *, entry: AuditEntry) -> "EndedResults":
        """End the time to live of every result of the slot now, and add `entry`; jobs stay as they are.

        Very many may be ended some thousands at a time, the oldest first and with them the entry: whoever
        dies in between has ended some. The results and their previews are condemned, and `retention`
        becomes what it has been: from this instant `result_expires_at` has come.
        """


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


class SlotRepository(Protocol):
    """The fifteen slots."""

    @abstractmethod
    async def get(self, slot_id: SlotId) -> Slot:
        """Return the slot. Raises `SlotNotFound` where there is none."""

    @abstractmethod
    async def list(self) -> Sequence[Slot]:
        """Return all slots, in the order of their ids."""

    @abstractmethod
    async def save(self, slot: Slot, *, entry: AuditEntry) -> Slot:
        """Store the slot if `slot.version` is still the stored one, and return it with the next version.

        Adds `entry` to the audit log, both or neither. `updated_at` becomes the store's time, and
        `updated_by` the name of the entry's actor. Raises `SlotNotFound` where there is no such slot,
        `VersionConflict` where somebody else was faster (of concurrent writers with one version, one wins),
        and `TemplateNotFound` where a template that it binds is not there, or is just being removed.
        Announces `CONFIGURATION_CHANGED`.
        """


class TemplateRepository(Protocol):
    """The administrators' templates. Names need not be unique."""

    @abstractmethod
    async def add(
        self, image: StoredImage, *, preview: StoredImage, name: str, entry: AuditEntry
    ) -> Template:
        """Mark the pending files of a template and its preview as stored, without an end; make its record.

        Adds `entry` to the audit log with the template as its subject; all of it or nothing. `created_at` is
        the store's time, and `created_by` the name of the entry's actor. Raises `InternalError`, and writes
        nothing, where there is no pending template file, or no pending preview file, with the image's id.
        """

    @abstractmethod
    async def find(self, template_ids: Collection[str]) -> Mapping[str, Template]:
        """Return those of the templates that there are, by their id."""

    @abstractmethod
    async def list(self) -> Sequence[Template]:
        """Return all templates, the newest first."""

    @abstractmethod
    async def users(self, template_id: str) -> Sequence[SlotId]:
        """Return the slots that bind the template in their call or fallback, in the order of their ids."""

    @abstractmethod
    async def remove(self, template_id: str, *, entry: AuditEntry) -> bool:
        """Delete the record, condemn the files and add `entry`; False where there is no such template.

        Raises `TemplateInUse`, and writes nothing, where a slot binds it. Of concurrent callers, one removes
        it; of a removal and the saving of a slot that binds it, one succeeds.
        """


class ProviderUsage(Protocol):
    """How often each provider was called in the present minute and on the present day.

    Both are windows of UTC (`photochanger.domain.quota.QuotaWindow`), by the store's clock.
    """

    @abstractmethod
    async def take(self, provider: str, quota: Quota) -> float | None:
        """Count one call in the present minute and on the present day, and return None.

        Where the quota leaves no room in one of them, nothing is counted, and the seconds until there is
        room again are returned: until the end of the minute, or of the day where that is what is full. No
        number of concurrent callers, in however many processes, is let in beyond the quota.
        """

    @abstractmethod
    async def used(self) -> Sequence[ProviderUsed]:
        """Return what was counted for every provider with a call on the present day, in order of names."""


class SettingsRepository(Protocol):
    """The one settings document."""

    @abstractmethod
    async def get(self) -> Settings:
        """Return the settings; the defaults, in version 1, where none were ever saved."""

    @abstractmethod
    async def save(self, settings: Settings, *, entry: AuditEntry) -> Settings:
        """Store the settings if `settings.version` is still the stored one, and return the next version.

        Adds `entry` to the audit log, both or neither. `updated_at` becomes the store's time, and
        `updated_by` the name of the entry's actor. Raises `VersionConflict` where somebody else was faster.
        Announces `CONFIGURATION_CHANGED`.
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
