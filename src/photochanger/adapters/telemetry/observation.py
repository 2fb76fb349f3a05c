"""One observed call: its span, its duration, its outcome."""

import asyncio
from collections.abc import Callable
from contextvars import Token
from time import perf_counter
from types import TracebackType
from typing import Final

from opentelemetry import context, trace
from opentelemetry.trace import Span, Status, StatusCode, Tracer

from photochanger.adapters.telemetry.metrics import OUTCOME_CANCELLED, OUTCOME_ERROR, OUTCOME_OK
from photochanger.domain.errors import CallerError, PhotoChangerError

_FAILED: Final = Status(StatusCode.ERROR)

Observer = Callable[[str, float], None]
"""Takes an outcome, and how long it took in seconds."""


def outcome_of(error: BaseException | None) -> str:
    """Return `ok`, the code of a domain error, `cancelled`, or `error`.

    A generator that is closed early counts as cancelled.
    """
    if error is None:
        return OUTCOME_OK
    if isinstance(error, PhotoChangerError):
        return getattr(error, "code", OUTCOME_ERROR)
    if isinstance(error, asyncio.CancelledError | GeneratorExit):
        return OUTCOME_CANCELLED
    return OUTCOME_ERROR


class Observation:
    """A call under way, as a context manager around it; used once.

    `current` makes its span the parent of spans opened inside, which needs a block that is left in the same
    task as it was entered. Errors pass through unchanged, and only their type is kept: their text may hold
    what must not be exported. Inside a trace of ours that is not recorded there is no span of the call: what
    is current stays so.
    """

    __slots__ = ("_current", "_observe", "_span", "_started", "_token")

    def __init__(self, tracer: Tracer, name: str, observe: Observer, *, current: bool) -> None:
        around = trace.get_current_span()
        self._current = current
        if _is_unrecorded(around):
            self._span, self._current = around, False
        else:
            self._span = tracer.start_span(name, record_exception=False, set_status_on_exception=False)
        self._observe = observe
        self._token: Token[context.Context] | None = None
        self._started = perf_counter()

    @property
    def span(self) -> Span:
        """The span of the call; where none is recorded, the one around it."""
        return self._span

    def __enter__(self) -> None:
        if self._current:
            self._token = context.attach(trace.set_span_in_context(self._span))

    def __exit__(
        self, _type: type[BaseException] | None, error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        if self._token is not None:
            context.detach(self._token)
        self.end(error)

    def end(self, error: BaseException | None) -> None:
        """Record how the call ended; `error` is what it raised, if anything."""
        outcome = outcome_of(error)
        if self._span.is_recording():
            describe_end(self._span, outcome, error)
            self._span.end()
        self._observe(outcome, perf_counter() - self._started)


def _is_unrecorded(span: Span) -> bool:
    """Say whether `span` is one of this process's whose trace is not recorded.

    One that has ended records nothing either, but what belongs to its trace is recorded.
    """
    if span.is_recording():
        return False
    known = span.get_span_context()
    return known.is_valid and not known.is_remote and not known.trace_flags.sampled


def describe_end(span: Span, outcome: str, error: BaseException | None) -> None:
    """Write the outcome on the span; only what is not the caller's fault, and no cancellation, fails it."""
    span.set_attribute("outcome", outcome)
    if error is None or outcome == OUTCOME_CANCELLED or isinstance(error, CallerError):
        return
    span.set_attribute("error.type", type(error).__name__)
    span.set_status(_FAILED)
