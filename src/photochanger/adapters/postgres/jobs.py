"""Jobs and their queue in PostgreSQL."""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta
from typing import Final, NamedTuple

from psycopg.rows import DictRow

from photochanger.adapters.postgres import job_statements as statements
from photochanger.adapters.postgres.audit import entry_parameters
from photochanger.adapters.postgres.claim_lock import ClaimLock
from photochanger.adapters.postgres.pool import Pool, fetch_all, fetch_one
from photochanger.adapters.postgres.rows import (
    reading_from,
    result_reading_from,
    stored_images,
    to_json,
)
from photochanger.application.gathering import Gathered
from photochanger.application.ports.jobs import (
    Claimed,
    EndedResults,
    JobReading,
    JobRepository,
    JobSubmission,
    Place,
    ResultReading,
    Submitted,
    Verdict,
)
from photochanger.application.ports.signals import Topic
from photochanger.application.signal_hub import SignalHub
from photochanger.domain.audit import AuditEntry
from photochanger.domain.concurrency import UNLIMITED, ConcurrencyLimits
from photochanger.domain.errors import IdempotencyKeyReused, InternalError
from photochanger.domain.job import JobId
from photochanger.domain.media import StoredImage
from photochanger.domain.retention import has_passed
from photochanger.domain.slot import SlotId

_SUBMISSIONS: Final = 5
"""How often a photo is submitted whose twin ends at the very moment it is looked for."""

_FIRST_PAUSE_SEC: Final = 0.001
_LONGEST_PAUSE_SEC: Final = 0.05

_REACH: Final = 256
"""How many jobs, whose rows others hold, a claim looks behind."""

RESULTS_AT_ONCE: Final = 5_000
"""How many results one statement ends; with all in one, a very full slot would exceed its time-out."""


class _Renewal(NamedTuple):
    job_id: JobId
    fence: int
    lease: timedelta
    attempts: int


