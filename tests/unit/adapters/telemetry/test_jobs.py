import asyncio
import io
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import structlog
from opentelemetry import trace
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode, Tracer

from photochanger.adapters.telemetry.jobs import observed_job
from photochanger.adapters.telemetry.logs import configure_logging
from photochanger.application.ports import JobReading
from photochanger.domain.job import Job, JobId
from photochanger.domain.media import MediaId
from photochanger.domain.slot import ProviderCall, SlotConfiguration, SlotId

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("logging_restored")]

CANARY = "c4n4ry-S3cret"
TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
NOW = datetime(2026, 1, 14, 9, 30, tzinfo=UTC)


def reading(trace_context: str | None = f"00-{TRACE_ID}-b7ad6b7169203331-01") -> JobReading:
    call = ProviderCall(provider="gemini", operation="edit", params={"prompt": CANARY})
    job = Job(
        job_id=JobId("1" * 32),
        slot_id=SlotId("slot-003"),
        slot_version=1,
        configuration=SlotConfiguration(call=call),
        payload_id=MediaId("2" * 32),
        content_hash="",
        created_at=NOW,
        deadline=NOW + timedelta(seconds=48),
        retention=timedelta(hours=72),
        idempotency_key=CANARY,
        trace_context=trace_context,
        fence=1,
    )
    return JobReading(job=job, now=NOW)


@pytest.fixture
def output() -> io.StringIO:
    stream = io.StringIO()
    configure_logging("DEBUG", "json", stream=stream)
    return stream


def json_lines(stream: io.StringIO) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    return [line for line in lines if line["logger"] != "asyncio"]


async def test_a_job_is_logged_from_start_to_end_in_the_requests_trace(
    output: io.StringIO, tracer: Tracer, spans: InMemorySpanExporter
) -> None:
    async def run(given: JobReading) -> None:
        assert given is expected
        structlog.get_logger("provider").info("halfway")

    expected = reading()
    await observed_job(run, tracer=tracer, logger=structlog.get_logger("worker"))(expected)
    started, halfway, ended = json_lines(output)
    for line in (started, halfway, ended):
        assert (line["job_id"], line["slot_id"]) == ("1" * 32, "slot-003")
        assert line["trace_id"] == TRACE_ID
    assert (started["event"], started["time_left_ms"], started["claim"]) == ("job started", 48_000, 1)
    assert ended["event"] == "job ended"
    assert ended["duration_ms"] >= 0
    (span,) = spans.get_finished_spans()
    assert span.kind is SpanKind.CONSUMER
    assert f"{span.context.trace_id:032x}" == TRACE_ID
    assert span.parent is not None
    assert f"{span.parent.span_id:016x}" == "b7ad6b7169203331"
    assert CANARY not in output.getvalue() + span.to_json()


async def test_nothing_of_the_job_is_left_behind(output: io.StringIO, tracer: Tracer) -> None:
    async def run(_given: JobReading) -> None:
        return

    await observed_job(run, tracer=tracer, logger=structlog.get_logger("worker"))(reading())
    assert trace.get_current_span() is trace.INVALID_SPAN
    assert structlog.contextvars.get_contextvars() == {}


@pytest.mark.parametrize("trace_context", [None, "nonsense"])
async def test_a_job_without_a_trace_begins_one(
    trace_context: str | None, output: io.StringIO, tracer: Tracer, spans: InMemorySpanExporter
) -> None:
    async def run(_given: JobReading) -> None:
        return

    job = observed_job(run, tracer=tracer, logger=structlog.get_logger("worker"))
    with tracer.start_as_current_span("the worker's own") as own:
        await job(reading(trace_context))
    assert spans.get_finished_spans()[0].parent is None
    assert spans.get_finished_spans()[0].context.trace_id != own.get_span_context().trace_id


async def test_an_unexpected_error_is_logged_with_its_traceback_and_raised(
    output: io.StringIO, tracer: Tracer, spans: InMemorySpanExporter
) -> None:
    error = RuntimeError(f"https://provider.example/?key={CANARY}")

    async def run(_given: JobReading) -> None:
        raise error

    with pytest.raises(RuntimeError) as caught:
        await observed_job(run, tracer=tracer, logger=structlog.get_logger("worker"))(reading())
    assert caught.value is error
    _started, crashed = json_lines(output)
    assert (crashed["event"], crashed["level"]) == ("job crashed", "error")
    assert "Traceback" in crashed["exception"]
    (span,) = spans.get_finished_spans()
    assert span.status.status_code is StatusCode.ERROR
    assert CANARY not in output.getvalue() + span.to_json()


async def test_cancellation_is_noted_and_passes(
    output: io.StringIO, tracer: Tracer, spans: InMemorySpanExporter
) -> None:
    async def run(_given: JobReading) -> None:
        await asyncio.Event().wait()

    job = observed_job(run, tracer=tracer, logger=structlog.get_logger("worker"))

    async def worker() -> None:
        await job(reading())

    task = asyncio.create_task(worker())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [line["event"] for line in json_lines(output)] == ["job started", "job interrupted"]
    (span,) = spans.get_finished_spans()
    assert span.status.status_code is StatusCode.UNSET
    assert (span.attributes or {})["outcome"] == "cancelled"
