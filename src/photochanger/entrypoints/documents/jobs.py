"""Jobs: which are asked for, and how they are shown."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from typing import Annotated, Final

from msgspec import DecodeError, Meta, Struct, ValidationError, json

from photochanger.application.ports import JobCursor, JobFilter
from photochanger.domain.errors import Problem, ValidationFailed
from photochanger.domain.job import Job, JobSource, JobState, parse_job_id
from photochanger.domain.slot import parse_slot_id
from photochanger.entrypoints.documents.links import ResultLinks
from photochanger.entrypoints.documents.timestamps import Moment, Timestamp, rfc3339, rfc3339_or_none

SLOT_ID_PATTERN: Final = "^slot-0(0[1-9]|1[0-5])$"
_CURSOR: Final = "`next_cursor` of the page before; other texts are refused (422)"


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


class JobQuery(Struct, kw_only=True, forbid_unknown_fields=True, rename={"since": "from", "until": "to"}):
    """Which jobs, and how many at once."""

    slot_id: Annotated[
        str | None, Meta(description="The slot it came to", extra_json_schema={"pattern": SLOT_ID_PATTERN})
    ] = None
    status: Annotated[JobState | None, Meta(description="Where it is")] = None
    source: Annotated[JobSource | None, Meta(description="Who sent its photo")] = None
    since: Annotated[Moment | None, Meta(description="Created at this time or later")] = None
    until: Annotated[Moment | None, Meta(description="Created before this time")] = None
    limit: Annotated[int, Meta(ge=1, le=200, description="So many jobs at most")] = 50
    cursor: Annotated[Annotated[str, Meta(max_length=200)] | None, Meta(description=_CURSOR)] = None

    def filter(self) -> JobFilter:
        """Return which jobs are wanted. Raises `ValidationFailed` for a slot that there is not."""
        slot_id = None if self.slot_id is None else parse_slot_id(self.slot_id)
        if self.slot_id is not None and slot_id is None:
            raise _invalid("slot_id", "there is no such slot")
        return JobFilter(
            slot_id=slot_id,
            states=None if self.status is None else {self.status},
            source=self.source,
            since=self.since,
            until=self.until,
        )

    def after(self) -> JobCursor | None:
        """Return where the page begins. Raises `ValidationFailed` for a cursor that is none of ours."""
        return None if self.cursor is None else _cursor_in(self.cursor)


class JobPage(Struct, kw_only=True):
    """Jobs, the newest first. `next_cursor` leads to the page that follows; null on the last."""

    items: list[JobView]
    next_cursor: str | None

    @classmethod
    def of(cls, found: Sequence[Job], wanted: JobQuery, links: ResultLinks) -> "JobPage":
        """Return a page of what was found: one job more than `wanted.limit` where others follow."""
        shown = found[: wanted.limit]
        return cls(
            items=[JobView.of(job, links) for job in shown],
            next_cursor=_cursor_after(shown[-1]) if len(found) > len(shown) else None,
        )


def _source(job: Job) -> str | None:
    return None if job.result is None else job.result.source


def _cursor_after(job: Job) -> str:
    place = json.encode([job.created_at, job.job_id])
    return urlsafe_b64encode(place).decode().rstrip("=")


def _cursor_in(text: str) -> JobCursor:
    try:
        place = urlsafe_b64decode(text + "=" * (-len(text) % 4))
        created_at, job_id = json.decode(place, type=tuple[Moment, str])
    except (ValueError, DecodeError, ValidationError) as error:
        raise _invalid("cursor", "is not a cursor of ours") from error
    known = parse_job_id(job_id)
    if known is None:
        raise _invalid("cursor", "is not a cursor of ours")
    return JobCursor(created_at=created_at, job_id=known)


def _invalid(field: str, message: str) -> ValidationFailed:
    return ValidationFailed([Problem(field=field, code="unknown", message=message)])
