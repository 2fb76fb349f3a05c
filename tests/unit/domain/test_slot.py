"""Slots: their ids, and the validation of a configuration."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from photochanger.domain.errors import ValidationFailed
from photochanger.domain.image import ImageInfo, ImageType
from photochanger.domain.media import MediaId, StoredFile, StoredImage
from photochanger.domain.operation import Operation, Parameter, ProviderDescription, TemplateRole
from photochanger.domain.slot import (
    SLOT_IDS,
    ProviderCall,
    RetryPolicy,
    SlotConfiguration,
    TemplateBinding,
    parse_slot_id,
    validate_configuration,
)
from photochanger.domain.template import Template

CATALOGUE = {
    "painter": ProviderDescription(
        name="painter",
        display_name="Painter",
        operations=(
            Operation(
                name="paint",
                display_name="Paint",
                parameters=(
                    Parameter(name="prompt", kind=str, description="", required=True, minimum=1, maximum=20),
                    Parameter(name="strength", kind=int, description="", default=40, minimum=0, maximum=80),
                    Parameter(name="scale", kind=float, description="", minimum=0.1, maximum=20),
                    Parameter(name="style", kind=str, description="", choices=("oil", "ink")),
                    Parameter(name="fast", kind=bool, description=""),
                ),
                template_roles=(TemplateRole(role="style"), TemplateRole(role="frame", required=True)),
            ),
        ),
    )
}


def a_template(size_bytes: int) -> Template:
    image = StoredImage(
        media_id=MediaId("a" * 32),
        file=StoredFile(size_bytes=size_bytes, sha256="0" * 64),
        info=ImageInfo(image_type=ImageType.PNG, width=3, height=2),
    )
    return Template(
        name="x", image=image, preview=image, created_at=datetime(2026, 1, 14, tzinfo=UTC), created_by="serg"
    )


TEMPLATES = {"t1": a_template(9_000_000), "t2": a_template(6_000_000), "t3": a_template(6_000_001)}

GOOD = SlotConfiguration(
    call=ProviderCall(
        provider="painter",
        operation="paint",
        params={"prompt": "a fox", "strength": 80, "scale": 1, "style": "ink", "fast": True},
        template_media=(TemplateBinding(role="frame", template_id="t1"),),
    )
)


def problems_of(
    configuration: SlotConfiguration,
    *,
    max_upload_mb: int = 200,
    catalogue: Mapping[str, ProviderDescription] = CATALOGUE,
    time_out_sec: int = 48,
) -> dict[str, str]:
    return {
        field: code
        for field, code, _ in told(
            configuration, max_upload_mb=max_upload_mb, catalogue=catalogue, time_out_sec=time_out_sec
        )
    }


def told(
    configuration: SlotConfiguration,
    *,
    max_upload_mb: int = 200,
    catalogue: Mapping[str, ProviderDescription] = CATALOGUE,
    time_out_sec: int = 48,
) -> list[tuple[str, str, str]]:
    try:
        validate_configuration(
            configuration,
            catalogue,
            max_upload_mb=max_upload_mb,
            sync_response_timeout_sec=time_out_sec,
            templates=TEMPLATES,
        )
    except ValidationFailed as failed:
        return [(problem.field, problem.code, problem.message) for problem in failed.problems]
    return []


def bound(**templates: str) -> tuple[TemplateBinding, ...]:
    return tuple(TemplateBinding(role=role, template_id=each) for role, each in templates.items())


def with_params(**params: Any) -> SlotConfiguration:
    values: dict[str, Any] = {"prompt": "a fox"} | params
    return replace(GOOD, call=replace(GOOD.call, params=values))


def test_there_are_fifteen_slots() -> None:
    assert SLOT_IDS[0] == "slot-001"
    assert SLOT_IDS[-1] == "slot-015"
    assert len(SLOT_IDS) == 15
    assert all(parse_slot_id(slot_id) == slot_id for slot_id in SLOT_IDS)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "slot-000",
        "slot-016",
        "slot-1",
        "SLOT-001",
        "slot-001\n",
        " slot-001",
        "ѕlot-001",
        "slot-٠٠١",
        "slot-001/..",
    ],
)
def test_what_is_not_a_slot_id_is_refused(text: str) -> None:
    assert parse_slot_id(text) is None


@given(st.text())
def test_a_slot_id_is_one_of_the_fifteen_or_nothing(text: str) -> None:
    assert (parse_slot_id(text) is not None) == (text in SLOT_IDS)


def test_a_good_configuration_has_no_problems() -> None:
    assert problems_of(GOOD) == {}


def test_all_problems_are_reported_at_once() -> None:
    bad = SlotConfiguration(
        call=ProviderCall(
            provider="painter",
            operation="paint",
            params={"strength": 81, "colour": "red"},
            template_media=(TemplateBinding(role="mask", template_id="t1"),),
        ),
        display_name="x" * 81,
        size_limit_mb=0,
        sync_response_timeout_sec=9,
        max_concurrency=0,
        retry=RetryPolicy(max_attempts=6, backoff_ms=-1),
        fallback=ProviderCall(provider="nobody", operation="nothing"),
    )

    assert problems_of(bad) == {
        "params.prompt": "required",
        "params.strength": "too_large",
        "params.colour": "unknown",
        "template_media": "required",
        "template_media[0].role": "unknown",
        "display_name": "too_large",
        "size_limit_mb": "out_of_range",
        "sync_response_timeout_sec": "out_of_range",
        "max_concurrency": "out_of_range",
        "retry.max_attempts": "out_of_range",
        "retry.backoff_ms": "out_of_range",
        "fallback.provider": "unknown",
    }


@pytest.mark.parametrize(
    ("params", "code"),
    [
        ({"prompt": 5}, "wrong_type"),
        ({"prompt": ""}, "too_small"),
        ({"prompt": "x" * 21}, "too_large"),
        ({"strength": "40"}, "wrong_type"),
        ({"strength": True}, "wrong_type"),
        ({"strength": 1.5}, "wrong_type"),
        ({"scale": float("nan")}, "wrong_type"),
        ({"scale": float("inf")}, "wrong_type"),
        ({"scale": 20.1}, "too_large"),
        ({"style": "wood"}, "not_a_choice"),
        ({"fast": 1}, "wrong_type"),
    ],
)
def test_a_bad_parameter_is_named(params: dict[str, object], code: str) -> None:
    assert code in problems_of(with_params(**params)).values()


def test_an_unknown_operation_is_named() -> None:
    call = ProviderCall(provider="painter", operation="sculpt")

    assert problems_of(SlotConfiguration(call=call)) == {"operation": "unknown"}


def test_a_role_is_bound_once() -> None:
    twice = (TemplateBinding(role="frame", template_id="t1"), TemplateBinding(role="frame", template_id="t2"))

    assert problems_of(replace(GOOD, call=replace(GOOD.call, template_media=twice))) == {
        "template_media[1].role": "duplicate"
    }


def test_a_fallback_differs_from_the_call_it_stands_in_for() -> None:
    assert problems_of(replace(GOOD, fallback=GOOD.call)) == {"fallback": "same_as_primary"}


@pytest.mark.parametrize("seconds", [10, 60, None])
def test_the_bounds_of_the_time_out_belong_to_it(seconds: int | None) -> None:
    assert problems_of(replace(GOOD, sync_response_timeout_sec=seconds)) == {}


def test_no_slot_may_exceed_the_installations_upload_limit() -> None:
    assert problems_of(replace(GOOD, size_limit_mb=50), max_upload_mb=49) == {"size_limit_mb": "out_of_range"}


def test_parameters_that_were_left_out_take_their_defaults() -> None:
    operation = CATALOGUE["painter"].operations[0]

    assert operation.with_defaults({"prompt": "a fox"}) == {"prompt": "a fox", "strength": 40}


def test_every_template_that_is_bound_exists() -> None:
    call = replace(GOOD.call, template_media=bound(frame="t1", style="gone"))
    fallback = replace(GOOD.call, template_media=bound(frame="gone too"))

    assert problems_of(replace(GOOD, call=call, fallback=fallback)) == {
        "template_media[1].template_id": "unknown",
        "fallback.template_media[0].template_id": "unknown",
    }


def test_templates_are_not_larger_together_than_the_provider_takes() -> None:
    fits = replace(GOOD.call, template_media=bound(frame="t1", style="t2"))
    too_large = replace(GOOD.call, template_media=bound(frame="t1", style="t3"))

    assert problems_of(replace(GOOD, call=fits)) == {}
    assert told(replace(GOOD, call=too_large)) == [
        ("template_media", "too_large", "has 15.000001 MB; Painter takes 15 MB of templates at most")
    ]
    assert problems_of(replace(GOOD, fallback=too_large)) == {"fallback.template_media": "too_large"}


@pytest.mark.parametrize(
    ("own", "general", "problems"),
    [
        (22, 48, {}),
        (21, 48, {"sync_response_timeout_sec": "too_small"}),
        (None, 22, {}),
        (None, 21, {"sync_response_timeout_sec": "too_small"}),
        (22, 10, {}),
    ],
)
def test_the_time_out_leaves_the_provider_time_to_be_of_use(
    own: int | None, general: int, problems: dict[str, str]
) -> None:
    slow = {"painter": replace(CATALOGUE["painter"], least_useful_sec=19.5)}
    configuration = replace(GOOD, sync_response_timeout_sec=own)

    assert problems_of(configuration, catalogue=slow, time_out_sec=general) == problems


def test_a_time_out_that_is_too_short_says_for_whom_and_by_how_much() -> None:
    slow = {"painter": replace(CATALOGUE["painter"], least_useful_sec=19.5)}

    assert told(GOOD, catalogue=slow, time_out_sec=20) == [
        ("sync_response_timeout_sec", "too_small", "must be at least 21.5 for Painter")
    ]


def test_a_fallback_need_not_have_the_time_of_the_first_call() -> None:
    quick = replace(GOOD.call, provider="sketcher")
    catalogue = {
        "painter": replace(CATALOGUE["painter"], least_useful_sec=58),
        "sketcher": replace(CATALOGUE["painter"], name="sketcher"),
    }

    assert problems_of(replace(GOOD, call=quick, fallback=GOOD.call), catalogue=catalogue) == {}


def test_a_failed_call_is_repeated_twice_but_not_where_it_may_have_been_charged() -> None:
    assert RetryPolicy() == RetryPolicy(max_attempts=2, backoff_ms=500, repeat_maybe_billed=False)


def test_a_configuration_names_the_templates_of_its_call_and_of_its_fallback_once() -> None:
    call = replace(GOOD.call, template_media=bound(frame="t1", style="t2"))
    fallback = replace(GOOD.call, template_media=bound(frame="t2", style="t3"))

    assert replace(GOOD, call=call).template_ids == {"t1", "t2"}
    assert replace(GOOD, call=call, fallback=fallback).template_ids == {"t1", "t2", "t3"}
    assert SlotConfiguration(call=replace(call, template_media=())).template_ids == set()
