"""`POST /ingest/{slot_id}`: a booth sends its photo and holds the line until the picture comes back."""

from typing import Final

import structlog
from litestar import post
from litestar.di import NamedDependency
from litestar.params import FromPath
from litestar.types import ASGIApp

from photochanger.application.await_outcome import AwaitOutcome
from photochanger.application.ports import JobReading
from photochanger.application.results import OpenResult
from photochanger.application.submit_photo import SubmitPhoto
from photochanger.domain.errors import DeadlineExceeded
from photochanger.domain.job import JobId
from photochanger.entrypoints.http.answer import BoothAnswer
from photochanger.entrypoints.http.arrival import arrived_at
from photochanger.entrypoints.http.errors import JobFailed
from photochanger.entrypoints.http.hangup import while_connected
from photochanger.entrypoints.http.heads import AnyRequest
from photochanger.entrypoints.http.intake import PhotoIntake, ended_at
from photochanger.entrypoints.http.links import ResultLinks
from photochanger.entrypoints.http.operations import INGEST_RESPONSES, IngestOperation

INGEST_TEMPLATES: Final = ("/ingest/{slot_id}", "/api/ingest/{slot_id}")
INGEST_PATHS: Final = [template.replace("}", ":str}") for template in INGEST_TEMPLATES]


@post(
    INGEST_PATHS,
    status_code=200,
    request_max_body_size=None,
    tags=["ingest"],
    summary="Send a photo",
    operation_class=IngestOperation,
    responses=INGEST_RESPONSES,
)
async def ingest(
    request: AnyRequest,
    slot_id: FromPath[str],
    submit_photo: NamedDependency[SubmitPhoto],
    photo_intake: NamedDependency[PhotoIntake],
    await_outcome: NamedDependency[AwaitOutcome],
    open_result: NamedDependency[OpenResult],
    result_links: NamedDependency[ResultLinks],
) -> ASGIApp:
    """Take the photo in, wait for its picture until the deadline, and answer with it."""
    admission = await submit_photo.admit(slot_id, arrived_at=arrived_at(request.scope))
    structlog.contextvars.bind_contextvars(slot_id=admission.slot.slot_id)
    async with ended_at(admission.deadline):
        received = await photo_intake(admission, request)
    submitted = received.submitted
    structlog.contextvars.bind_contextvars(job_id=submitted.reading.job.job_id)
    outcome = _outcome(await_outcome, submitted.reading.job.job_id, admission.deadline)
    reading = await while_connected(outcome, request.receive)
    answer = BoothAnswer(request, open_result, result_links)
    return await answer(reading, replayed=submitted.replayed, inline=received.inline)


async def _outcome(await_outcome: AwaitOutcome, job_id: JobId, deadline: float) -> JobReading:
    try:
        return await await_outcome(job_id, deadline=deadline)
    except DeadlineExceeded as error:
        raise JobFailed(error, job_id, failure_reason=None) from error
