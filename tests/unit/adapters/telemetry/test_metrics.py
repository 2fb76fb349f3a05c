import math
import uuid
from collections.abc import Callable

import pytest
from prometheus_client.parser import text_string_to_metric_families

from photochanger.adapters.telemetry.metrics import MAX_MODELS, Level, Metrics
from photochanger.domain.errors import error_classes
from photochanger.domain.job import JobState, ResultSource
from photochanger.domain.quota import QuotaWindow

Value = Callable[..., float | None]

INGEST = "photochanger_ingest_duration_seconds_count"
REQUESTS = "photochanger_http_requests_total"
FINALIZED = "photochanger_jobs_finalized_total"
PROVIDER = "photochanger_provider_duration_seconds_count"
PORT = "photochanger_port_duration_seconds_count"


def test_the_exposition_is_prometheus_text(metrics: Metrics) -> None:
    metrics.ingest_answered("ok", 1.5)
    assert metrics.content_type == "text/plain; version=0.0.4; charset=utf-8"
    families = list(text_string_to_metric_families(metrics.exposition().decode()))
    assert {family.name for family in families} >= {
        "photochanger_ingest_duration_seconds",
        "photochanger_http_requests",
        "photochanger_jobs_finalized",
        "photochanger_provider_duration_seconds",
        "photochanger_port_duration_seconds",
        "photochanger_login_failures",
        "photochanger_event_loop_lag_seconds",
    }
    assert all(family.documentation for family in families)


def test_registries_are_not_shared(metrics: Metrics, value: Value) -> None:
    Metrics().login_failed()
    assert value("photochanger_login_failures_total") == 0
    metrics.login_failed()
    assert value("photochanger_login_failures_total") == 1


def test_ingest_is_timed_by_outcome(metrics: Metrics, value: Value) -> None:
    for outcome in ("ok", "timeout", "5xx", "cancelled"):
        metrics.ingest_answered(outcome, 48.01)
        assert value(INGEST, outcome=outcome) == 1
    bucket = "photochanger_ingest_duration_seconds_bucket"
    assert value(bucket, outcome="timeout", le="48.0") == 0
    assert value(bucket, outcome="timeout", le="50.0") == 1


def test_requests_are_counted_by_route_template(metrics: Metrics, value: Value) -> None:
    metrics.know_routes(["/ingest/{slot_id}"])
    metrics.http_answered("/ingest/{slot_id}", "POST", 504)
    assert value(REQUESTS, route="/ingest/{slot_id}", method="POST", status="504") == 1


@pytest.mark.parametrize(
    ("state", "reason", "label"),
    [
        (JobState.COMPLETED, None, "none"),
        (JobState.FAILED_TIMEOUT, "timeout", "timeout"),
        (JobState.FAILED_PROVIDER, "provider_no_image", "provider_no_image"),
        (JobState.CANCELLED, "cancelled", "cancelled"),
    ],
)
def test_final_jobs_are_counted_by_state_and_reason(
    metrics: Metrics, value: Value, state: JobState, reason: str | None, label: str
) -> None:
    metrics.job_finalized(state, reason)
    assert value(FINALIZED, state=state.value, failure_reason=label) == 1


def test_providers_and_ports_are_timed_by_outcome(metrics: Metrics, value: Value) -> None:
    metrics.provider_observer("dream")("provider_refused", 0.3)
    metrics.port_observer("JobRepository", "claim")("ok", 0.002)
    assert value(PROVIDER, provider="dream", outcome="provider_refused") == 1
    assert value(PORT, port="JobRepository", operation="claim", outcome="ok") == 1


def test_the_lag_of_the_event_loop_is_kept(metrics: Metrics, value: Value) -> None:
    metrics.loop_lagged(0.004)
    assert value("photochanger_event_loop_lag_seconds_sum") == 0.004


def test_every_error_code_is_a_known_outcome(metrics: Metrics, value: Value) -> None:
    for code in {cls.__dict__["code"] for cls in error_classes() if "code" in cls.__dict__}:
        metrics.ingest_answered(code, 0.1)
        assert value(INGEST, outcome=code) == 1


