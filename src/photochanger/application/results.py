"""Looking at jobs and opening their results."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from photochanger.application.content import Content
from photochanger.application.ports.jobs import JobReading, JobRepository, ResultReading
from photochanger.application.ports.media import MediaStore
from photochanger.domain.errors import JobNotFound, ResultExpired, ResultNotFound
from photochanger.domain.job import JobId, ResultSource, parse_job_id
from photochanger.domain.media import MediaKind, StoredImage, media_key
from photochanger.domain.retention import has_passed, time_left


class ReadJob:
    """Shows a job to whoever knows its id: from its submission until its time to live is over."""

    def __init__(self, jobs: JobRepository) -> None:
        self._jobs = jobs

    async def __call__(self, job_id: str) -> JobReading:
        """Return the job; raises `JobNotFound` where there is none, or its time is over."""
        known = parse_job_id(job_id)
        reading = await self._jobs.get(known) if known else None
        if reading is None:
            raise JobNotFound
        end = reading.job.visible_until
        if end is not None and has_passed(end, now=reading.now):
            raise JobNotFound
        return reading


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenedResult:
    """A file of a job's result that may be delivered now, and for how long it may be kept."""

    job_id: JobId
    kind: MediaKind
    image: StoredImage
    source: ResultSource
    stored_at: datetime
    expires_at: datetime
    time_left: timedelta


class OpenResult:
    """Opens the result of a job, or its preview, to whoever knows the job's id."""

    def __init__(self, *, jobs: JobRepository, store: MediaStore) -> None:
        self._jobs = jobs
        self._store = store

    async def __call__(self, job_id: str, kind: MediaKind = MediaKind.RESULT) -> OpenedResult:
        """Return the file; raises `ResultNotFound`, or `ResultExpired` from the instant its time is over."""
        known = parse_job_id(job_id)
        reading = await self._jobs.get_result(known) if known else None
        if reading is None:
            raise ResultNotFound
        return opened(reading, kind)

    def content(self, result: OpenedResult) -> Content:
        """Return the file's bytes."""
        return Content(self._store, media_key(result.kind, result.image.media_id))


def opened(reading: ResultReading, kind: MediaKind = MediaKind.RESULT) -> OpenedResult:
    """Return the result in `reading`; raises as `OpenResult` does."""
    result, stored_at, expires_at = reading.result, reading.finalized_at, reading.result_expires_at
    if result is None or stored_at is None or expires_at is None:
        raise ResultNotFound
    if has_passed(expires_at, now=reading.now):
        raise ResultExpired
    return OpenedResult(
        job_id=reading.job_id,
        kind=kind,
        image=result.preview if kind is MediaKind.PREVIEW else result.image,
        source=result.source,
        stored_at=stored_at,
        expires_at=expires_at,
        time_left=time_left(expires_at, now=reading.now),
    )
