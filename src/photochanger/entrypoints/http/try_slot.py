"""Test runs: an administrator plays the booth, with a slot's saved or unsaved configuration."""

from contextlib import AsyncExitStack
from typing import Any, Final

import structlog
from litestar import post
from litestar.di import NamedDependency
from litestar.params import FromPath
from litestar.types import ASGIApp

from photochanger.adapters.telemetry.tracing import current_traceparent
from photochanger.application.doorkeeper import Admission
from photochanger.application.ports import Submitted
from photochanger.application.submit_photo import SubmitPhoto
from photochanger.application.try_slot import TrySlot
from photochanger.domain.errors import (
    InvalidImage,
    InvalidRequest,
    Overloaded,
    ResultExpired,
    ShuttingDown,
    SlotBusy,
    SlotNotFound,
    ValidationFailed,
)
from photochanger.domain.job import JobSource
from photochanger.domain.permissions import Permission
from photochanger.domain.retention import MAX_SYNC_RESPONSE_SEC
from photochanger.entrypoints.documents.reading import read_document
from photochanger.entrypoints.documents.slots import SlotConfigurationDocument
from photochanger.entrypoints.http.answer import BoothAnswer
from photochanger.entrypoints.http.arrival import arrived_at
from photochanger.entrypoints.http.endpoints import endpoint
from photochanger.entrypoints.http.forms import form_events
from photochanger.entrypoints.http.heads import AnyRequest, only_query
from photochanger.entrypoints.http.intake import Inline, ended_at, inline_of
from photochanger.entrypoints.http.multipart import Field, PhotoBegins
from photochanger.entrypoints.http.operations import JOB_FAILURES
from photochanger.entrypoints.http.photo_operations import TEST_RUN_RESPONSES, TrySlotOperation

MAX_CONFIG_BYTES: Final = 256 * 1024

TEST_RUN_FORM: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["fileToUpload"],
    "properties": {
        "fileToUpload": {"type": "string", "format": "binary", "description": "JPEG, PNG or WebP"},
        "config": {
            "type": "string",
            "contentMediaType": "application/json",
            "contentSchema": {"$ref": "#/components/schemas/SlotConfigurationDocument"},
            "description": "An unsaved configuration to try; without it, the slot's saved one",
        },
    },
}


@post(
    "/api/slots/{slot_id:str}/test-run",
    status_code=200,
    request_max_body_size=None,
    tags=["slots"],
    summary="Try a slot",
    **endpoint(
        Permission.SLOTS_WRITE,
        SlotNotFound,
        ResultExpired,
        InvalidImage,
        ValidationFailed,
        SlotBusy,
        Overloaded,
        ShuttingDown,
        *JOB_FAILURES,
        form=TEST_RUN_FORM,
        mentioned=[SlotConfigurationDocument],
        more=TEST_RUN_RESPONSES,
        operation_class=TrySlotOperation,
    ),
)
async def test_run(
    request: AnyRequest,
    slot_id: FromPath[str],
    trying: NamedDependency[TrySlot],
    submit_photo: NamedDependency[SubmitPhoto],
    booth_answer: NamedDependency[BoothAnswer],
) -> ASGIApp:
    """Send a photo through the slot, on or off, as its booth would, and wait for the outcome.

    The job is marked as a test and left out of the statistics.
    """
    admission = await trying.admit(slot_id, arrived_at=arrived_at(request.scope))
    structlog.contextvars.bind_contextvars(slot_id=admission.slot.slot_id)
    inline = inline_of(only_query(request.scope, "inline")) or Inline.TRUE
    async with ended_at(admission.arrived_at + MAX_SYNC_RESPONSE_SEC):
        decided, submitted = await _submitted(request, admission, trying, submit_photo)
    return await booth_answer(request, submitted, deadline=decided.deadline, inline=inline, as_json=True)


async def _submitted(
    request: AnyRequest, admission: Admission, trying: TrySlot, submit_photo: SubmitPhoto
) -> tuple[Admission, Submitted]:
    """Take the form in, and make the job by what it says."""
    upload, config = None, None
    async with AsyncExitStack() as stack:
        async for event in form_events(
            request,
            limit_bytes=admission.limit_bytes,
            single_fields={"config"},
            max_field_bytes=MAX_CONFIG_BYTES,
        ):
            match event:
                case PhotoBegins():
                    upload = await stack.enter_async_context(submit_photo.receive(admission))
                case Field(name="config"):
                    config = read_document(event.value, SlotConfigurationDocument).configuration()
                case bytes() if upload is not None:
                    await upload.write(event)
        if upload is None:
            raise InvalidRequest("The form has no photo: send it as fileToUpload")
        decided = await trying.decide(admission, config, size_bytes=upload.size_bytes)
        async with ended_at(decided.deadline):
            submitted = await submit_photo.submit(
                upload, admission=decided, source=JobSource.TEST, trace_context=current_traceparent()
            )
    return decided, submitted
