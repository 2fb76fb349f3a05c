"""Doing a job: from the photo in the store to the finished picture, under a lease."""

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from datetime import timedelta
from typing import Any, TypeVar

from photochanger.application.call_providers import CallProviders, Progress
from photochanger.application.identifiers import new_media_id
from photochanger.application.patience import RETRY_PAUSE_SEC, until_answered
from photochanger.application.ports.clock import Clock
from photochanger.application.ports.images import FinishedImage, ImageEditor
from photochanger.application.ports.jobs import JobReading, JobRepository, Verdict
from photochanger.application.ports.media import MediaRegistry, MediaStore
from photochanger.application.ports.signals import Signals, Topic
from photochanger.application.store_image import announced, store_image, stored_at_once
from photochanger.application.submit_photo import ABANDONED_AFTER
from photochanger.domain.errors import (
    DatabaseUnavailable,
    DeadlineExceeded,
    InternalError,
    PhotoChangerError,
    ProviderFault,
)
from photochanger.domain.image import ImageRequirements
from photochanger.domain.job import Job, JobEvent, JobResult, ResultSource
from photochanger.domain.media import MediaKind, media_key
from photochanger.domain.slot import OnFailure

LEASE = timedelta(seconds=4)
"""How long a worker may be silent before another takes its job."""

RENEW_EVERY_SEC = LEASE.total_seconds() / 3

STORING_SEC = 0.25
"""What is kept back of the time to the deadline, for storing the result."""

STAND_IN_SEC = 2.0
"""What is kept back besides, where the booth is to get its own photo when everything has failed."""

_T = TypeVar("_T")


