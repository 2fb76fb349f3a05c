"""Traces: spans from the request to the provider, across processes, exported only where somebody listens."""

import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from opentelemetry import context, trace
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter, SpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

_PROPAGATOR: Final = TraceContextTextMapPropagator()
_TRACEPARENT: Final = "traceparent"
_ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PROTOCOLS: Final = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")


@dataclass(frozen=True, slots=True)
class Tracing:
    """The process's tracing: `tracer` opens spans."""

    provider: TracerProvider
    tracer: trace.Tracer

    def shutdown(self, *, timeout_sec: float = 3.0) -> bool:
        """Export what is left and stop; say whether that ended within `timeout_sec`.

        Blocks for at most that long: an event loop calls it through a thread.
        """
        # A thread of our own, because the SDK takes no limit here and waits up to 30 s for a dead collector.
        thread = threading.Thread(target=self.provider.shutdown, name="tracing-shutdown", daemon=True)
        thread.start()
        thread.join(timeout_sec)
        return not thread.is_alive()


def configure_tracing(
    *, version: str, exporter: SpanExporter | None = None, service_name: str = "photochanger"
) -> Tracing:
    """Return the tracing of this process, which owns `exporter`; the global provider is left alone.

    Without an exporter nothing is recorded and spans cost little, but every trace still has its id and still
    crosses processes. With one, the SDK itself reads the standard `OTEL_*` variables for sampling, batching
    and resource attributes; `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES` win over the arguments.
    """
    named = Resource({SERVICE_NAME: service_name, SERVICE_VERSION: version})
    resource = Resource.create().merge(named).merge(OTELResourceDetector().detect())
    provider = TracerProvider(
        sampler=None if exporter else ALWAYS_OFF, resource=resource, shutdown_on_exit=False
    )
    if exporter:
        provider.add_span_processor(BatchSpanProcessor(exporter))
    return Tracing(provider, provider.get_tracer("photochanger", version))


def exporter_named_by(variables: Mapping[str, str]) -> SpanExporter | None:
    """Return the exporter that the standard `OTEL_*` variables ask for, or None.

    `OTEL_TRACES_EXPORTER` may be `otlp`, `console` or `none`; where it is absent, an OTLP endpoint is enough.
    The OTLP exporter reads its endpoint, headers and time-outs from the environment itself. Raises
    `ValueError` for another exporter, and for another protocol than `http/protobuf`.
    """
    if variables.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return None
    default = "otlp" if any(variables.get(name) for name in _ENDPOINTS) else "none"
    match variables.get("OTEL_TRACES_EXPORTER") or default:
        case "none":
            return None
        case "console":
            return ConsoleSpanExporter(out=sys.stderr)
        case "otlp":
            return _otlp_exporter(variables)
    raise ValueError("OTEL_TRACES_EXPORTER must be otlp, console or none")


def _otlp_exporter(variables: Mapping[str, str]) -> SpanExporter:
    protocol = next((variables[name] for name in _PROTOCOLS if variables.get(name)), "http/protobuf")
    if protocol != "http/protobuf":
        raise ValueError("OTEL_EXPORTER_OTLP_PROTOCOL must be http/protobuf")
    # Imported late: it takes longer to import than the rest of the telemetry, and most never need it.
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415

    return OTLPSpanExporter()


def current_traceparent() -> str | None:
    """Return the current span as a W3C `traceparent`, or None outside any span."""
    carrier: dict[str, str] = {}
    _PROPAGATOR.inject(carrier)
    return carrier.get(_TRACEPARENT)


@contextmanager
def continued_from(traceparent: str | None) -> Iterator[None]:
    """Make spans inside the block part of the trace that `traceparent` names.

    None and anything malformed begin a new trace: whatever span was current outside does not count.
    """
    carrier = {_TRACEPARENT: traceparent} if traceparent else {}
    token = context.attach(_PROPAGATOR.extract(carrier, context=context.Context()))
    try:
        yield
    finally:
        context.detach(token)
