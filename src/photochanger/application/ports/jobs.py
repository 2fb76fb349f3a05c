"""The port to the jobs' records: what is asked of them, and what is known of a job at a moment."""

from abc import abstractmethod
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Protocol

from photochanger.domain.audit import AuditEntry
from photochanger.domain.concurrency import UNLIMITED, ConcurrencyLimits
from photochanger.domain.job import Job, JobEvent, JobId, JobResult, JobSource, can_bring
from photochanger.domain.media import StoredImage
from photochanger.domain.slot import Slot, SlotId


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
    async def get_many(self, job_ids: Collection[JobId]) -> Sequence[JobReading]:
        """Return those of the jobs that exist, in no particular order."""

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
