"""Jobs: one for whoever knows its id, all of them for administrators."""

from litestar import get, post
from litestar.di import NamedDependency
from litestar.params import FromPath

from photochanger.application.administer_jobs import CancelJob
from photochanger.application.ports import JobHistory
from photochanger.application.results import ReadJob
from photochanger.domain.audit import Actor
from photochanger.domain.errors import JobFinalized, JobNotFound
from photochanger.domain.permissions import Permission
from photochanger.entrypoints.documents.jobs import JobPage, JobQuery, JobView
from photochanger.entrypoints.documents.links import ResultLinks
from photochanger.entrypoints.http.authorization import ANYBODY
from photochanger.entrypoints.http.endpoints import Port, endpoint


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
    job_history: Port[JobHistory],
    result_links: NamedDependency[ResultLinks],
) -> JobPage:
    """Return a page of jobs, the newest first."""
    found = await job_history.page(wanted.filter(), limit=wanted.limit + 1, after=wanted.after())
    return JobPage.of(found, wanted, result_links)


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
