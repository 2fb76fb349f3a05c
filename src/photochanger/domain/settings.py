"""The installation's settings: one versioned document that administrators change at run time."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from photochanger.domain.errors import Problem, ValidationFailed
from photochanger.domain.quota import Quota
from photochanger.domain.rate import Rate
from photochanger.domain.retention import (
    DEFAULT_RETENTION_HOURS,
    DEFAULT_SYNC_RESPONSE_SEC,
    MAX_RETENTION_HOURS,
    MAX_SYNC_RESPONSE_SEC,
    MIN_RETENTION_HOURS,
    MIN_SYNC_RESPONSE_SEC,
)
from photochanger.domain.slot import MAX_CONCURRENCY, SlotConfiguration, out_of_range

MAX_UPLOAD_MB_CEILING: Final = 2048
MIN_HISTORY_DAYS: Final = 8
"""Longer than any result lives."""
MAX_HISTORY_DAYS: Final = 3650
DEFAULT_HISTORY_DAYS: Final = 30
DEFAULT_MAX_WAITING: Final = 5_000
MAX_WAITING_CEILING: Final = 100_000
MIN_PASSWORD_LENGTH: Final = 8
MAX_PASSWORD_LENGTH: Final = 128
BYTES_PER_MB: Final = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestSettings:
    """How photos come in. The password is known by its hash only; None refuses every photo."""

    sync_response_timeout_sec: int = DEFAULT_SYNC_RESPONSE_SEC
    password_hash: str | None = None
    password_updated_at: datetime | None = None
    password_updated_by: str | None = None
    rate_limit_rps: float = 50.0
    rate_limit_burst: int = 100
    max_upload_mb: int = 200
    deduplicate: bool = True

    @property
    def rate(self) -> Rate:
        """How fast they may."""
        return Rate(per_sec=self.rate_limit_rps, burst=self.rate_limit_burst)


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultSettings:
    """How long results live, and how many a gallery shows."""

    retention_hours: int = DEFAULT_RETENTION_HOURS
    gallery_size: int = 10

    @property
    def retention(self) -> timedelta:
        """The time from `finalized_at` to `result_expires_at`."""
        return timedelta(hours=self.retention_hours)


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitSettings:
    """How much may go on at once, and how often a provider may be called. A missing key means no limit.

    `max_waiting` is how many photos may wait in the whole installation, those included that are being sent.
    """

    per_slot: int = 8
    per_provider: Mapping[str, int] = field(default_factory=dict)
    max_waiting: int = DEFAULT_MAX_WAITING
    quota_per_minute: Mapping[str, int] = field(default_factory=dict)
    quota_per_day: Mapping[str, int] = field(default_factory=dict)

    def quota(self, provider: str) -> Quota:
        """Return how often `provider` may be called."""
        return Quota(per_minute=self.quota_per_minute.get(provider), per_day=self.quota_per_day.get(provider))


@dataclass(frozen=True, slots=True, kw_only=True)
class CleanupSettings:
    """Whether and how often the sweeper runs, and how long records outlive their files."""

    enabled: bool = True
    interval_sec: int = 15
    history_days: int = DEFAULT_HISTORY_DAYS

    @property
    def history(self) -> timedelta:
        """How long final jobs, and the tombstones of files, are kept."""
        return timedelta(days=self.history_days)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The whole document, as stored."""

    ingest: IngestSettings = field(default_factory=IngestSettings)
    results: ResultSettings = field(default_factory=ResultSettings)
    limits: LimitSettings = field(default_factory=LimitSettings)
    cleanup: CleanupSettings = field(default_factory=CleanupSettings)
    version: int = 1
    updated_at: datetime | None = None
    updated_by: str | None = None

    def places(self, slot: SlotConfiguration) -> int:
        """Return how many photos of `slot` may be done at once: its own value, else the general one."""
        return slot.max_concurrency or self.limits.per_slot

    def sync_response_timeout_sec(self, slot: SlotConfiguration) -> int:
        """Return how long a photo for `slot` may take: the slot's own value, else the general one."""
        return slot.sync_response_timeout_sec or self.ingest.sync_response_timeout_sec

    def upload_limit_bytes(self, slot: SlotConfiguration) -> int:
        """Return how large a photo for `slot` may be."""
        return min(slot.size_limit_mb, self.ingest.max_upload_mb) * BYTES_PER_MB


def validate_settings(settings: Settings, *, providers: Collection[str], password: str | None = None) -> None:
    """Raise `ValidationFailed` with every problem of the settings, or return.

    `providers` are the names that a limit may be of; `password` is a new ingest password, where there is one.
    """
    problems = [
        *_ingest_problems(settings.ingest),
        *_other_problems(settings),
        *_limit_problems(settings.limits, providers),
        *(() if password is None else password_problems(password, "ingest.dslr_password")),
    ]
    if problems:
        raise ValidationFailed(problems)


def _ingest_problems(ingest: IngestSettings) -> Iterator[Problem]:
    yield from out_of_range(
        "ingest.sync_response_timeout_sec",
        ingest.sync_response_timeout_sec,
        MIN_SYNC_RESPONSE_SEC,
        MAX_SYNC_RESPONSE_SEC,
    )
    yield from out_of_range("ingest.rate_limit_rps", ingest.rate_limit_rps, 0.1, 10_000)
    yield from out_of_range("ingest.rate_limit_burst", ingest.rate_limit_burst, 1, 100_000)
    yield from out_of_range("ingest.max_upload_mb", ingest.max_upload_mb, 1, MAX_UPLOAD_MB_CEILING)


def _other_problems(settings: Settings) -> Iterator[Problem]:
    yield from out_of_range(
        "results.retention_hours", settings.results.retention_hours, MIN_RETENTION_HOURS, MAX_RETENTION_HOURS
    )
    yield from out_of_range("results.gallery_size", settings.results.gallery_size, 1, 100)
    yield from out_of_range("cleanup.interval_sec", settings.cleanup.interval_sec, 1, 3_600)
    yield from out_of_range(
        "cleanup.history_days", settings.cleanup.history_days, MIN_HISTORY_DAYS, MAX_HISTORY_DAYS
    )
    yield from out_of_range("limits.per_slot", settings.limits.per_slot, 1, MAX_CONCURRENCY)
    yield from out_of_range("limits.max_waiting", settings.limits.max_waiting, 1, MAX_WAITING_CEILING)


def _limit_problems(limits: LimitSettings, providers: Collection[str]) -> Iterator[Problem]:
    for name in ("per_provider", "quota_per_minute", "quota_per_day"):
        by_provider: Mapping[str, int] = getattr(limits, name)
        for provider, value in by_provider.items():
            path = f"limits.{name}.{provider}"
            if provider not in providers:
                message = f"must be one of {', '.join(sorted(providers))}"
                yield Problem(field=path, code="unknown", message=message)
            yield from out_of_range(path, value, 1, 10_000_000)


def password_problems(password: str, path: str) -> Iterator[Problem]:
    """Yield what is wrong with an ingest password, found at `path`."""
    if not MIN_PASSWORD_LENGTH <= len(password) <= MAX_PASSWORD_LENGTH:
        message = f"must have {MIN_PASSWORD_LENGTH} to {MAX_PASSWORD_LENGTH} characters"
        yield Problem(field=path, code="out_of_range", message=message)