class ProcessJob:
    """Has a provider transform the photo, stores the picture and ends the job.

    The lease is renewed while the work goes on. The work stops at once when the job is lost: ended by its
    deadline or by an administrator, or taken over after a silence. A shutdown hands the job back. An error
    that nobody foresaw ends the job as `failed_internal` and is raised, for the log, unless the job is lost.

    Where the slot says so, a job that fails, or is about to miss its deadline, ends with the booth's own
    photo, upright and without metadata, as a stand-in: its state tells the truth, and the guest has a
    picture.
    """

    def __init__(
        self,
        *,
        jobs: JobRepository,
        registry: MediaRegistry,
        store: MediaStore,
        images: ImageEditor,
        call_providers: CallProviders,
        signals: Signals,
        clock: Clock,
    ) -> None:
        self._jobs = jobs
        self._registry = registry
        self._store = store
        self._images = images
        self._call_providers = call_providers
        self._signals = signals
        self._clock = clock

    async def __call__(self, claimed: JobReading) -> None:
        """Do the claimed job to its end."""
        job, progress = claimed.job, Progress(claimed.job.attempts)
        deadline = self._clock.monotonic() + claimed.seconds_to_deadline
        try:
            verdict = await self._while_ours(job, progress, self._decide(job, deadline, progress))
            if verdict is not None:
                await self._finalize(job, verdict, deadline)
        except DeadlineExceeded:
            await self._expire(job, deadline, progress)
        except asyncio.CancelledError:
            with suppress(DatabaseUnavailable):
                await self._jobs.release(job.job_id, fence=job.fence)
            raise
        except Exception:
            verdict = await self._fail(job, InternalError(), deadline, progress)
            # The photo of a job that is over is deleted under the hands of a worker that has not noticed yet.
            if await self._finalize(job, verdict, deadline):
                raise

    async def _while_ours(
        self, job: Job, progress: Progress, deciding: Coroutine[Any, Any, Verdict]
    ) -> Verdict | None:
        """Decide while the lease is renewed; None where the job was lost meanwhile."""
        work = asyncio.create_task(deciding)
        watch = asyncio.create_task(self._until_lost(job, progress))
        try:
            await asyncio.wait({work, watch}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            work.cancel()
            watch.cancel()
            await asyncio.wait({work, watch})
        if not work.cancelled():
            return work.result()
        if not watch.cancelled():
            watch.result()
        return None

    async def _until_lost(self, job: Job, progress: Progress) -> None:
        """Renew the lease from time to time, and at once where somebody may have ended the job.

        A signal is no proof of that: every one is given when the connection they come by is there again.
        """
        with self._signals.subscribe(Topic.JOB_FINALIZED, job.job_id) as finalized:
            while True:
                await finalized.wait(_to_next_renewal(self._clock.monotonic()))
                # While the database does not answer, nobody else can take the job either.
                with suppress(DatabaseUnavailable):
                    if not await self._jobs.renew(
                        job.job_id, fence=job.fence, lease=LEASE, attempts=progress.attempts
                    ):
                        return

    async def _decide(self, job: Job, deadline: float, progress: Progress) -> Verdict:
        """Produce the picture or a failure; raises `DeadlineExceeded` where time does not suffice."""
        kept_back = STORING_SEC + (STAND_IN_SEC if _wants_stand_in(job) else 0.0)
        try:
            result = await self._by(
                deadline - kept_back, self._produce(job, deadline - kept_back, deadline, progress)
            )
        except PhotoChangerError as error:
            return await self._fail(job, error, deadline, progress)
        return Verdict(event=JobEvent.SUCCEEDED, attempts=progress.attempts, result=result)

    async def _by(self, end: float, work: Coroutine[Any, Any, _T]) -> _T:
        """Do the work, but no longer than to `end`; raises `DeadlineExceeded` then."""
        limit = asyncio.timeout(max(0.0, end - self._clock.monotonic()))
        try:
            async with limit:
                return await work
        except TimeoutError:
            if limit.expired():
                raise DeadlineExceeded from None
            raise

    async def _fail(self, job: Job, error: PhotoChangerError, deadline: float, progress: Progress) -> Verdict:
        """Return the failure, with a stand-in where the slot wants one and it can be had in time."""
        stand_in: JobResult | None = None
        if _wants_stand_in(job):
            with suppress(PhotoChangerError, OSError):
                stand_in = await self._by(deadline - STORING_SEC, self._stand_in(job, deadline))
        if stand_in is None and isinstance(error, DeadlineExceeded):
            raise error
        at_provider = isinstance(error, ProviderFault | DeadlineExceeded)
        return Verdict(
            event=JobEvent.PROVIDER_FAILED if at_provider else JobEvent.INTERNALLY_FAILED,
            attempts=progress.attempts,
            failure_reason=error.code,
            result=stand_in,
        )

    async def _expire(self, job: Job, deadline: float, progress: Progress) -> None:
        """End the job at its deadline, for no request may be waiting that would.

        Where the deadline is far off, the room is for others: the job is only kept from being tried in vain
        again, and ended by whoever waits for it, or by the sweep.
        """
        left = max(0.0, deadline - self._clock.monotonic())
        with suppress(DatabaseUnavailable):
            if left > RENEW_EVERY_SEC:
                lease = timedelta(seconds=left)
                await self._jobs.renew(job.job_id, fence=job.fence, lease=lease, attempts=progress.attempts)
                return
            await asyncio.sleep(left)
            await self._jobs.expire([job.job_id])

    async def _produce(self, job: Job, end: float, deadline: float, progress: Progress) -> JobResult:
        async with self._call_providers(job, deadline=end, progress=progress) as picture:
            return await self._store_result(job, picture.finished, picture.source, deadline)

    async def _stand_in(self, job: Job, deadline: float) -> JobResult:
        async with (
            self._store.open(media_key(MediaKind.PAYLOAD, job.payload_id)) as photo,
            self._images.prepare(photo, ImageRequirements()) as prepared,
            self._images.finish(prepared.file) as finished,
        ):
            return await self._store_result(job, finished, ResultSource.ORIGINAL, deadline)

    async def _store_result(
        self, job: Job, finished: FinishedImage, source: ResultSource, deadline: float
    ) -> JobResult:
        """Write the picture and its preview; they count only once the job is finalised with them."""
        return await until_answered(lambda: self._stored(job, finished, source, deadline))

    async def _stored(
        self, job: Job, finished: FinishedImage, source: ResultSource, deadline: float
    ) -> JobResult:
        result_id, preview_id = new_media_id(), new_media_id()
        async with announced(
            self._registry,
            [(result_id, MediaKind.RESULT), (preview_id, MediaKind.PREVIEW)],
            slot_id=job.slot_id,
            ttl=timedelta(seconds=max(0.0, deadline - self._clock.monotonic())) + ABANDONED_AFTER,
        ):
            image, preview = await stored_at_once(
                store_image(self._store, MediaKind.RESULT, result_id, finished.file, finished.info),
                store_image(
                    self._store, MediaKind.PREVIEW, preview_id, finished.preview, finished.preview_info
                ),
            )
        return JobResult(image=image, preview=preview, source=source)

    async def _finalize(self, job: Job, verdict: Verdict, deadline: float) -> bool:
        """Record the verdict, if need be again and again until the deadline; a lost job keeps its own end.

        Say whether the job was not lost, as far as the database could be asked.
        """
        while True:
            try:
                return await self._jobs.finalize(job.job_id, verdict, fence=job.fence) is not None
            except DatabaseUnavailable:
                if self._clock.monotonic() >= deadline:
                    return True
                await asyncio.sleep(RETRY_PAUSE_SEC)


def _to_next_renewal(now: float) -> float:
    """Return when to renew, in seconds: all jobs of a process at the same moments, by one statement.

    The first time comes half an interval after the claim at the earliest, and one and a half at the latest.
    """
    left = RENEW_EVERY_SEC - now % RENEW_EVERY_SEC
    return left if left >= RENEW_EVERY_SEC / 2 else left + RENEW_EVERY_SEC


def _wants_stand_in(job: Job) -> bool:
    return job.configuration.on_failure is OnFailure.ORIGINAL
