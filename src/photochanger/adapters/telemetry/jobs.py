"""The worker's job function, with the job's id in every log line and the request's trace continued."""

import asyncio
from collections.abc import Awaitable, Callable
from time import perf_counter
from typing import TypeAlias

from opentelemetry.trace import SpanKind, Tracer
from structlog.contextvars import bound_contextvars
from structlog.stdlib import BoundLogger

from photochanger.adapters.telemetry.observation import describe_end, outcome_of
from photochanger.adapters.telemetry.tracing import continued_from
from photochanger.application.ports import JobReading

JobRunner: TypeAlias = Callable[[JobReading], Awaitable[None]]
"""Takes a claimed job to its end."""

_SPAN_NAME = "job"


def observed_job(run: JobRunner, *, tracer: Tracer, logger: BoundLogger) -> JobRunner:
    """Return `run` with its start and end logged, under `job_id` and `slot_id`, in the request's trace.

    What `run` raises passes through unchanged: cancellation is noted, any other error is unexpected here and
    logged with its traceback.
    """

    async def run_observed(reading: JobReading) -> None:
        job = reading.job
        with (
            bound_contextvars(job_id=job.job_id, slot_id=job.slot_id),
            continued_from(job.trace_context),
            tracer.start_as_current_span(
                _SPAN_NAME,
                kind=SpanKind.CONSUMER,
                attributes={"job_id": job.job_id, "slot_id": job.slot_id},
                record_exception=False,
                set_status_on_exception=False,
            ) as span,
        ):
            error: BaseException | None = None
            started = perf_counter()
            logger.info(
                "job started", claim=job.fence, time_left_ms=round(reading.seconds_to_deadline * 1000)
            )
            try:
                await run(reading)
            except BaseException as raised:
                error = raised
                raise
            finally:
                describe_end(span, outcome_of(error), error)
                _log_end(logger, error, started)

    return run_observed


def _log_end(logger: BoundLogger, error: BaseException | None, started: float) -> None:
    duration_ms = round((perf_counter() - started) * 1000, 1)
    if error is None:
        logger.info("job ended", duration_ms=duration_ms)
    elif isinstance(error, asyncio.CancelledError):
        logger.info("job interrupted", duration_ms=duration_ms)
    else:
        logger.error("job crashed", duration_ms=duration_ms, exc_info=error)
