"""Taking a photo in: from the booth's bytes to a durable job."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from datetime import timedelta

from photochanger.application.configuration import CurrentConfiguration
from photochanger.application.doorkeeper import PATIENCE_SEC, Admission, Doorkeeper, within
from photochanger.application.identifiers import new_job_id, new_media_id
from photochanger.application.ports.clock import Clock
from photochanger.application.ports.images import ImageEditor
from photochanger.application.ports.jobs import JobRepository, JobSubmission, Submitted
from photochanger.application.ports.media import MediaRegistry, MediaStore, MediaWriter
from photochanger.domain.errors import (
    DatabaseUnavailable,
    DeadlineExceeded,
    InvalidRequest,
    PayloadTooLarge,
    SlotDisabled,
)
from photochanger.domain.job import JobId, JobSource
from photochanger.domain.media import MediaId, MediaKind, StoredImage, media_key

ABANDONED_AFTER = timedelta(seconds=10)
"""An upload that is no job by its deadline plus this time is swept away."""


class Upload:
    """A photo on its way in: a file that nobody sees yet, known to the database before its first byte.

    `has_entered` says whether it was let in; until then it may come, but counts for nothing.
    """

    def __init__(
        self,
        admission: Admission,
        media_id: MediaId,
        writer: MediaWriter,
        *,
        announced_at: float,
        has_entered: bool,
    ) -> None:
        self.admission = admission
        self.media_id = media_id
        self.writer = writer
        self.announced_at = announced_at
        self.has_entered = has_entered
        self.size_bytes = 0
        self.submission: JobSubmission | None = None
        """What was submitted, once it was."""

    async def write(self, chunk: bytes | bytearray | memoryview) -> None:
        """Take the next bytes; raises `PayloadTooLarge` as soon as they are too many."""
        self.size_bytes += len(chunk)
        if self.size_bytes > self.admission.limit_bytes:
            raise PayloadTooLarge(self.admission.limit_bytes)
        await self.writer.write(chunk)


class SubmitPhoto:
    """Receives a photo and makes it a job, in four steps, each of which may refuse.

    `admit` checks the slot, before any byte is read, and refuses what is known to be too much; `receive` lets
    the photo in, or refuses it, and opens the file that takes the bytes; `submit` checks the image and makes
    the job. The password is checked by the caller as soon as it has arrived, which may be before, between or
    after the bytes; where it comes after them, the photo is let in only then, so that nobody without it takes
    room from those who have it. Whatever goes wrong leaves no job, and no file that the sweeper would not
    find.
    """

    def __init__(
        self,
        *,
        configuration: CurrentConfiguration,
        doorkeeper: Doorkeeper,
        jobs: JobRepository,
        registry: MediaRegistry,
        store: MediaStore,
        images: ImageEditor,
        clock: Clock,
    ) -> None:
        self._configuration = configuration
        self._doorkeeper = doorkeeper
        self._jobs = jobs
        self._registry = registry
        self._store = store
        self._images = images
        self._clock = clock

    async def admit(self, slot_id: str, *, arrived_at: float) -> Admission:
        """Return the terms for a photo whose request arrived at `arrived_at` (monotonic seconds).

        Raises what `Doorkeeper.check_rate` does, `SlotNotFound`, `SlotDisabled`, or what `Doorkeeper.look`
        does.
        """
        asked_at = self._clock.monotonic()
        async with within(PATIENCE_SEC):
            current = await self._configuration.get()
            self._doorkeeper.check_rate(current.settings.ingest.rate)
            slot = current.slot(slot_id)
            if not slot.configuration.is_active:
                raise SlotDisabled
            admission = Admission(
                slot=slot, settings=current.settings, capacity=current.capacity, arrived_at=arrived_at
            )
            await self._doorkeeper.look(admission)
        return replace(admission, waited_sec=self._clock.monotonic() - asked_at)

    @asynccontextmanager
    async def receive(self, admission: Admission, *, is_trusted: bool = True) -> AsyncIterator[Upload]:
        """Let the photo in and open a place for its bytes; what is not submitted in the context is discarded.

        While it is not known whether the caller may send photos (`is_trusted`), the photo is not let in yet.
        Raises what `Doorkeeper.let_in` does.
        """
        media_id, ttl = new_media_id(), self._time_left(admission) + ABANDONED_AFTER
        if is_trusted:
            await self._doorkeeper.let_in(media_id, admission, ttl=ttl)
        else:
            await self._registry.intend([(media_id, MediaKind.PAYLOAD)], slot_id=None, ttl=ttl)
        announced_at = self._clock.monotonic()
        try:
            async with self._store.create(media_key(MediaKind.PAYLOAD, media_id)) as writer:
                yield Upload(admission, media_id, writer, announced_at=announced_at, has_entered=is_trusted)
        except DatabaseUnavailable:
            # Nobody knows whether it has made the job; if it has not, the file's time ends soon.
            raise
        except Exception:
            with suppress(DatabaseUnavailable):
                await self._registry.condemn([media_id])
            raise

    def _time_left(self, admission: Admission) -> timedelta:
        return timedelta(seconds=max(0.0, admission.deadline - self._clock.monotonic()))

    async def submit(
        self,
        upload: Upload,
        *,
        admission: Admission | None = None,
        job_id: JobId | None = None,
        source: JobSource = JobSource.BOOTH,
        idempotency_key: str | None = None,
        trace_context: str | None = None,
        anew: bool = False,
    ) -> Submitted:
        """Check the image and make the job, or return the older job of the same Idempotency-Key or photo.

        Without a key, the same photo for the same version of a slot is not done twice, unless the settings
        say otherwise, it is to be done `anew`, or it is a test. `admission` are the terms where others have
        come to hold since the upload began, and `job_id` is the new job's, where somebody expects it already.
        Raises `InvalidRequest` (no bytes), `UnsupportedMediaType`, `InvalidImage`, `IdempotencyKeyReused`,
        `DeadlineExceeded` where receiving took all the time there was, or what `Doorkeeper.let_in` does where
        the photo was not let in yet.
        """
        if upload.size_bytes == 0:
            raise InvalidRequest("The file is empty")
        if not upload.has_entered:
            ttl = self._time_left(upload.admission) + ABANDONED_AFTER
            await self._doorkeeper.let_in(upload.media_id, upload.admission, ttl=ttl)
        info = await self._images.inspect(upload.writer.contents())
        file = await upload.writer.commit()
        admission = admission or upload.admission
        deadline = admission.deadline
        if self._clock.monotonic() >= deadline:
            raise DeadlineExceeded
        upload.submission = JobSubmission(
            job_id=job_id or new_job_id(),
            slot=admission.slot,
            payload=StoredImage(media_id=upload.media_id, file=file, info=info),
            time_left=timedelta(seconds=deadline - upload.announced_at),
            retention=admission.settings.results.retention,
            source=source,
            idempotency_key=idempotency_key,
            trace_context=trace_context,
            deduplicate=admission.settings.ingest.deduplicate
            and idempotency_key is None
            and source is JobSource.BOOTH,
            anew=anew,
        )
        return await self._submit(upload.submission)

    async def again(self, upload: Upload) -> Submitted | None:
        """Submit a photo once more whose twin did not get done in its own time, which ended earlier.

        None where it has come with an Idempotency-Key: then the outcome of the key's job is its own.
        """
        earlier = upload.submission
        if earlier is None or not earlier.deduplicate:
            return None
        return await self._submit(replace(earlier, job_id=new_job_id()))

    async def _submit(self, submission: JobSubmission) -> Submitted:
        submitted = await self._jobs.submit(submission)
        if submitted.replayed and (submitted.reading.job.is_finalized or not submission.deduplicate):
            with suppress(DatabaseUnavailable):
                await self._registry.condemn([submission.payload.media_id])
        return submitted