class PostgresJobRepository(JobRepository):
    """Jobs as rows; the queue is the unfinished ones in the order of their number.

    Signals reach other processes with the commit (`pg_notify`), and this one, through `hub`, right after it.
    """

    def __init__(self, pool: Pool, hub: SignalHub) -> None:
        self._pool = pool
        self._hub = hub
        self._claims = ClaimLock(pool)
        self._renewed = Gathered(self._renew)

    async def submit(self, submission: JobSubmission) -> Submitted:
        """Make the job and mark its payload as stored."""
        parameters = _submission_parameters(submission)
        for _ in range(_SUBMISSIONS):
            row = await fetch_one(self._pool, statements.SUBMIT, parameters, repeatable=True)
            made = reading_from(row) if row is not None else await self._made_before(submission)
            if made is not None:
                self._hub.announce(Topic.JOB_PENDING)
                return Submitted(reading=made, replayed=False)
            look = statements.GET_TWIN if submission.deduplicate else statements.GET_BY_KEY
            found = await fetch_one(self._pool, look, parameters, repeatable=True)
            if found is not None and _answers(earlier := reading_from(found), submission):
                return Submitted(reading=earlier, replayed=True)
            if found is not None:
                await self._put_aside(found["job_id"])
        raise InternalError("The photo's file was not announced, or its time has run out")

    async def _made_before(self, submission: JobSubmission) -> JobReading | None:
        """Return the job that this very submission has made already; the answer to that was lost."""
        reading = await self.get(submission.job_id)
        is_its_own = reading is not None and reading.job.payload_id == submission.payload.media_id
        return reading if is_its_own else None

    async def _put_aside(self, job_id: str) -> None:
        """Let others take the place of a job that answers no more for its key or photo."""
        await fetch_all(self._pool, statements.STEP_ASIDE, {"job_id": job_id}, repeatable=True)

    async def get(self, job_id: JobId) -> JobReading | None:
        """Return the job, or None."""
        row = await fetch_one(self._pool, statements.GET, {"job_id": job_id}, repeatable=True)
        return None if row is None else reading_from(row)

    async def get_many(self, job_ids: Collection[JobId]) -> Sequence[JobReading]:
        """Return those of the jobs that exist."""
        if not job_ids:
            return []
        rows = await fetch_all(self._pool, statements.GET_MANY, {"job_ids": list(job_ids)}, repeatable=True)
        return [reading_from(row) for row in rows]

    async def get_result(self, job_id: JobId) -> ResultReading | None:
        """Return of the job what its result needs, or None."""
        row = await fetch_one(self._pool, statements.GET_RESULT, {"job_id": job_id}, repeatable=True)
        return None if row is None else result_reading_from(row)

    async def claim(self, *, limit: int, lease: timedelta, limits: ConcurrencyLimits = UNLIMITED) -> Claimed:
        """Take up to `limit` claimable jobs, in the order of their submission.

        Where jobs were chosen and none could be had, somebody else holds their rows and may be about to end
        them; so it is looked again, and further each time.
        """
        pause, reach = _FIRST_PAUSE_SEC, limit
        while limit > 0:
            parameters = {"limit": limit, "reach": reach, "lease": lease, **_limit_parameters(limits)}
            rows = await self._claim(parameters)
            claimed = _claimed(rows)
            if claimed or not rows[0]["chosen"]:
                return claimed
            await asyncio.sleep(pause)
            pause, reach = min(2 * pause, _LONGEST_PAUSE_SEC), min(2 * reach, limit + _REACH)
        return Claimed()

    async def _claim(self, parameters: Mapping[str, object]) -> Sequence[DictRow]:
        statement = asyncio.ensure_future(self._claims.claim(parameters))
        try:
            return await asyncio.shield(statement)
        except asyncio.CancelledError:
            await self._undo(statement)
            raise

    async def _undo(self, statement: asyncio.Future[Sequence[DictRow]]) -> None:
        """Hand back what a cancelled claim took, or nobody would know of it until its lease lapsed."""
        [rows] = await asyncio.gather(statement, return_exceptions=True)
        if not isinstance(rows, BaseException):
            for reading in _claimed(rows):
                await self.release(reading.job.job_id, fence=reading.job.fence)

    async def move(self, job_id: JobId, *, fence: int, provider: str, places: int | None) -> Place:
        """Give up the job's place at its present provider, and take one at another, or wait for it."""
        parameters = {"job_id": job_id, "fence": fence, "provider": provider, "places": places}
        rows = await self._claims.move(parameters)
        if not rows:
            return Place.LOST
        [row] = rows
        if row["has_left"]:
            self._hub.announce(Topic.PLACE_FREED)
        return Place.AWAITED if row["waits_for_place"] else Place.TAKEN

    async def renew(self, job_id: JobId, *, fence: int, lease: timedelta, attempts: int = 0) -> bool:
        """Extend the lease, if it is still the caller's; who asks at one time is answered together."""
        return bool(await self._renewed(_Renewal(job_id, fence, lease, attempts)))

    async def _renew(self, renewals: Collection[_Renewal]) -> Mapping[_Renewal, bool]:
        parameters = {
            "job_ids": [each.job_id for each in renewals],
            "fences": [each.fence for each in renewals],
            "leases": [each.lease for each in renewals],
            "attempts": [each.attempts for each in renewals],
        }
        rows = await fetch_all(self._pool, statements.RENEW, parameters, repeatable=True)
        held = {(row["job_id"], row["fence"]) for row in rows}
        return {each: (each.job_id, each.fence) in held for each in renewals}

    async def release(self, job_id: JobId, *, fence: int) -> bool:
        """Hand the job back, if it is still the caller's."""
        parameters = {"job_id": job_id, "fence": fence}
        if await fetch_one(self._pool, statements.RELEASE, parameters) is None:
            return False
        self._hub.announce(Topic.JOB_PENDING)
        self._hub.announce(Topic.PLACE_FREED)
        return True

    async def finalize(self, job_id: JobId, verdict: Verdict, *, fence: int) -> JobReading | None:
        """End the job as `verdict` says, if the caller still holds it."""
        parameters = {"job_id": job_id, "fence": fence, **_verdict_parameters(verdict)}
        row = await fetch_one(self._pool, statements.FINALIZE[verdict.event], parameters)
        if row is None or not row["was_allowed"]:
            self._hub.announce(Topic.JOB_FINALIZED, job_id)  # by others, or by us: its answer may be lost
            return None
        if row["job_id"] is None:
            raise InternalError("A file of the result was not announced, or its time has run out")
        self._hub.announce(Topic.JOB_FINALIZED, job_id)
        return reading_from(row, ended_here=True)

    async def expire(self, job_ids: Collection[JobId]) -> Sequence[JobReading]:
        """End those of the jobs whose deadline has passed, and return the present state of all.

        A deadline that comes between the two statements is not left for the caller to notice.
        """
        wanted = set(job_ids)
        readings: list[JobReading] = []
        while wanted:
            ended = await self._expire(wanted)
            wanted -= {reading.job.job_id for reading in ended}
            others = await self.get_many(wanted)
            settled = [reading for reading in others if not _is_overdue(reading)]
            readings += [*ended, *settled]
            wanted = {reading.job.job_id for reading in others if _is_overdue(reading)}
        return readings

    async def _expire(self, job_ids: Collection[JobId]) -> Sequence[JobReading]:
        rows = await fetch_all(self._pool, statements.EXPIRE, {"job_ids": list(job_ids)}, repeatable=True)
        for row in rows:
            self._hub.announce(Topic.JOB_FINALIZED, row["job_id"])
        return [reading_from(row, ended_here=True) for row in rows]

    async def expire_overdue(self, *, limit: int) -> Sequence[JobId]:
        """End up to `limit` jobs whose deadline has passed."""
        rows = await fetch_all(
            self._pool, statements.EXPIRE_OVERDUE, {"limit": limit}, repeatable=True, slow=True
        )
        ended = [JobId(row["job_id"]) for row in rows]
        for job_id in ended:
            self._hub.announce(Topic.JOB_FINALIZED, job_id)
        return ended

    async def cancel(self, job_id: JobId, *, entry: AuditEntry) -> JobReading | None:
        """End the job as `cancelled` and add `entry`; else return the job as it is.

        What keeps a job from being cancelled stays so: it may be read afterwards.
        """
        cancelled = await self._cancel(statements.CANCEL, {"job_id": job_id}, entry)
        return cancelled[0] if cancelled else await self.get(job_id)

    async def cancel_pending(self, slot_id: SlotId, *, entry: AuditEntry) -> Sequence[JobReading]:
        """Do the same for all jobs of the slot that wait for a worker."""
        return await self._cancel(statements.CANCEL_PENDING, {"slot_id": slot_id}, entry)

    async def _cancel(
        self, statement: bytes, which: Mapping[str, object], entry: AuditEntry
    ) -> Sequence[JobReading]:
        rows = await fetch_all(self._pool, statement, {**which, **entry_parameters(entry)}, slow=True)
        ended = [reading_from(row, ended_here=True) for row in rows]
        for reading in ended:
            self._hub.announce(Topic.JOB_FINALIZED, reading.job.job_id)
        return ended

    async def end_results(self, slot_id: SlotId, *, entry: AuditEntry) -> EndedResults:
        """End the time to live of every result of the slot now, and add `entry`."""
        parameters = {"slot_id": slot_id, "limit": RESULTS_AT_ONCE, **entry_parameters(entry)}
        results = size_bytes = 0
        is_first = True
        while True:
            [row] = await fetch_all(
                self._pool, statements.END_RESULTS, {**parameters, "is_first": is_first}, slow=True
            )
            results, size_bytes, is_first = results + row["results"], size_bytes + row["size_bytes"], False
            if row["looked_at"] < RESULTS_AT_ONCE:
                return EndedResults(results, size_bytes)


