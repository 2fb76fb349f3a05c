"""The slot: one of fifteen set-ups that a booth can send its photos to."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Final, NewType

from photochanger.domain.errors import Problem, ValidationFailed
from photochanger.domain.operation import ParameterValue, ProviderCatalogue, ProviderDescription
from photochanger.domain.retention import MAX_SYNC_RESPONSE_SEC, MIN_SYNC_RESPONSE_SEC
from photochanger.domain.template import Template

SlotId = NewType("SlotId", str)

SLOT_IDS: Final = tuple(SlotId(f"slot-{number:03}") for number in range(1, 16))
"""There are exactly these slots; they are made with the database and never added or removed."""

DEFAULT_SIZE_LIMIT_MB: Final = 50
MAX_DISPLAY_NAME: Final = 80
MAX_RETRIES: Final = 5
MAX_BACKOFF_MS: Final = 10_000
MAX_CONCURRENCY: Final = 1_000

BESIDE_THE_CALL_SEC: Final = 2
"""What receiving, preparing and storing take of a photo's time, beside the call of the provider."""

_ID = re.compile(r"slot-0(?:0[1-9]|1[0-5])", re.ASCII)


def parse_slot_id(text: str) -> SlotId | None:
    """Return `text` as a slot id, or None where there is no such slot."""
    return SlotId(text) if _ID.fullmatch(text) else None


class OnFailure(StrEnum):
    """What the booth gets when everything has failed."""

    ERROR = "error"
    ORIGINAL = "original"


