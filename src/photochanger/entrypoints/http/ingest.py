"""`POST /ingest/{slot_id}`: a booth sends its photo and holds the line until the picture comes back."""

from typing import Final

import structlog
from litestar import post
from litestar.di import NamedDependency
from litestar.params import FromPath
from litestar.types import ASGIApp

from photochanger.application.submit_photo import SubmitPhoto
from photochanger.entrypoints.http.answer import BoothAnswer, prefers_json
from photochanger.entrypoints.http.arrival import arrived_at
from photochanger.entrypoints.http.authorization import open_to_anybody
from photochanger.entrypoints.http.heads import AnyRequest
from photochanger.entrypoints.http.intake import PhotoIntake, ended_at
from photochanger.entrypoints.http.photo_operations import INGEST_RESPONSES, IngestOperation

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
    **open_to_anybody,
)
async def ingest(
    request: AnyRequest,
    slot_id: FromPath[str],
    submit_photo: NamedDependency[SubmitPhoto],
    photo_intake: NamedDependency[PhotoIntake],
    booth_answer: NamedDependency[BoothAnswer],
) -> ASGIApp:
    """Take the photo in, wait for its picture until the deadline, and answer with it."""
    admission = await submit_photo.admit(slot_id, arrived_at=arrived_at(request.scope))
    structlog.contextvars.bind_contextvars(slot_id=admission.slot.slot_id)
    with booth_answer.expecting() as expected:
        async with ended_at(admission.deadline):
            received = await photo_intake(admission, request, job_id=expected.job_id)
        return await booth_answer(
            request,
            received.submitted,
            deadline=admission.deadline,
            inline=received.inline,
            expected=expected,
            again=received.again,
            as_json=prefers_json(request),
        )
