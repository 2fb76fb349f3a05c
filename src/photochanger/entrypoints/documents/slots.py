"""Slots: how they are set up, and how they are shown."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from msgspec import UNSET, Meta, Struct, UnsetType

from photochanger.application.edit_slot import UNCHANGED, SlotEdit
from photochanger.domain.job import Job
from photochanger.domain.retention import MAX_SYNC_RESPONSE_SEC, MIN_SYNC_RESPONSE_SEC
from photochanger.domain.settings import (
    MAX_PASSWORD_LENGTH,
    MAX_UPLOAD_MB_CEILING,
    MIN_PASSWORD_LENGTH,
    Settings,
)
from photochanger.domain.slot import (
    MAX_BACKOFF_MS,
    MAX_CONCURRENCY,
    MAX_DISPLAY_NAME,
    MAX_RETRIES,
    OnFailure,
    ProviderCall,
    RetryPolicy,
    Slot,
    SlotConfiguration,
    TemplateBinding,
)
from photochanger.entrypoints.documents.bounds import NO_NUL, between, characters
from photochanger.entrypoints.documents.jobs import ResultView
from photochanger.entrypoints.documents.links import ResultLinks
from photochanger.entrypoints.documents.timestamps import Timestamp, rfc3339_or_none

_Text = Annotated[str, Meta(extra_json_schema={"pattern": NO_NUL})]
_Value = _Text | int | float | bool | list[_Text]
_Name = Annotated[str, Meta(max_length=64, extra_json_schema={"pattern": NO_NUL})]


class BoundTemplate(Struct, kw_only=True, forbid_unknown_fields=True):
    """A template in one of the operation's roles."""

    role: _Name
    template_id: _Name


class Retry(Struct, kw_only=True, forbid_unknown_fields=True):
    """How often a failed call is repeated, and the first pause between two."""

    max_attempts: Annotated[int, between(0, MAX_RETRIES, "; extra attempts")]
    backoff_ms: Annotated[int, between(0, MAX_BACKOFF_MS)]
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

    display_name: Annotated[_Text, characters(0, MAX_DISPLAY_NAME, f"At most {MAX_DISPLAY_NAME} characters")]
    is_active: bool
    provider: _Name
    operation: _Name
    params: Annotated[
        dict[str, _Value], Meta(description="As the operation's `params_schema` in `GET /api/providers` says")
    ] = {}
    template_media: list[BoundTemplate] = []
    size_limit_mb: Annotated[
        int, between(1, MAX_UPLOAD_MB_CEILING, "; at most the setting `ingest.max_upload_mb`")
    ]
    sync_response_timeout_sec: Annotated[
        int | None, between(MIN_SYNC_RESPONSE_SEC, MAX_SYNC_RESPONSE_SEC, "; null: the setting's value")
    ] = None
    max_concurrency: Annotated[int | None, between(1, MAX_CONCURRENCY, "; null: the setting's value")] = None
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
        _Text | UnsetType | None,
        characters(
            MIN_PASSWORD_LENGTH,
            MAX_PASSWORD_LENGTH,
            "A password of the slot's own (8 to 128 characters); null: the global one again",
        ),
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
    def of(cls, slot: Slot, settings: Settings, links: ResultLinks) -> "SlotView":
        """Return a slot as it is shown."""
        return cls(**_fields_of(slot, settings, links))


class SlotWithResults(SlotView, kw_only=True):
    """A slot with its latest results that have not expired."""

    recent_results: list[ResultView]

    @classmethod
    def of_results(
        cls, jobs: Sequence[Job], slot: Slot, settings: Settings, links: ResultLinks
    ) -> "SlotWithResults":
        """Return a slot as it is shown together with the results of its latest jobs."""
        results = [ResultView.of(job, links) for job in jobs]
        return cls(**_fields_of(slot, settings, links), recent_results=results)


class CleanedUp(Struct, kw_only=True):
    """How many results were deleted before their time, and the bytes of their files."""

    deleted_results: int
    deleted_bytes: int


def _fields_of(slot: Slot, settings: Settings, links: ResultLinks) -> dict[str, Any]:
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
