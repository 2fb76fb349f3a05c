"""The image providers of this installation: ours, and whatever else is installed."""

import json
from collections.abc import Mapping
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Final

from photochanger.application.ports import ImageProvider, ProviderFactory
from photochanger.domain.errors import Problem, ValidationFailed
from photochanger.domain.operation import Operation
from photochanger.entrypoints.settings import read_environment

GROUP: Final = "photochanger.providers"


def find_providers(variables: Mapping[str, str]) -> Mapping[str, ImageProvider]:
    """Return every installed provider by its name, made with the environment's variables.

    Raises `ValidationFailed` with everything that they have against the variables.
    """
    found: dict[str, ImageProvider] = {}
    problems: list[Problem] = []
    for entry_point in entry_points(group=GROUP):
        factory: ProviderFactory = entry_point.load()
        try:
            provider = factory(variables)
        except ValidationFailed as failed:
            problems += failed.problems
        else:
            found[provider.description.name] = provider
    if problems:
        raise ValidationFailed(problems)
    return found


def check_variables(variables: Mapping[str, str]) -> None:
    """Raise `ValidationFailed` with all that the providers and the rest of the program have against them."""
    problems: list[Problem] = []
    for read in (read_environment, find_providers):
        try:
            read(variables)
        except ValidationFailed as failed:
            problems += failed.problems
    if problems:
        raise ValidationFailed(problems)


def parameter_schema(operation: Operation) -> dict[str, Any]:
    """Return the JSON Schema of a slot's parameters for an operation, as a document of its own."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": operation.display_name,
        **operation.params_schema(),
    }


def write_parameter_schemas(providers: Mapping[str, ImageProvider], folder: Path) -> None:
    """Write `{provider}.{operation}.json` for every operation, and remove what no operation has."""
    folder.mkdir(exist_ok=True)
    written = set()
    for name, provider in providers.items():
        for operation in provider.description.operations:
            path = folder / f"{name}.{operation.name}.json"
            document = json.dumps(parameter_schema(operation), ensure_ascii=False, indent=2)
            path.write_text(document + "\n", encoding="utf-8")
            written.add(path)
    for path in set(folder.glob("*.json")) - written:
        path.unlink()
