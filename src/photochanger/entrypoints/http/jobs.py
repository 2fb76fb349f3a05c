"""A job's state, for whoever knows its id."""

from litestar import get
from litestar.datastructures import CacheControlHeader
from litestar.di import NamedDependency
from litestar.params import FromPath

from photochanger.application.results import ReadJob
from photochanger.entrypoints.http.links import ResultLinks
from photochanger.entrypoints.http.operations import JOB_RESPONSES, Described
from photochanger.entrypoints.http.schemas import JobView


@get(
    "/api/jobs/{job_id:str}",
    cache_control=CacheControlHeader(no_store=True),
    tags=["jobs"],
    summary="Get a job",
    operation_class=Described,
    responses=JOB_RESPONSES,
)
async def job(
    job_id: FromPath[str],
    read_job: NamedDependency[ReadJob],
    result_links: NamedDependency[ResultLinks],
) -> JobView:
    """Return the job."""
    return JobView.of(await read_job(job_id), result_links)
