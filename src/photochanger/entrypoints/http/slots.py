"""Slots for administrators: looking at them, setting them up, trying them, clearing them."""

from collections.abc import Mapping
from typing import Annotated, Any

from litestar import get, post, put
from litestar.di import NamedDependency
from litestar.params import FromPath
from litestar.response import Response
from msgspec import UNSET, Meta, Struct, UnsetType

from photochanger.application.administer_jobs import CleanSlot
from photochanger.application.configuration import CurrentConfiguration
from photochanger.application.edit_slot import UNCHANGED, EditSlot, SlotEdit
from photochanger.application.galleries import ShowGallery
from photochanger.application.ports import SlotRepository
from photochanger.domain.audit import Actor
from photochanger.domain.errors import SlotNotFound, VersionConflict
from photochanger.domain.permissions import Permission
from photochanger.domain.settings import Settings
from photochanger.domain.slot import (
    MAX_DISPLAY_NAME,
    OnFailure,
    ProviderCall,
    RetryPolicy,
    Slot,
    SlotConfiguration,
    TemplateBinding,
)
from photochanger.entrypoints.http.endpoints import endpoint
from photochanger.entrypoints.http.heads import AnyRequest, first_header
from photochanger.entrypoints.http.links import ResultLinks
from photochanger.entrypoints.http.operations import SlotOperation
from photochanger.entrypoints.http.schemas import ResultView, Timestamp
from photochanger.entrypoints.http.timestamps import rfc3339_or_none

_Value = str | int | float | bool | list[str]
_Name = Annotated[str, Meta(max_length=64)]


class BoundTemplate(Struct, kw_only=True, forbid_unknown_fields=True):
    """A template in one of the operation's roles."""

    role: _Name
    template_id: _Name


class Retry(Struct, kw_only=True, forbid_unknown_fields=True):
    """How often a failed call is repeated, and the first pause between two."""

    max_attempts: Annotated[int, Meta(description="Extra attempts, 0 to 5")]
    backoff_ms: Annotated[int, Meta(description="0 to 10000")]
    repeat_maybe_billed: Annotated[
        bool, Meta(description="Repeat calls too that may have been charged without a picture")
    ] = False


class Call(Struct, kw_only=True, forbid_unknown_fields=True):
    """Which operation of which provider; `params` as its schema in `GET /api/providers` says."""

    provider: _Name
    operation: _Name
    params: dict[str, _Value] = {}
    template_media: list[BoundTemplate] = []


class SlotConfigurationDocument(Struct, kw_only=True, forbid_unknown_fields=True):
    """How a slot treats its photos."""

    display_name: Annotated[str, Meta(description=f"At most {MAX_DISPLAY_NAME} characters")]
    is_active: bool
    provider: _Name
    operation: _Name
    params: Annotated[
        dict[str, _Value], Meta(description="As the operation's `params_schema` in `GET /api/providers` says")
    ] = {}
    template_media: list[BoundTemplate] = []
    size_limit_mb: Annotated[int, Meta(description="1 up to the setting `ingest.max_upload_mb`")]
    sync_response_timeout_sec: Annotated[
        int | None, Meta(description="10 to 60; null: the setting's value")
    ] = None
    max_concurrency: Annotated[int | None, Meta(description="1 to 1000; null: the setting's value")] = None
    retry: Retry
    fallback: Annotated[Call | None, Meta(description="What is called when the slot's own call failed")] = (
        None
    )
    on_failure: Annotated[OnFailure, Meta(description="What the booth gets when everything failed")]
    public_gallery: bool

    def configuration(self) -> SlotConfiguration:
        """Return the same as the domain has it."""
        return SlotConfiguration(
            call=_call(self),
            display_name=self.display_name,
            is_active=self.is_active,
            size_limit_mb=self.size_limit_mb,
            sync_response_timeout_sec=self.sync_response_timeout_sec,
            max_concurrency=self.max_concurrency,
            retry=RetryPolicy(
                max_attempts=self.retry.max_attempts,
                backoff_ms=self.retry.backoff_ms,
                repeat_maybe_billed=self.retry.repeat_maybe_billed,
            ),
            fallback=None if self.fallback is None else _call(self.fallback),
            on_failure=self.on_failure,
            public_gallery=self.public_gallery,
        )


