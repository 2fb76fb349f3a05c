"""The settings: how they are changed, and how they are shown."""

from collections.abc import Sequence
from typing import Annotated

from msgspec import Meta, Struct

from photochanger.application.edit_settings import SettingsEdit
from photochanger.domain.account import Account
from photochanger.domain.operation import ProviderCatalogue
from photochanger.domain.retention import (
    MAX_RETENTION_HOURS,
    MAX_SYNC_RESPONSE_SEC,
    MIN_RETENTION_HOURS,
    MIN_SYNC_RESPONSE_SEC,
)
from photochanger.domain.settings import (
    DEFAULT_HISTORY_DAYS,
    DEFAULT_MAX_WAITING,
    MAX_HISTORY_DAYS,
    MAX_PASSWORD_LENGTH,
    MAX_UPLOAD_MB_CEILING,
    MAX_WAITING_CEILING,
    MIN_HISTORY_DAYS,
    MIN_PASSWORD_LENGTH,
    CleanupSettings,
    IngestSettings,
    LimitSettings,
    ResultSettings,
    Settings,
)
from photochanger.domain.slot import MAX_CONCURRENCY
from photochanger.entrypoints.documents.bounds import NO_NUL, between, characters
from photochanger.entrypoints.documents.timestamps import Timestamp, rfc3339_or_none

_ByProvider = dict[str, Annotated[int, between(1, 10_000_000)]]


class IngestUpdate(Struct, kw_only=True, forbid_unknown_fields=True):
    """How photos come in."""

    sync_response_timeout_sec: Annotated[int, between(MIN_SYNC_RESPONSE_SEC, MAX_SYNC_RESPONSE_SEC)]
    rate_limit_rps: Annotated[float, between(0.1, 10_000)]
    rate_limit_burst: Annotated[int, between(1, 100_000)]
    max_upload_mb: Annotated[int, between(1, MAX_UPLOAD_MB_CEILING)]
    deduplicate: bool
    dslr_password: Annotated[
        Annotated[str, Meta(extra_json_schema={"pattern": NO_NUL})] | None,
        characters(
            MIN_PASSWORD_LENGTH,
            MAX_PASSWORD_LENGTH,
            "A new ingest password, 8 to 128 characters; it is never shown again",
        ),
    ] = None


class ResultsDocument(Struct, kw_only=True, forbid_unknown_fields=True):
    """How long results live, and how many a gallery shows."""

    retention_hours: Annotated[int, between(MIN_RETENTION_HOURS, MAX_RETENTION_HOURS)]
    gallery_size: Annotated[int, between(1, 100)]


class LimitsDocument(Struct, kw_only=True, forbid_unknown_fields=True):
    """How much may go on at once, and how often a provider may be called. A missing provider has no limit."""

    per_slot: Annotated[int, between(1, MAX_CONCURRENCY)]
    per_provider: _ByProvider = {}
    quota_per_minute: _ByProvider = {}
    quota_per_day: _ByProvider = {}
    max_waiting: Annotated[int, between(1, MAX_WAITING_CEILING)] = DEFAULT_MAX_WAITING


class CleanupDocument(Struct, kw_only=True, forbid_unknown_fields=True):
    """Whether expired files are deleted, how often it is looked for them, and how long jobs are kept."""

    enabled: bool
    interval_sec: Annotated[int, between(1, 3_600)]
    history_days: Annotated[int, between(MIN_HISTORY_DAYS, MAX_HISTORY_DAYS)] = DEFAULT_HISTORY_DAYS


