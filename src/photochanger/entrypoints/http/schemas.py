"""The JSON of answers to booths and to monitors."""

from datetime import datetime

from msgspec import Struct

from photochanger.application.results import OpenedResult
from photochanger.domain.job import Job
from photochanger.entrypoints.documents.links import ResultLinks
from photochanger.entrypoints.documents.timestamps import Timestamp, rfc3339


class PhotoOutcome(Struct, kw_only=True):
    """The JSON answer to a photo. `result_inline_base64` is last, so that it can be streamed."""

    job_id: str
    slot_id: str
    status: str
    result_url: str
    preview_url: str
    result_expires_at: Timestamp
    content_type: str
    size_bytes: int
    result_source: str
    duration_ms: int
    replayed: bool
    result_inline_base64: str | None = None

    @classmethod
    def of(cls, job: Job, opened: OpenedResult, links: ResultLinks, *, replayed: bool) -> "PhotoOutcome":
        """Return the outcome of a job that has a picture, without the picture itself.

        The job may have failed all the same, and the picture be the stand-in: `status` tells.
        """
        return cls(
            job_id=job.job_id,
            slot_id=job.slot_id,
            status=job.state,
            result_url=links.result(job.job_id),
            preview_url=links.preview(job.job_id),
            result_expires_at=rfc3339(opened.expires_at),
            content_type=opened.image.info.image_type,
            size_bytes=opened.image.file.size_bytes,
            result_source=opened.source,
            duration_ms=_milliseconds(job.created_at, opened.stored_at),
            replayed=replayed,
        )


class Health(Struct, kw_only=True):
    """Whether this process may be sent requests, and what stands in the way."""

    status: str
    problems: list[str] = []


class HealthChecks(Struct, kw_only=True):
    """The parts: `ok` or `unavailable`; of each provider `ok`, `not_configured` or `paused`."""

    database: str
    media: str
    providers: dict[str, str]


class HealthReport(Struct, kw_only=True):
    """How the service is."""

    status: str
    checks: HealthChecks
    version: str


def _milliseconds(start: datetime, end: datetime) -> int:
    return round((end - start).total_seconds() * 1000)