def _is_overdue(reading: JobReading) -> bool:
    return not reading.job.is_finalized and has_passed(reading.job.deadline, now=reading.now)


def _claimed(rows: Sequence[DictRow]) -> Claimed:
    readings = [reading_from(row) for row in rows if row["job_id"] is not None]
    return Claimed(readings, others_wait=rows[0]["waiting"] > len(readings))


def _limit_parameters(limits: ConcurrencyLimits) -> Mapping[str, object]:
    return {
        "slots": list(limits.slots),
        "slot_places": list(limits.slots.values()),
        "providers": list(limits.providers),
        "provider_places": list(limits.providers.values()),
    }


def _answers(earlier: JobReading, submission: JobSubmission) -> bool:
    """Say whether an earlier job is the submission's; raises `IdempotencyKeyReused` for another photo."""
    job, now = earlier.job, earlier.now
    if submission.deduplicate:
        return job.can_answer_again(now=now) and not submission.anew
    if not job.answers_for_its_key(now=now):
        return False
    if job.content_hash != submission.payload.file.sha256:
        raise IdempotencyKeyReused
    return True


def _submission_parameters(submission: JobSubmission) -> Mapping[str, object]:
    return {
        "job_id": submission.job_id,
        "slot_id": submission.slot.slot_id,
        "slot_version": submission.slot.version,
        "configuration": to_json(submission.slot.configuration),
        "provider": submission.slot.configuration.call.provider,
        "content_hash": submission.payload.file.sha256,
        "time_left": submission.time_left,
        "retention": submission.retention,
        "source": submission.source.value,
        "idempotency_key": submission.idempotency_key,
        "trace_context": submission.trace_context,
        "deduplicate": submission.deduplicate,
        **stored_images([submission.payload]),
    }


def _verdict_parameters(verdict: Verdict) -> Mapping[str, object]:
    images: list[StoredImage] = []
    if verdict.result is not None:
        images = [verdict.result.image, verdict.result.preview]
    return {
        "attempts": verdict.attempts,
        "failure_reason": verdict.failure_reason,
        "result": None if verdict.result is None else to_json(verdict.result),
        **stored_images(images),
    }
