import logging
from collections.abc import Callable, Iterator

import pytest
import structlog
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import Tracer
from prometheus_client.parser import text_string_to_metric_families

from photochanger.adapters.telemetry.metrics import Metrics


@pytest.fixture
def spans() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def tracer(spans: InMemorySpanExporter) -> Tracer:
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(spans))
    return provider.get_tracer("tests")


@pytest.fixture
def metrics() -> Metrics:
    return Metrics(providers=["gemini", "dream"])


@pytest.fixture
def value(metrics: Metrics) -> Callable[..., float | None]:
    """Returns the value of one time series of `metrics` as it is exposed, or None where it is not there."""

    def find(name: str, **labels: str) -> float | None:
        families = text_string_to_metric_families(metrics.exposition().decode())
        samples = (sample for family in families for sample in family.samples)
        return next((s.value for s in samples if s.name == name and dict(s.labels) == labels), None)

    return find


@pytest.fixture
def logging_restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.getLogger("psycopg.pool").filters.clear()
    logging.captureWarnings(capture=False)
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()