def test_nothing_that_comes_from_outside_makes_new_series(metrics: Metrics, value: Value) -> None:
    metrics.know_routes(["/public/results/{job_id}"])
    observe_provider = metrics.provider_observer("gemini")
    observe_port = metrics.port_observer("Clock", "now")
    junk = [uuid.uuid4().hex for _ in range(1_000)]
    for number, word in enumerate(junk):
        metrics.http_answered(f"/public/results/{word}", word, number)
        metrics.ingest_answered(word, 1)
        metrics.job_finalized(JobState.FAILED_INTERNAL, word)
        metrics.provider_observer(word)(word, 1)
        observe_provider(word, 1)
        observe_port(word, 1)
    exposition = metrics.exposition().decode()
    assert not any(word in exposition for word in junk)
    assert exposition.count(f"\n{REQUESTS}{{") < 70
    assert len(exposition.splitlines()) < 400
    assert value(INGEST, outcome="other") == 1_000


def test_pictures_are_counted_by_where_they_come_from(metrics: Metrics, value: Value) -> None:
    for source in ResultSource:
        metrics.picture_finished(source)
        assert value("photochanger_pictures_total", source=source.value) == 1


def test_a_quota_is_shown_with_its_use(metrics: Metrics, value: Value) -> None:
    for used, limit in ((3, 60), (0, None)):
        metrics.quota_seen("gemini", QuotaWindow.MINUTE, used, limit)
        labels = {"provider": "gemini", "window": "minute"}
        assert value("photochanger_provider_quota_used", **labels) == used
        assert value("photochanger_provider_quota_limit", **labels) == (limit or math.inf)
    assert value("photochanger_provider_quota_used", provider="gemini", window="day") is None


def test_a_pause_is_shown_while_it_lasts(metrics: Metrics, value: Value) -> None:
    for paused in (True, False):
        metrics.provider_paused("gemini", "banana-2", paused)
        metrics.provider_paused("dream", None, paused)
        assert value("photochanger_provider_paused", provider="gemini", model="banana-2") == paused
        assert value("photochanger_provider_paused", provider="dream", model="none") == paused


def test_no_number_of_providers_and_models_makes_more_than_so_many_series(metrics: Metrics) -> None:
    for word in (uuid.uuid4().hex for _ in range(1_000)):
        metrics.provider_paused("gemini", word, paused=True)
        metrics.provider_paused(word, word, paused=True)
        metrics.quota_seen(word, QuotaWindow.DAY, 1, 2)
        metrics.maybe_billed(word)
    exposition = metrics.exposition().decode()
    assert exposition.count("\nphotochanger_provider_paused{") <= 2 * (MAX_MODELS + 2)
    assert exposition.count("\nphotochanger_provider_quota_used{") == 1
    assert exposition.count("\nphotochanger_provider_maybe_billed_total{") == 1


def test_levels_are_read_at_every_exposition(metrics: Metrics, value: Value) -> None:
    assert value(Level.QUEUE_DEPTH.value) is None
    readings = iter([3.0, 4.0])
    metrics.watch(Level.QUEUE_DEPTH, lambda: next(readings))
    assert value(Level.QUEUE_DEPTH.value) == 3
    assert value(Level.QUEUE_DEPTH.value) == 4


def test_a_level_that_cannot_be_read_harms_no_other(
    metrics: Metrics, value: Value, caplog: pytest.LogCaptureFixture
) -> None:
    def broken() -> float:
        raise OSError("no such disk")

    metrics.watch(Level.MEDIA_FREE_BYTES, broken)
    metrics.watch(Level.HELD_REQUESTS, lambda: 7)
    assert math.isnan(value(Level.MEDIA_FREE_BYTES.value) or 0)
    assert value(Level.HELD_REQUESTS.value) == 7
    assert "photochanger_media_free_bytes" in caplog.text


@pytest.mark.parametrize("level", Level)
def test_every_level_has_a_meaning(level: Level) -> None:
    assert level.meaning
