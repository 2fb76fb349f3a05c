import io
import sys
import threading
from collections.abc import Sequence

import pytest
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from photochanger.adapters.telemetry.tracing import (
    configure_tracing,
    continued_from,
    current_traceparent,
    exporter_named_by,
)

TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
TRACEPARENT = f"00-{TRACE_ID}-b7ad6b7169203331-01"


def current_trace_id() -> str:
    return f"{trace.get_current_span().get_span_context().trace_id:032x}"


def test_without_an_exporter_spans_still_have_ids_and_are_not_recorded() -> None:
    tracer = configure_tracing(version="1").tracer
    with tracer.start_as_current_span("request") as outer, tracer.start_as_current_span("inner") as inner:
        assert outer.get_span_context().is_valid
        assert inner.get_span_context().trace_id == outer.get_span_context().trace_id
        assert inner.get_span_context().span_id != outer.get_span_context().span_id
        assert not inner.is_recording()
        assert (current_traceparent() or "").startswith(f"00-{outer.get_span_context().trace_id:032x}-")


def test_there_is_no_traceparent_outside_a_span() -> None:
    assert current_traceparent() is None


@pytest.mark.parametrize("exporter", [None, InMemorySpanExporter()], ids=["silent", "exporting"])
def test_a_trace_continues_from_its_traceparent(exporter: SpanExporter | None) -> None:
    tracing = configure_tracing(version="1", exporter=exporter)
    with continued_from(TRACEPARENT), tracing.tracer.start_as_current_span("job"):
        assert current_trace_id() == TRACE_ID
        traceparent = current_traceparent()
    assert trace.get_current_span() is trace.INVALID_SPAN
    with continued_from(traceparent), tracing.tracer.start_as_current_span("elsewhere"):
        assert current_trace_id() == TRACE_ID
    tracing.shutdown()


@pytest.mark.parametrize(
    "traceparent", [None, "", "nonsense", "00-" + "0" * 32 + "-b7ad6b7169203331-01", "\n" * 9]
)
def test_anything_else_begins_a_new_trace(traceparent: str | None) -> None:
    tracer = configure_tracing(version="1").tracer
    with tracer.start_as_current_span("outside") as outside:
        with continued_from(traceparent), tracer.start_as_current_span("job") as job:
            assert job.get_span_context().is_valid
            assert job.get_span_context().trace_id != outside.get_span_context().trace_id
        assert trace.get_current_span() is outside


def test_shutdown_exports_what_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test")
    exporter = InMemorySpanExporter()
    tracing = configure_tracing(version="1.2.3", exporter=exporter)
    with tracing.tracer.start_as_current_span("request"):
        pass
    assert tracing.shutdown()
    (span,) = exporter.get_finished_spans()
    assert span.name == "request"
    assert (
        dict(span.resource.attributes).items()
        >= {
            "service.name": "photochanger",
            "service.version": "1.2.3",
            "deployment.environment.name": "test",
        }.items()
    )


def test_the_service_name_of_the_environment_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_SERVICE_NAME", "booth-hall-7")
    assert configure_tracing(version="1").provider.resource.attributes["service.name"] == "booth-hall-7"


def test_shutdown_does_not_wait_for_a_dead_collector() -> None:
    released = threading.Event()

    class Dead(SpanExporter):
        def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
            released.wait()
            return SpanExportResult.FAILURE

    tracing = configure_tracing(version="1", exporter=Dead())
    with tracing.tracer.start_as_current_span("request"):
        pass
    assert not tracing.shutdown(timeout_sec=0.1)
    released.set()


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": ""},
        {"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"},
        {"OTEL_SDK_DISABLED": "true", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"},
    ],
)
def test_nothing_is_exported_unless_asked_for(variables: dict[str, str]) -> None:
    assert exporter_named_by(variables) is None


@pytest.mark.parametrize(
    "variables",
    [
        {"OTEL_TRACES_EXPORTER": "otlp"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"},
        {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:4318/v1/traces"},
    ],
)
def test_an_endpoint_is_enough_for_otlp(variables: dict[str, str]) -> None:
    assert isinstance(exporter_named_by(variables), OTLPSpanExporter)


def test_the_console_exporter_leaves_standard_output_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    exporter = exporter_named_by({"OTEL_TRACES_EXPORTER": "console"})
    assert isinstance(exporter, ConsoleSpanExporter)
    assert exporter.out is sys.stderr


@pytest.mark.parametrize(
    "variables",
    [
        {"OTEL_TRACES_EXPORTER": "jaeger"},
        {"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
    ],
)
def test_what_we_cannot_export_to_is_refused(variables: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="must be"):
        exporter_named_by(variables)
