"""Metrics: everything that `/metrics` tells, in a registry of its own."""

import logging
import math
from collections.abc import Callable, Collection, Iterator, Mapping
from enum import StrEnum
from http import HTTPMethod, HTTPStatus
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from photochanger.adapters.telemetry.labels import OTHER, BoundedFamily
from photochanger.domain.errors import error_classes
from photochanger.domain.job import FAILURE_REASON_OF, FINAL_STATES, JobState, ResultSource
from photochanger.domain.media import MediaKind
from photochanger.domain.quota import QuotaWindow

OUTCOME_OK: Final = "ok"
OUTCOME_CANCELLED: Final = "cancelled"
OUTCOME_ERROR: Final = "error"
"""An exception that is not one of `photochanger.domain.errors`."""

NO_FAILURE: Final = "none"
PROVIDERS: Final = ("gemini", "turbotext", "rehearsal")
NO_MODEL: Final = "none"
MAX_MODELS: Final = 50
"""Models are named in slots: only so many different names become labels in the life of a process."""

_STRAY: Final = "stray"
_LOST: Final = "lost"

_PORT_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_PHOTO_BUCKETS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 7.5, 10, 15, 20, 25, 30, 40, 48, 50, 60, 75)
_LAG_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5)

_LOGGER = logging.getLogger(__name__)


class Level(StrEnum):
    """A level that is read when `/metrics` is: the metric's name, and what it means."""

    QUEUE_DEPTH = "photochanger_queue_depth"
    QUEUE_OLDEST_WAIT = "photochanger_queue_oldest_wait_seconds"
    HELD_REQUESTS = "photochanger_held_requests"
    MEDIA_BYTES = "photochanger_media_bytes"
    MEDIA_FREE_BYTES = "photochanger_media_free_bytes"
    SWEEPER_LAG = "photochanger_sweeper_lag_seconds"

    @property
    def meaning(self) -> str:
        """The help text."""
        return _MEANINGS[self]


_MEANINGS: Final = {
    Level.QUEUE_DEPTH: "Jobs that wait for a worker",
    Level.QUEUE_OLDEST_WAIT: "How long the oldest of them has waited",
    Level.HELD_REQUESTS: "Booths that wait for their answer in this process",
    Level.MEDIA_BYTES: "Bytes of stored media",
    Level.MEDIA_FREE_BYTES: "Bytes still free where media are stored",
    Level.SWEEPER_LAG: "Time since a sweeper, in whatever process, last finished a round",
}


