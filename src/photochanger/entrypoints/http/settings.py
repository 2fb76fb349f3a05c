"""The installation's settings, and what administrators can choose from."""

from dataclasses import dataclass
from typing import Annotated

from litestar import get, put
from litestar.di import NamedDependency
from litestar.response import Response
from msgspec import Meta, Struct

from photochanger.application.edit_settings import EditSettings, SettingsEdit
from photochanger.application.ports import AccountRepository, SettingsRepository
from photochanger.domain.audit import Actor
from photochanger.domain.errors import VersionConflict
from photochanger.domain.operation import Operation, ProviderCatalogue, ProviderDescription
from photochanger.domain.permissions import Permission
from photochanger.domain.settings import (
    CleanupSettings,
    IngestSettings,
    LimitSettings,
    ResultSettings,
    Settings,
)
from photochanger.entrypoints.http.endpoints import endpoint
from photochanger.entrypoints.http.heads import AnyRequest
from photochanger.entrypoints.http.operations import SlotOperation
from photochanger.entrypoints.http.schemas import Timestamp
from photochanger.entrypoints.http.slots import etag_of, require_match
from photochanger.entrypoints.http.timestamps import rfc3339_or_none
from photochanger.entrypoints.image_providers import parameter_schema


class IngestUpdate(Struct, kw_only=True, forbid_unknown_fields=True):
    """How photos come in."""

    sync_response_timeout_sec: Annotated[int, Meta(description="10 to 60")]
    rate_limit_rps: Annotated[float, Meta(description="0.1 to 10000")]
    rate_limit_burst: Annotated[int, Meta(description="1 to 100000")]
    max_upload_mb: Annotated[int, Meta(description="1 to 2048")]
    deduplicate: bool
    dslr_password: Annotated[
        str | None, Meta(description="A new ingest password, 8 to 128 characters; it is never shown again")
    ] = None


class ResultsDocument(Struct, kw_only=True, forbid_unknown_fields=True):
    """How long results live, and how many a gallery shows."""

    retention_hours: Annotated[int, Meta(description="24 to 168")]
    gallery_size: Annotated[int, Meta(description="1 to 100")]


class LimitsDocument(Struct, kw_only=True, forbid_unknown_fields=True):
    """How much may go on at once, and how often a provider may be called. A missing provider has no limit."""

    per_slot: Annotated[int, Meta(description="1 to 1000")]
    per_provider: dict[str, int] = {}
    quota_per_minute: dict[str, int] = {}
    quota_per_day: dict[str, int] = {}


class CleanupDocument(Struct, kw_only=True, forbid_unknown_fields=True):
    """Whether expired files are deleted, and how often it is looked for them."""

    enabled: bool
    interval_sec: Annotated[int, Meta(description="1 to 3600")]


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
            ),
            cleanup=CleanupSettings(enabled=self.cleanup.enabled, interval_sec=self.cleanup.interval_sec),
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


@get(
    "/api/settings",
    tags=["settings"],
    summary="Get the settings",
    **endpoint(Permission.SETTINGS_READ, operation_class=SlotOperation),
)
async def get_settings(
    settings_repository: NamedDependency[SettingsRepository],
    settings_answer: NamedDependency["SettingsAnswer"],
) -> Response[SettingsView]:
    """Return the settings. The `ETag` is their version."""
    return await settings_answer(await settings_repository.get())


@put(
    "/api/settings",
    tags=["settings"],
    summary="Change the settings",
    **endpoint(
        Permission.SETTINGS_WRITE, VersionConflict, document=SettingsUpdate, operation_class=SlotOperation
    ),
)
async def put_settings(
    request: AnyRequest,
    document: NamedDependency[SettingsUpdate],
    actor: NamedDependency[Actor],
    edit_settings: NamedDependency[EditSettings],
    settings_answer: NamedDependency["SettingsAnswer"],
) -> Response[SettingsView]:
    """Check and store the settings; they are in force at once. A new password replaces the old one."""
    require_match(request, document.version)
    return await settings_answer(await edit_settings(document.edit(), actor))


class SettingsAnswer:
    """Answers with the settings, and what goes with them."""

    def __init__(self, *, accounts: AccountRepository, catalogue: ProviderCatalogue) -> None:
        self._accounts = accounts
        self._catalogue = catalogue

    async def __call__(self, stored: Settings) -> Response[SettingsView]:
        """Return the answer."""
        view = SettingsView(
            version=stored.version,
            updated_at=rfc3339_or_none(stored.updated_at),
            updated_by=stored.updated_by,
            ingest=_ingest(stored.ingest),
            results=ResultsDocument(
                retention_hours=stored.results.retention_hours, gallery_size=stored.results.gallery_size
            ),
            limits=_limits(stored.limits),
            cleanup=CleanupDocument(enabled=stored.cleanup.enabled, interval_sec=stored.cleanup.interval_sec),
            derived=Derived(
                t_sync_response_sec=stored.ingest.sync_response_timeout_sec,
                t_public_link_ttl_sec=stored.ingest.sync_response_timeout_sec,
                t_result_retention_hours=stored.results.retention_hours,
            ),
            providers={
                name: ProviderKey(key_is_set=description.is_configured)
                for name, description in sorted(self._catalogue.items())
            },
            accounts=[
                AccountView(username=account.username, permissions=sorted(account.permissions))
                for account in await self._accounts.list()
            ],
        )
        return Response(view, headers={"ETag": etag_of(stored.version)})


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
    )


class RoleView(Struct, kw_only=True):
    """A place for a template in an operation."""

    role: str
    required: bool


class OperationLimits(Struct, kw_only=True):
    """What a call is bounded by."""

    max_templates_bytes: int
    least_useful_sec: float


class OperationView(Struct, kw_only=True):
    """One thing that a provider can do. `params_schema` is the JSON Schema (2020-12) of its parameters."""

    operation: str
    display_name: str
    params_schema: dict[str, object]
    template_roles: list[RoleView]
    limits: OperationLimits


class ProviderView(Struct, kw_only=True):
    """A provider of this installation, and whether it has what it needs to be called."""

    provider: str
    display_name: str
    configured: bool
    operations: list[OperationView]


@dataclass(frozen=True, slots=True)
class Installed:
    """The image providers of this installation."""

    providers: ProviderCatalogue


@get("/api/providers", tags=["slots"], summary="List the providers", **endpoint(Permission.SLOTS_READ))
async def list_providers(installed: NamedDependency[Installed]) -> list[ProviderView]:
    """Return what slots can use: the providers, their operations, and the schema of each one's parameters."""
    return [_provider(description) for _, description in sorted(installed.providers.items())]


def _provider(description: ProviderDescription) -> ProviderView:
    return ProviderView(
        provider=description.name,
        display_name=description.display_name,
        configured=description.is_configured,
        operations=[_operation(operation, description) for operation in description.operations],
    )


def _operation(operation: Operation, provider: ProviderDescription) -> OperationView:
    return OperationView(
        operation=operation.name,
        display_name=operation.display_name,
        params_schema=parameter_schema(operation),
        template_roles=[
            RoleView(role=role.role, required=role.required) for role in operation.template_roles
        ],
        limits=OperationLimits(
            max_templates_bytes=provider.max_templates_bytes, least_useful_sec=provider.least_useful_sec
        ),
    )