class SlotUpdate(SlotConfigurationDocument, kw_only=True, forbid_unknown_fields=True):
    """What a slot is to be. `version` is the one that was read before."""

    version: int
    ingest_password: Annotated[
        str | UnsetType | None,
        Meta(description="A password of the slot's own (8 to 128 characters); null: the global one again"),
    ] = UNSET

    def edit(self) -> SlotEdit:
        """Return the same as the use case takes it."""
        password = self.ingest_password
        return SlotEdit(
            version=self.version,
            configuration=self.configuration(),
            ingest_password=UNCHANGED if isinstance(password, UnsetType) else password,
        )


class SlotView(Struct, kw_only=True):
    """A slot as administrators see it. Passwords are never shown."""

    slot_id: str
    display_name: str
    is_active: bool
    provider: str
    operation: str
    params: dict[str, _Value]
    template_media: list[BoundTemplate]
    size_limit_mb: int
    sync_response_timeout_sec: int | None
    effective_timeout_sec: int
    max_concurrency: int | None
    retry: Retry
    fallback: Call | None
    on_failure: OnFailure
    public_gallery: bool
    ingest_url: str
    ingest_password_is_set: Annotated[bool, Meta(description="Whether the slot has a password of its own")]
    version: int
    updated_at: Timestamp | None
    updated_by: str | None

    @classmethod
    def fields_of(cls, slot: Slot, settings: Settings, links: ResultLinks) -> dict[str, Any]:
        """Return what is shown of a slot."""
        configuration = slot.configuration
        fallback = configuration.fallback
        return {
            "slot_id": slot.slot_id,
            "display_name": configuration.display_name,
            "is_active": configuration.is_active,
            **_call_fields(configuration.call),
            "size_limit_mb": configuration.size_limit_mb,
            "sync_response_timeout_sec": configuration.sync_response_timeout_sec,
            "effective_timeout_sec": settings.sync_response_timeout_sec(configuration),
            "max_concurrency": configuration.max_concurrency,
            "retry": Retry(
                max_attempts=configuration.retry.max_attempts,
                backoff_ms=configuration.retry.backoff_ms,
                repeat_maybe_billed=configuration.retry.repeat_maybe_billed,
            ),
            "fallback": None if fallback is None else Call(**_call_fields(fallback)),
            "on_failure": configuration.on_failure,
            "public_gallery": configuration.public_gallery,
            "ingest_url": links.ingest(slot.slot_id),
            "ingest_password_is_set": slot.ingest_password_hash is not None,
            "version": slot.version,
            "updated_at": rfc3339_or_none(slot.updated_at),
            "updated_by": slot.updated_by,
        }


class SlotWithResults(SlotView, kw_only=True):
    """A slot with its latest results that have not expired."""

    recent_results: list[ResultView]


class CleanedUp(Struct, kw_only=True):
    """How many results were deleted before their time, and the bytes of their files."""

    deleted_results: int
    deleted_bytes: int


@get("/api/slots", tags=["slots"], summary="List the slots", **endpoint(Permission.SLOTS_READ))
async def list_slots(
    slot_repository: NamedDependency[SlotRepository],
    configuration: NamedDependency[CurrentConfiguration],
    result_links: NamedDependency[ResultLinks],
) -> list[SlotView]:
    """Return all slots, without their results."""
    settings = (await configuration.get()).settings
    stored = await slot_repository.list()
    return [SlotView(**SlotView.fields_of(slot, settings, result_links)) for slot in stored]


