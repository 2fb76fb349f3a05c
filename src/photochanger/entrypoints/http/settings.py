"""The installation's settings, and what administrators can choose from."""

from dataclasses import dataclass
from typing import Any

from litestar import get, put
from litestar.di import NamedDependency
from litestar.response import Response
from msgspec import Struct

from photochanger.application.edit_settings import EditSettings
from photochanger.application.ports import AccountRepository, SettingsRepository
from photochanger.domain.audit import Actor
from photochanger.domain.errors import VersionConflict
from photochanger.domain.operation import Operation, ProviderCatalogue, ProviderDescription
from photochanger.domain.permissions import Permission
from photochanger.domain.settings import Settings
from photochanger.entrypoints.documents.settings import SettingsUpdate, SettingsView
from photochanger.entrypoints.http.endpoints import Port, endpoint
from photochanger.entrypoints.http.heads import AnyRequest
from photochanger.entrypoints.http.operations import VersionedOperation
from photochanger.entrypoints.http.slots import etag_of, require_match
from photochanger.entrypoints.image_providers import parameter_schema


@get(
    "/api/settings",
    tags=["settings"],
    summary="Get the settings",
    **endpoint(Permission.SETTINGS_READ, operation_class=VersionedOperation),
)
async def get_settings(
    settings_repository: Port[SettingsRepository],
    settings_answer: NamedDependency["SettingsAnswer"],
) -> Response[SettingsView]:
    """Return the settings. The `ETag` is their version."""
    return await settings_answer(await settings_repository.get())


@put(
    "/api/settings",
    tags=["settings"],
    summary="Change the settings",
    **endpoint(
        Permission.SETTINGS_WRITE,
        VersionConflict,
        document=SettingsUpdate,
        operation_class=VersionedOperation,
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
        view = SettingsView.of(stored, catalogue=self._catalogue, accounts=await self._accounts.list())
        return Response(view, headers={"ETag": etag_of(stored.version)})


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
    params_schema: dict[str, Any]
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