@dataclass(frozen=True, slots=True, kw_only=True)
class TemplateBinding:
    """A template image in one of the operation's roles."""

    role: str
    template_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """How often a failed provider call is repeated, and the first pause between two.

    `max_attempts` counts the extra attempts: nought is one call and no more. `repeat_maybe_billed` says
    whether a call that may have been charged is repeated too.
    """

    max_attempts: int = 2
    backoff_ms: int = 500
    repeat_maybe_billed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderCall:
    """Which operation of which provider, with which parameters and templates."""

    provider: str
    operation: str
    params: Mapping[str, ParameterValue] = field(default_factory=dict)
    template_media: tuple[TemplateBinding, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotConfiguration:
    """How a slot treats its photos. A job keeps the configuration that it was submitted with.

    `sync_response_timeout_sec` and `max_concurrency` are None where the settings' values apply.
    """

    call: ProviderCall
    display_name: str = ""
    is_active: bool = False
    size_limit_mb: int = DEFAULT_SIZE_LIMIT_MB
    sync_response_timeout_sec: int | None = None
    max_concurrency: int | None = None
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    fallback: ProviderCall | None = None
    on_failure: OnFailure = OnFailure.ERROR
    public_gallery: bool = True

    @property
    def template_ids(self) -> frozenset[str]:
        """The templates that it binds, in its call or its fallback."""
        calls = (self.call, self.fallback)
        return frozenset(
            binding.template_id for call in calls if call is not None for binding in call.template_media
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """A slot as stored: its configuration, its own ingest password (hashed) if it has one, its version."""

    slot_id: SlotId
    configuration: SlotConfiguration
    ingest_password_hash: str | None = None
    version: int = 1
    updated_at: datetime | None = None
    updated_by: str | None = None


def validate_configuration(
    configuration: SlotConfiguration,
    catalogue: ProviderCatalogue,
    *,
    max_upload_mb: int,
    sync_response_timeout_sec: int,
    templates: Mapping[str, Template],
) -> None:
    """Raise `ValidationFailed` with every problem of the configuration, or return.

    `max_upload_mb` is the installation's limit, which no slot may exceed; `sync_response_timeout_sec` is
    its time-out, which a slot without one of its own has; `templates` are those that there are, by their id.
    """
    time_out_sec = configuration.sync_response_timeout_sec or sync_response_timeout_sec
    problems = [
        *_call_problems(configuration.call, catalogue, templates, ""),
        *_time_problems(configuration.call, catalogue, time_out_sec),
        *_fallback_problems(configuration, catalogue, templates),
        *_range_problems(configuration, max_upload_mb),
    ]
    if problems:
        raise ValidationFailed(problems)


def _fallback_problems(
    configuration: SlotConfiguration, catalogue: ProviderCatalogue, templates: Mapping[str, Template]
) -> Iterator[Problem]:
    if configuration.fallback is None:
        return
    if configuration.fallback == configuration.call:
        yield Problem(
            field="fallback", code="same_as_primary", message="must differ from the slot's own call"
        )
    yield from _call_problems(configuration.fallback, catalogue, templates, "fallback.")


def _call_problems(
    call: ProviderCall, catalogue: ProviderCatalogue, templates: Mapping[str, Template], path: str
) -> Iterator[Problem]:
    provider = catalogue.get(call.provider)
    if provider is None:
        yield Problem(
            field=f"{path}provider", code="unknown", message=f"must be one of {', '.join(sorted(catalogue))}"
        )
        return
    operation = provider.operation(call.operation)
    if operation is None:
        names = ", ".join(operation.name for operation in provider.operations)
        yield Problem(field=f"{path}operation", code="unknown", message=f"must be one of {names}")
        return
    yield from operation.problems(call.params, [binding.role for binding in call.template_media], path)
    yield from _template_problems(call, provider, templates, f"{path}template_media")


def _template_problems(
    call: ProviderCall, provider: ProviderDescription, templates: Mapping[str, Template], path: str
) -> Iterator[Problem]:
    size_bytes = 0
    for index, binding in enumerate(call.template_media):
        template = templates.get(binding.template_id)
        if template is None:
            yield Problem(
                field=f"{path}[{index}].template_id", code="unknown", message="there is no such template"
            )
        else:
            size_bytes += template.image.file.size_bytes
    if size_bytes > provider.max_templates_bytes:
        yield Problem(
            field=path,
            code="too_large",
            message=f"has {size_bytes / 1_000_000:.8g} MB; {provider.display_name} takes"
            f" {provider.max_templates_bytes / 1_000_000:.8g} MB of templates at most",
        )


def _time_problems(call: ProviderCall, catalogue: ProviderCatalogue, time_out_sec: int) -> Iterator[Problem]:
    provider = catalogue.get(call.provider)
    if provider is None:
        return
    needed_sec = provider.least_useful_sec + BESIDE_THE_CALL_SEC
    if time_out_sec < needed_sec:
        yield Problem(
            field="sync_response_timeout_sec",
            code="too_small",
            message=f"must be at least {needed_sec:g} for {provider.display_name}",
        )


def _range_problems(configuration: SlotConfiguration, max_upload_mb: int) -> Iterator[Problem]:
    if len(configuration.display_name) > MAX_DISPLAY_NAME:
        yield Problem(
            field="display_name", code="too_large", message=f"must have at most {MAX_DISPLAY_NAME} characters"
        )
    yield from out_of_range("size_limit_mb", configuration.size_limit_mb, 1, max_upload_mb)
    yield from out_of_range("retry.max_attempts", configuration.retry.max_attempts, 0, MAX_RETRIES)
    yield from out_of_range("retry.backoff_ms", configuration.retry.backoff_ms, 0, MAX_BACKOFF_MS)
    if (timeout := configuration.sync_response_timeout_sec) is not None:
        yield from out_of_range(
            "sync_response_timeout_sec", timeout, MIN_SYNC_RESPONSE_SEC, MAX_SYNC_RESPONSE_SEC
        )
    if (concurrency := configuration.max_concurrency) is not None:
        yield from out_of_range("max_concurrency", concurrency, 1, MAX_CONCURRENCY)


def out_of_range(path: str, value: float, minimum: float, maximum: float) -> Iterator[Problem]:
    """Yield a problem where `value` is not between `minimum` and `maximum`, both included."""
    if not minimum <= value <= maximum:
        yield Problem(field=path, code="out_of_range", message=f"must be between {minimum:g} and {maximum:g}")