class Metrics:
    """The metrics of one process.

    `providers` are the names that may appear as a label. No label ever takes a value that is not in a set
    known beforehand; any other value counts as `other`. Safe to use from any thread.
    """

    def __init__(self, *, providers: Collection[str] = PROVIDERS) -> None:
        self._registry = CollectorRegistry()
        self._routes: set[str] = set()
        self._outcomes = frozenset(_outcomes())
        ProcessCollector(registry=self._registry)
        self._ingest = BoundedFamily(
            self._histogram(
                "photochanger_ingest_duration_seconds", "From request to answer", _PHOTO_BUCKETS, "outcome"
            ),
            self._outcomes | {f"{digit}xx" for digit in range(1, 6)},
        )
        self._provider = BoundedFamily(
            self._histogram(
                "photochanger_provider_duration_seconds",
                "One call of a provider",
                _PHOTO_BUCKETS,
                "provider",
                "outcome",
            ),
            frozenset(providers),
            self._outcomes,
        )
        self._port = self._histogram(
            "photochanger_port_duration_seconds",
            "One call of an adapter, through its port",
            _PORT_BUCKETS,
            "port",
            "operation",
            "outcome",
        )
        self._requests = BoundedFamily(
            self._counter(
                "photochanger_http_requests_total", "HTTP requests answered", "route", "method", "status"
            ),
            self._routes,
            frozenset(HTTPMethod),
            frozenset(str(status.value) for status in HTTPStatus),
        )
        self._finalized = BoundedFamily(
            self._counter("photochanger_jobs_finalized_total", "Jobs ended", "state", "failure_reason"),
            frozenset(FINAL_STATES),
            self._outcomes | {NO_FAILURE, *FAILURE_REASON_OF.values()},
        )
        self._pictures = BoundedFamily(
            self._counter("photochanger_pictures_total", "Pictures of ended jobs", "source"),
            frozenset(ResultSource),
        )
        self._maybe_billed = BoundedFamily(
            self._counter(
                "photochanger_provider_maybe_billed_total",
                "Calls that brought no picture and may have been charged all the same",
                "provider",
            ),
            frozenset(providers),
        )
        self._quota_used, self._quota_limit = (
            BoundedFamily(
                self._gauge(name, meaning, "provider", "window"), frozenset(providers), frozenset(QuotaWindow)
            )
            for name, meaning in (
                ("photochanger_provider_quota_used", "Calls counted in the present minute and day"),
                ("photochanger_provider_quota_limit", "Calls allowed in a minute and a day; +Inf: no limit"),
            )
        )
        self._models = {NO_MODEL}
        self._paused = BoundedFamily(
            self._gauge(
                "photochanger_provider_paused",
                "1 while calls are kept away from a provider's model that fails, else 0",
                "provider",
                "model",
            ),
            frozenset(providers),
            self._models,
        )
        self._swept = BoundedFamily(
            self._counter(
                "photochanger_files_deleted_total", "Files deleted by sweeps of this process", "kind"
            ),
            frozenset(MediaKind),
        )
        self._differences = BoundedFamily(
            self._counter(
                "photochanger_media_differences_total",
                "Files that no record expected (stray), or that were not where they were stored (lost)",
                "difference",
            ),
            frozenset({_STRAY, _LOST}),
        )
        self._login_failures = Counter(
            "photochanger_login_failures_total", "Logins refused", registry=self._registry
        )
        self._lag = Histogram(
            "photochanger_event_loop_lag_seconds",
            "How late the event loop ran a timer",
            buckets=_LAG_BUCKETS,
            registry=self._registry,
        )

    def ingest_answered(self, outcome: str, seconds: float) -> None:
        """Count an answered ingest request; `outcome` is `ok`, an error's code or a class such as `5xx`."""
        self._ingest.child(outcome).observe(seconds)

    def know_routes(self, templates: Collection[str]) -> None:
        """Add route templates, such as `/ingest/{slot_id}`, to those that may appear as a label."""
        self._routes.update(templates)

    def http_answered(self, route: str, method: str, status: int) -> None:
        """Count an HTTP answer. `route` is the template of the route, never the path of the request."""
        self._requests.child(route, method, str(status)).inc()

    def job_finalized(self, state: JobState, failure_reason: str | None) -> None:
        """Count a job that has become final. Whoever finalises counts, and nobody else."""
        self._finalized.child(state.value, failure_reason or NO_FAILURE).inc()

    def picture_finished(self, source: ResultSource) -> None:
        """Count a picture that a job ended with. Whoever finalises counts, and nobody else."""
        self._pictures.child(source.value).inc()

    def maybe_billed(self, provider: str) -> None:
        """Count a call that brought no picture and may have been charged."""
        self._maybe_billed.child(provider).inc()

    def quota_seen(self, provider: str, window: QuotaWindow, used: int, limit: int | None) -> None:
        """Show how many calls are counted in the present window, and how many are allowed."""
        self._quota_used.child(provider, window.value).set(used)
        self._quota_limit.child(provider, window.value).set(math.inf if limit is None else limit)

    def provider_paused(self, provider: str, model: str | None, paused: bool) -> None:
        """Show whether calls are kept away from a provider, or from one of its models."""
        if model is not None and len(self._models) <= MAX_MODELS:
            self._models.add(model)
        self._paused.child(provider, model or NO_MODEL).set(paused)

    def swept(self, deleted: Mapping[MediaKind, int], *, strays: int, lost: int) -> None:
        """Count what a sweep of this process has deleted, and where files and records differed."""
        for kind, files in deleted.items():
            self._swept.child(kind.value).inc(files)
        self._differences.child(_STRAY).inc(strays)
        self._differences.child(_LOST).inc(lost)

    def login_failed(self) -> None:
        """Count a refused login."""
        self._login_failures.inc()

    def loop_lagged(self, seconds: float) -> None:
        """Record how late the event loop was."""
        self._lag.observe(seconds)

    def provider_observer(self, provider: str) -> Callable[[str, float], None]:
        """Return a function to call with the outcome and the seconds of every call of `provider`."""
        return lambda outcome, seconds: self._provider.child(provider, outcome).observe(seconds)

    def port_observer(self, port: str, operation: str) -> Callable[[str, float], None]:
        """Return a function to call with the outcome and the seconds of every call of a port's method.

        `port` and `operation` are names from the code, given once, when the program is put together.
        """
        family = BoundedFamily(self._port, {port}, {operation}, self._outcomes)
        return lambda outcome, seconds: family.child(port, operation, outcome).observe(seconds)

    def watch(self, level: Level, read: Callable[[], float]) -> None:
        """Ask `read` for `level` at every exposition, from now on; once for each level.

        `read` must answer at once, from memory. Where it raises, the level is NaN and the rest unharmed.
        """
        Gauge(level.value, level.meaning, registry=self._registry).set_function(_harmless(level, read))

    def exposition(self) -> bytes:
        """Return everything in Prometheus' text format, to be sent as `content_type`."""
        return generate_latest(self._registry)

    @property
    def content_type(self) -> str:
        """The media type of the exposition."""
        return CONTENT_TYPE_PLAIN_0_0_4

    def _histogram(self, name: str, meaning: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
        return Histogram(name, meaning, labels, buckets=buckets, registry=self._registry)

    def _gauge(self, name: str, meaning: str, *labels: str) -> Gauge:
        return Gauge(name, meaning, labels, registry=self._registry)

    def _counter(self, name: str, meaning: str, *labels: str) -> Counter:
        return Counter(name, meaning, labels, registry=self._registry)


def _outcomes() -> Iterator[str]:
    yield from (OUTCOME_OK, OUTCOME_CANCELLED, OUTCOME_ERROR, OTHER)
    yield from (code for cls in error_classes() if (code := cls.__dict__.get("code")))


def _harmless(level: Level, read: Callable[[], float]) -> Callable[[], float]:
    def read_or_nan() -> float:
        try:
            return float(read())
        except Exception:
            _LOGGER.exception("the level %s cannot be read", level.value)
            return math.nan

    return read_or_nan