@get(
    "/api/slots/{slot_id:str}",
    tags=["slots"],
    summary="Get a slot",
    **endpoint(Permission.SLOTS_READ, SlotNotFound, operation_class=SlotOperation),
)
async def get_slot(
    slot_id: FromPath[str],
    edit_slot: NamedDependency[EditSlot],
    slot_answer: NamedDependency["SlotAnswer"],
) -> Response[SlotWithResults]:
    """Return the slot with its latest results. The `ETag` is its version."""
    return await slot_answer(await edit_slot.find(slot_id))


@put(
    "/api/slots/{slot_id:str}",
    tags=["slots"],
    summary="Set a slot up",
    **endpoint(
        Permission.SLOTS_WRITE,
        SlotNotFound,
        VersionConflict,
        document=SlotUpdate,
        operation_class=SlotOperation,
    ),
)
async def put_slot(
    request: AnyRequest,
    slot_id: FromPath[str],
    document: NamedDependency[SlotUpdate],
    actor: NamedDependency[Actor],
    edit_slot: NamedDependency[EditSlot],
    slot_answer: NamedDependency["SlotAnswer"],
) -> Response[SlotWithResults]:
    """Check and store the slot; all problems are told at once. Photos under way keep what they came with."""
    require_match(request, document.version)
    return await slot_answer(await edit_slot(slot_id, document.edit(), actor))


@post(
    "/api/slots/{slot_id:str}/cleanup",
    status_code=200,
    tags=["slots"],
    summary="Delete a slot's results",
    **endpoint(Permission.MEDIA_CLEANUP, SlotNotFound),
)
async def clean_up_slot(
    slot_id: FromPath[str], actor: NamedDependency[Actor], cleaning: NamedDependency[CleanSlot]
) -> CleanedUp:
    """Delete all results of the slot before their time. Their links answer 410 from this moment on."""
    ended = await cleaning(slot_id, actor)
    return CleanedUp(deleted_results=ended.results, deleted_bytes=ended.size_bytes)


class SlotAnswer:
    """Answers with one slot, its latest results, and its version as the entity tag."""

    def __init__(
        self, *, configuration: CurrentConfiguration, gallery: ShowGallery, links: ResultLinks
    ) -> None:
        self._configuration = configuration
        self._gallery = gallery
        self._links = links

    async def __call__(self, slot: Slot) -> Response[SlotWithResults]:
        """Return the answer."""
        settings = (await self._configuration.get()).settings
        jobs = await self._gallery.recent(slot.slot_id)
        view = SlotWithResults(
            **SlotView.fields_of(slot, settings, self._links),
            recent_results=[ResultView.of(job, self._links) for job in jobs],
        )
        return Response(view, headers={"ETag": etag_of(slot.version)})


def etag_of(version: int) -> str:
    """Return a version as an entity tag."""
    return f'"{version}"'


def require_match(request: AnyRequest, version: int) -> None:
    """Raise `VersionConflict` where the request is meant for another version than its document says."""
    wanted = first_header(request.scope, b"if-match")
    if wanted is None or wanted.strip() == "*":
        return
    tags = [tag.strip().removeprefix("W/") for tag in wanted.split(",")]
    if etag_of(version) not in tags:
        raise VersionConflict


def _call(document: SlotConfigurationDocument | Call) -> ProviderCall:
    return ProviderCall(
        provider=document.provider,
        operation=document.operation,
        params={
            name: tuple(value) if isinstance(value, list) else value
            for name, value in document.params.items()
        },
        template_media=tuple(
            TemplateBinding(role=bound.role, template_id=bound.template_id)
            for bound in document.template_media
        ),
    )


def _call_fields(call: ProviderCall) -> Mapping[str, Any]:
    return {
        "provider": call.provider,
        "operation": call.operation,
        "params": {
            name: list(value) if isinstance(value, tuple) else value for name, value in call.params.items()
        },
        "template_media": [
            BoundTemplate(role=bound.role, template_id=bound.template_id) for bound in call.template_media
        ],
    }