class SettingsUpdate(Struct, kw_only=True, forbid_unknown_fields=True):
    """What the settings are to be. `version` is the one that was read before."""

    version: int
    ingest: IngestUpdate
    results: ResultsDocument
    limits: LimitsDocument
    cleanup: CleanupDocument

    def edit(self) -> SettingsEdit:
        """Return the same as the use case takes it."""
        ingest = IngestSettings(
            sync_response_timeout_sec=self.ingest.sync_response_timeout_sec,
            rate_limit_rps=self.ingest.rate_limit_rps,
            rate_limit_burst=self.ingest.rate_limit_burst,
            max_upload_mb=self.ingest.max_upload_mb,
            deduplicate=self.ingest.deduplicate,
        )
        settings = Settings(
            version=self.version,
            ingest=ingest,
            results=ResultSettings(
                retention_hours=self.results.retention_hours, gallery_size=self.results.gallery_size
            ),
            limits=LimitSettings(
                per_slot=self.limits.per_slot,
                per_provider=self.limits.per_provider,
                quota_per_minute=self.limits.quota_per_minute,
                quota_per_day=self.limits.quota_per_day,
                max_waiting=self.limits.max_waiting,
            ),
            cleanup=CleanupSettings(
                enabled=self.cleanup.enabled,
                interval_sec=self.cleanup.interval_sec,
                history_days=self.cleanup.history_days,
            ),
        )
        return SettingsEdit(settings=settings, ingest_password=self.ingest.dslr_password)


class IngestView(Struct, kw_only=True):
    """How photos come in; of the password only whether, when and by whom it was set."""

    sync_response_timeout_sec: int
    password_is_set: bool
    password_updated_at: Timestamp | None
    password_updated_by: str | None
    rate_limit_rps: float
    rate_limit_burst: int
    max_upload_mb: int
    deduplicate: bool


class Derived(Struct, kw_only=True):
    """The times that follow from the settings."""

    t_sync_response_sec: int
    t_public_link_ttl_sec: int
    t_result_retention_hours: int


class ProviderKey(Struct, kw_only=True):
    """Whether a provider has what it needs to be called."""

    key_is_set: bool


class AccountView(Struct, kw_only=True):
    """An account, and what it may do."""

    username: str
    permissions: list[str]

    @classmethod
    def of(cls, account: Account) -> "AccountView":
        """Return an account as it is shown."""
        return cls(username=account.username, permissions=sorted(account.permissions))


class SettingsView(Struct, kw_only=True):
    """The settings as administrators see them. No secret is ever shown."""

    version: int
    updated_at: Timestamp | None
    updated_by: str | None
    ingest: IngestView
    results: ResultsDocument
    limits: LimitsDocument
    cleanup: CleanupDocument
    derived: Derived
    providers: dict[str, ProviderKey]
    accounts: list[AccountView]

    @classmethod
    def of(
        cls, stored: Settings, *, catalogue: ProviderCatalogue, accounts: Sequence[Account]
    ) -> "SettingsView":
        """Return the settings as they are shown, with the providers and the accounts that there are."""
        return cls(
            version=stored.version,
            updated_at=rfc3339_or_none(stored.updated_at),
            updated_by=stored.updated_by,
            ingest=_ingest(stored.ingest),
            results=ResultsDocument(
                retention_hours=stored.results.retention_hours, gallery_size=stored.results.gallery_size
            ),
            limits=_limits(stored.limits),
            cleanup=CleanupDocument(
                enabled=stored.cleanup.enabled,
                interval_sec=stored.cleanup.interval_sec,
                history_days=stored.cleanup.history_days,
            ),
            derived=Derived(
                t_sync_response_sec=stored.ingest.sync_response_timeout_sec,
                t_public_link_ttl_sec=stored.ingest.sync_response_timeout_sec,
                t_result_retention_hours=stored.results.retention_hours,
            ),
            providers={
                name: ProviderKey(key_is_set=description.is_configured)
                for name, description in sorted(catalogue.items())
            },
            accounts=[AccountView.of(account) for account in accounts],
        )


def _ingest(stored: IngestSettings) -> IngestView:
    return IngestView(
        sync_response_timeout_sec=stored.sync_response_timeout_sec,
        password_is_set=stored.password_hash is not None,
        password_updated_at=rfc3339_or_none(stored.password_updated_at),
        password_updated_by=stored.password_updated_by,
        rate_limit_rps=stored.rate_limit_rps,
        rate_limit_burst=stored.rate_limit_burst,
        max_upload_mb=stored.max_upload_mb,
        deduplicate=stored.deduplicate,
    )


def _limits(stored: LimitSettings) -> LimitsDocument:
    return LimitsDocument(
        per_slot=stored.per_slot,
        per_provider=dict(stored.per_provider),
        quota_per_minute=dict(stored.quota_per_minute),
        quota_per_day=dict(stored.quota_per_day),
        max_waiting=stored.max_waiting,
    )
