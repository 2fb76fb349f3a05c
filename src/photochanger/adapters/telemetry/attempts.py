"""A line in the log for every attempt at a picture that failed: what operators look at first."""

from collections.abc import Callable

from structlog.stdlib import BoundLogger

from photochanger.domain.call_plan import Attempt
from photochanger.domain.job import Job


def logged_attempts(logger: BoundLogger) -> Callable[[Job, Attempt], None]:
    """Return a function that logs a failed attempt: which provider, what went wrong, whether it may cost.

    The texts are those of our own errors; nothing that a provider wrote is among them.
    """

    def report(job: Job, attempt: Attempt) -> None:
        logger.warning(
            "no picture",
            job_id=job.job_id,
            slot_id=job.slot_id,
            provider=attempt.route.call.provider,
            model=attempt.route.model,
            fallback=attempt.route.is_fallback,
            code=attempt.fault.code,
            error=attempt.fault.message,
            hint=" ".join(getattr(attempt.fault, "__notes__", ())) or None,
            called=attempt.was_called,
            maybe_billed=attempt.fault.maybe_billed,
        )

    return report
