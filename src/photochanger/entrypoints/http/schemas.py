"""The JSON of answers, where it differs from the domain's values."""

from datetime import datetime
from typing import Annotated

from msgspec import Meta, Struct

from photochanger.application.results import OpenedResult
from photochanger.domain.job import Job, JobState
from photochanger.entrypoints.http.links import ResultLinks
from photochanger.entrypoints.http.timestamps import rfc3339, rfc3339_or_none

Timestamp = Annotated[
    str,
    Meta(
        description="RFC 3339, UTC, milliseconds",
        examples=["2026-01-14T09:30:00.123Z"],
        extra_json_schema={"extra": {"format": "date-time"}},
    ),
]


Moment = Annotated[
    datetime, Meta(tz=True, description="RFC 3339, with its zone", examples=["2026-01-14T09:30:00Z"])
]


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
    def of(cls, opened: OpenedResult, links: ResultLinks, *, replayed: bool) -> "PhotoOutcome":
        """Return the outcome of a job that has a picture, without the picture itself.

        The job may have failed all the same, and the picture be the stand-in: `status` tells.
        """
        job = opened.job
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


class JobView(Struct, kw_only=True):
    """A job as its owner sees it."""

    job_id: str
    slot_id: str
    status: JobState
    is_finalized: bool
    failure_reason: str | None
    source: str
    created_at: Timestamp
    started_at: Timestamp | None
    finalized_at: Timestamp | None
    deadline: Timestamp
    attempts: int
    result_url: str | None
    preview_url: str | None
    result_expires_at: Timestamp | None
    result_source: str | None

    @classmethod
    def of(cls, job: Job, links: ResultLinks) -> "JobView":
        """Return what may be shown of a job."""
        done = job.result is not None
        return cls(
            job_id=job.job_id,
            slot_id=job.slot_id,
            status=job.state,
            is_finalized=job.is_finalized,
            failure_reason=job.failure_reason,
            source=job.source,
            created_at=rfc3339(job.created_at),
            started_at=rfc3339_or_none(job.started_at),
            finalized_at=rfc3339_or_none(job.finalized_at),
            deadline=rfc3339(job.deadline),
            attempts=job.attempts,
            result_url=links.result(job.job_id) if done else None,
            preview_url=links.preview(job.job_id) if done else None,
            result_expires_at=rfc3339_or_none(job.result_expires_at),
            result_source=_source(job),
        )


class ResultView(Struct, kw_only=True):
    """A result that has not expired."""

    job_id: str
    result_url: str
    preview_url: str
    created_at: Timestamp
    expires_at: Timestamp

    @classmethod
    def of(cls, job: Job, links: ResultLinks) -> "ResultView":
        """Return where the result of a job is, and until when."""
        if job.result_expires_at is None:
            raise ValueError("the job has no result")
        return cls(
            job_id=job.job_id,
            result_url=links.result(job.job_id),
            preview_url=links.preview(job.job_id),
            created_at=rfc3339(job.created_at),
            expires_at=rfc3339(job.result_expires_at),
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


def _source(job: Job) -> str | None:
    return None if job.result is None else job.result.source


def _milliseconds(start: datetime, end: datetime) -> int:
    return round((end - start).total_seconds() * 1000)
