"""The bounds that the contract tells are those that the domain holds callers to."""

import copy
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
import pytest

from photochanger.adapters.rehearsal import RehearsalProvider
from photochanger.application.edit_settings import SettingsEdit
from photochanger.domain.errors import ValidationFailed
from photochanger.domain.settings import MAX_UPLOAD_MB_CEILING, password_problems, validate_settings
from photochanger.domain.slot import validate_configuration
from photochanger.entrypoints.documents.reading import read_value
from photochanger.entrypoints.documents.settings import SettingsUpdate
from photochanger.entrypoints.documents.slots import SlotUpdate
from photochanger.entrypoints.http.examples import BODIES

PROVIDER = RehearsalProvider().description
FULL: Mapping[type[msgspec.Struct], Mapping[str, Any]] = {
    SlotUpdate: {"sync_response_timeout_sec": 10, "max_concurrency": 1, "ingest_password": "x" * 8},
    SettingsUpdate: {
        "limits": {
            "per_slot": 1,
            **{name: {"rehearsal": 1} for name in ("per_provider", "quota_per_minute", "quota_per_day")},
        }
    },
}
"""What the examples leave out."""


def _bounded(
    schema: Any, schemas: Mapping[str, Any], path: tuple[str, ...] = ()
) -> Iterator[tuple[Any, Any]]:
    """Yield the path of each field that has bounds, and its schema."""
    if "$ref" in schema:
        schema = schemas[schema["$ref"].rpartition("/")[2]]
    if "minimum" in schema or "minLength" in schema:
        yield path, schema
    for name, inner in schema.get("properties", {}).items():
        yield from _bounded(inner, schemas, (*path, name))
    if isinstance(schema.get("additionalProperties"), dict):
        yield from _bounded(schema["additionalProperties"], schemas, (*path, "rehearsal"))


def _cases() -> Iterator[Any]:
    for struct in FULL:
        _, schemas = msgspec.json.schema_components([struct])
        for path, schema in _bounded({"$ref": struct.__name__}, schemas):
            yield pytest.param(struct, path, schema, id=f"{struct.__name__}.{'.'.join(path)}")


@pytest.mark.parametrize(("struct", "path", "schema"), [*_cases()])
def test_the_bounds_are_the_domains(
    struct: type[msgspec.Struct], path: tuple[str, ...], schema: Mapping[str, Any]
) -> None:
    for value in _least_and_most(schema):
        assert _problems(struct, path, value) == []
    for value in _too_little_and_too_much(schema):
        assert _problems(struct, path, value) == [".".join(path)]


def test_there_are_bounds() -> None:
    assert len([*_cases()]) == 21


def _least_and_most(schema: Mapping[str, Any]) -> Iterator[Any]:
    if "minimum" in schema:
        yield from (schema["minimum"], schema["maximum"])
    else:
        yield from ("x" * schema["minLength"], "x" * schema["maxLength"])


def _too_little_and_too_much(schema: Mapping[str, Any]) -> Iterator[Any]:
    if "minimum" in schema:
        step = 0.01 if schema.get("type") == "number" else 1
        yield from (schema["minimum"] - step, schema["maximum"] + step)
    else:
        yield from (
            "x" * length for length in (schema["minLength"] - 1, schema["maxLength"] + 1) if length >= 0
        )


def _problems(struct: type[msgspec.Struct], path: tuple[str, ...], value: object) -> list[str]:
    """Return which fields of an example are wrong once it has `value` at `path`."""
    document = copy.deepcopy(msgspec.to_builtins(next(iter(BODIES[struct].values()))) | FULL[struct])
    inner = document
    for name in path[:-1]:
        inner = inner[name]
    inner[path[-1]] = value
    try:
        _validate(read_value(document, struct))
    except ValidationFailed as failed:
        return [problem.field for problem in failed.problems]
    return []


def _validate(read: msgspec.Struct) -> None:
    match read:
        case SettingsUpdate():
            edit: SettingsEdit = read.edit()
            validate_settings(edit.settings, providers={PROVIDER.name}, password=edit.ingest_password)
        case SlotUpdate():
            validate_configuration(
                read.configuration(),
                {PROVIDER.name: PROVIDER},
                max_upload_mb=MAX_UPLOAD_MB_CEILING,
                sync_response_timeout_sec=48,
                templates={},
            )
            if isinstance(read.ingest_password, str):
                problems = [*password_problems(read.ingest_password, "ingest_password")]
                if problems:
                    raise ValidationFailed(problems)
