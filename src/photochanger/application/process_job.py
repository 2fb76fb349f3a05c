"""Doing a job: from the photo in the store to the finished picture, under a lease."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from typing import Any, BinaryIO

from photochanger.application.identifiers import new_media_id
from photochanger.application.ports.clock import Clock
from photochanger.application.ports.images import FinishedImage, ImageEditor, PreparedImage
from photochanger.application.ports.providers import ImageProvider, TransformRequest
from photochanger.application.ports.signals import Signals, Topic
from photochanger.application.ports.storage import (
    JobReading,
    JobRepository,
    MediaRegistry,
    MediaStore,
    Verdict,
)
from photochanger.application.submit_photo import ABANDONED_AFTER
from photochanger.domain.errors import (
    DatabaseUnavailable,
    DeadlineExceeded,
    InternalError,
    InvalidImage,
    PhotoChangerError,
    ProviderError,
    ProviderFault,
    ProviderMisconfigured,
    UnsupportedMediaType,
)
from photochanger.domain.image import ImageInfo
from photochanger.domain.job import Job, JobEvent, JobResult
from photochanger.domain.media import MediaId, MediaKind, StoredImage, media_key

LEASE = timedelta(seconds=4)
"""How long a worker may be silent before another takes its job."""

RENEW_EVERY_SEC = LEASE.total_seconds() / 3

STORING_SEC = 0.25
"""What is kept back of the time to the deadline, for storing the result."""

LEAST_USEFUL_SEC = 0.5
"""With less time than this before the storing, a job is not begun: it would only take time from others."""

RETRY_PAUSE_SEC = 0.1

_CHUNK = 256 * 1024


class ProcessJob:
    """Prepares the photo, has the provider transform it, stores the picture and ends the job.

    The lease is renewed while the work goes on. The work stops at once when the job is lost: ended by its
    deadline or by an administrator, or taken over after a silence. A shutdown hands the job back. An error
    that nobody foresaw ends the job as `failed_internal` and is raised, for the log.
    """

    def __init__(
        self,
        *,
        jobs: JobRepository,
        registry: MediaRegistry,
        store: MediaStore,
        images: ImageEditor,
        providers: Callable[[str], ImageProvider | None],
        signals: Signals,
        clock: Clock,
    ) -> None:
        self._jobs = jobs
        self._registry = registry
        self._store = store
        self._images = images
        self._providers = providers
        self._signals = signals
        self._clock = clock

    async def __call__(self, claimed: JobReading) -> None:
        """Do the claimed job to its end."""
        job = claimed.job
        deadline = self._clock.monotonic() + claimed.seconds_to_deadline
        try:
            verdict = await self._while_ours(job, self._decide(job, deadline))
            if verdict is not None:
                await self._finalize(job, verdict, deadline)
        except DeadlineExceeded:
            await self._expire(job, deadline)
        except asyncio.CancelledError:
            with suppress(DatabaseUnavailable):
                await self._jobs.release(job.job_id, fence=job.fence)
            raise
        except Exception:
            await self._finalize(job, _failure(InternalError(), attempts=0), deadline)
            raise

    async def _while_ours(self, job: Job, deciding: Coroutine[Any, Any, Verdict]) -> Verdict | None:
        """Decide while the lease is renewed; None where the job was lost meanwhile."""
        work = asyncio.create_task(deciding)
        watch = asyncio.create_task(self._until_lost(job))
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

    async def _until_lost(self, job: Job) -> None:
        with self._signals.subscribe(Topic.JOB_FINALIZED, job.job_id) as finalized:
            while not await finalized.wait(RENEW_EVERY_SEC):
                # While the database does not answer, nobody else can take the job either.
                with suppress(DatabaseUnavailable):
                    if not await self._jobs.renew(job.job_id, fence=job.fence, lease=LEASE):
                        return

    async def _decide(self, job: Job, deadline: float) -> Verdict:
        """Produce the picture or a failure; raises `DeadlineExceeded` where time does not suffice."""
        time_for_work = deadline - STORING_SEC - self._clock.monotonic()
        if time_for_work < LEAST_USEFUL_SEC:
            raise DeadlineExceeded
        limit = asyncio.timeout(time_for_work)
        try:
            async with limit:
                return await self._produce(job, deadline)
        except TimeoutError:
            if limit.expired():
                raise DeadlineExceeded from None
            raise

    async def _expire(self, job: Job, deadline: float) -> None:
        """End the job at its deadline, for no request may be waiting that would."""
        await asyncio.sleep(max(0.0, deadline - self._clock.monotonic()))
        with suppress(DatabaseUnavailable):
            await self._jobs.expire([job.job_id])

    async def _produce(self, job: Job, deadline: float) -> Verdict:
        attempts = 0
        try:
            provider = self._provider(job)
            async with (
                self._store.open(media_key(MediaKind.PAYLOAD, job.payload_id)) as photo,
                self._images.prepare(photo, provider.description.image_requirements) as prepared,
            ):
                with self._store.scratch() as picture:
                    request = _request(provider, job, prepared, deadline)
                    attempts = 1
                    await provider.transform(request, picture)
                    async with self._finish(picture) as finished:
                        result = await self._store_result(job, finished, deadline)
        except PhotoChangerError as error:
            return _failure(error, attempts)
        return Verdict(event=JobEvent.SUCCEEDED, attempts=attempts, result=result)

    def _provider(self, job: Job) -> ImageProvider:
        provider = self._providers(job.configuration.call.provider)
        if provider is None:
            raise ProviderMisconfigured(f"There is no provider {job.configuration.call.provider} here")
        return provider

    @asynccontextmanager
    async def _finish(self, picture: BinaryIO) -> AsyncIterator[FinishedImage]:
        """Check and clean the provider's picture; a bad one is the provider's failure, not the booth's."""
        try:
            async with self._images.finish(picture) as finished:
                yield finished
        except (InvalidImage, UnsupportedMediaType) as error:
            raise ProviderError("The image provider answered with a picture that cannot be used") from error

    async def _store_result(self, job: Job, finished: FinishedImage, deadline: float) -> JobResult:
        """Write the picture and its preview; they count only once the job is finalised with them."""
        result_id, preview_id = new_media_id(), new_media_id()
        await self._registry.intend(
            [(result_id, MediaKind.RESULT), (preview_id, MediaKind.PREVIEW)],
            slot_id=job.slot_id,
            ttl=timedelta(seconds=max(0.0, deadline - self._clock.monotonic())) + ABANDONED_AFTER,
        )
        return JobResult(
            image=await self._store_image(MediaKind.RESULT, result_id, finished.file, finished.info),
            preview=await self._store_image(
                MediaKind.PREVIEW, preview_id, finished.preview, finished.preview_info
            ),
        )

    async def _store_image(
        self, kind: MediaKind, media_id: MediaId, file: BinaryIO, info: ImageInfo
    ) -> StoredImage:
        async with self._store.create(media_key(kind, media_id)) as writer:
            while chunk := file.read(_CHUNK):
                await writer.write(chunk)
            return StoredImage(media_id=media_id, file=await writer.commit(), info=info)

    async def _finalize(self, job: Job, verdict: Verdict, deadline: float) -> None:
        """Record the verdict, if need be again and again until the deadline; a lost job keeps its own end."""
        while True:
            try:
                await self._jobs.finalize(job.job_id, verdict, fence=job.fence)
            except DatabaseUnavailable:
                if self._clock.monotonic() >= deadline:
                    return
                await asyncio.sleep(RETRY_PAUSE_SEC)
            else:
                return


def _request(provider: ImageProvider, job: Job, prepared: PreparedImage, deadline: float) -> TransformRequest:
    call = job.configuration.call
    operation = provider.description.operation(call.operation)
    if operation is None:
        raise ProviderMisconfigured(f"{call.provider} has no operation {call.operation}")
    return TransformRequest(
        photo=prepared,
        operation=call.operation,
        params=operation.with_defaults(call.params),
        deadline=deadline,
    )


def _failure(error: PhotoChangerError, attempts: int) -> Verdict:
    event = JobEvent.PROVIDER_FAILED if isinstance(error, ProviderFault) else JobEvent.INTERNALLY_FAILED
    return Verdict(event=event, attempts=attempts, failure_reason=error.code)
