"""Jobs: one for whoever knows its id, all of them for administrators."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Annotated

from litestar import get, post
from litestar.di import NamedDependency
from litestar.params import FromPath
from msgspec import DecodeError, Meta, Struct, ValidationError, json

from photochanger.application.administer_jobs import CancelJob
from photochanger.application.ports import JobCursor, JobFilter, JobHistory
from photochanger.application.results import ReadJob
from photochanger.domain.audit import Actor
from photochanger.domain.errors import JobFinalized, JobNotFound, Problem, ValidationFailed
from photochanger.domain.job import Job, JobSource, JobState, parse_job_id
from photochanger.domain.permissions import Permission
from photochanger.domain.slot import parse_slot_id
from photochanger.entrypoints.http.authorization import ANYBODY
from photochanger.entrypoints.http.endpoints import endpoint
from photochanger.entrypoints.http.links import ResultLinks
from photochanger.entrypoints.http.schemas import JobView, Moment


class JobQuery(Struct, kw_only=True, forbid_unknown_fields=True, rename={"since": "from", "until": "to"}):
    """Which jobs, and how many at once."""

    slot_id: str | None = None
    status: JobState | None = None
    source: JobSource | None = None
    since: Annotated[Moment | None, Meta(description="Created at this time or later")] = None
    until: Annotated[Moment | None, Meta(description="Created before this time")] = None
    limit: Annotated[int, Meta(ge=1, le=200)] = 50
    cursor: Annotated[str, Meta(max_length=200, description="`next_cursor` of the page before")] | None = None

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


class JobPage(Struct, kw_only=True):
    """Jobs, the newest first. `next_cursor` leads to the page that follows; null on the last."""

    items: list[JobView]
    next_cursor: str | None


@get(
    "/api/jobs/{job_id:str}",
    tags=["jobs"],
    summary="Get a job",
    **endpoint(ANYBODY, JobNotFound),
)
async def get_job(
    job_id: FromPath[str],
    read_job: NamedDependency[ReadJob],
    result_links: NamedDependency[ResultLinks],
) -> JobView:
    """Return the job."""
    return JobView.of((await read_job(job_id)).job, result_links)


@get("/api/jobs", tags=["jobs"], summary="List jobs", **endpoint(Permission.JOBS_READ, query=JobQuery))
async def list_jobs(
    wanted: NamedDependency[JobQuery],
    job_history: NamedDependency[JobHistory],
    result_links: NamedDependency[ResultLinks],
) -> JobPage:
    """Return a page of jobs, the newest first."""
    after = None if wanted.cursor is None else _cursor_in(wanted.cursor)
    found = await job_history.page(wanted.filter(), limit=wanted.limit + 1, after=after)
    shown = found[: wanted.limit]
    return JobPage(
        items=[JobView.of(job, result_links) for job in shown],
        next_cursor=_cursor_after(shown[-1]) if len(found) > len(shown) else None,
    )


@post(
    "/api/jobs/{job_id:str}/cancel",
    status_code=200,
    tags=["jobs"],
    summary="Cancel a job",
    **endpoint(Permission.JOBS_CANCEL, JobNotFound, JobFinalized),
)
async def cancel_job_by_id(
    job_id: FromPath[str],
    actor: NamedDependency[Actor],
    cancel_job: NamedDependency[CancelJob],
    result_links: NamedDependency[ResultLinks],
) -> JobView:
    """End the job before it is final. The booth that waits for it is told at once."""
    return JobView.of((await cancel_job(job_id, actor)).job, result_links)


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
