"""`contracts/openapi.yaml`, as a test reads it: which operations there are, and what they may answer."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

import yaml
from jsonschema import Draft202012Validator

from tests.system.http_server import Answer

CONTRACT: Final = Path(__file__).parents[2] / "contracts" / "openapi.yaml"

_EXAMPLES: Final[Mapping[str, str]] = {"slot_id": "slot-001"}
_SOME_ID: Final = "0f2d6a1f8c7b4e5aa9d3c1b2e4f60718"


@cache
def document() -> dict[str, Any]:
    """Return the contract."""
    read: dict[str, Any] = yaml.safe_load(CONTRACT.read_text(encoding="utf-8"))
    return read


def resolved(node: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what a reference within the contract leads to, or `node` itself."""
    found: Any = node
    while "$ref" in found:
        at: Any = document()
        for name in str(found["$ref"]).removeprefix("#/").split("/"):
            at = at[name]
        found = at
    result: Mapping[str, Any] = found
    return result


def violations(schema: Mapping[str, Any], value: Any) -> list[str]:
    """Return what is wrong with a value by a schema of the contract."""
    whole = {**schema, "components": document()["components"]}
    return [
        f"{error.json_path}: {error.message}"
        for error in Draft202012Validator(
            whole, format_checker=Draft202012Validator.FORMAT_CHECKER
        ).iter_errors(value)
    ]


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one path."""

    method: str
    path: str

    def __str__(self) -> str:
        return f"{self.method} {self.path}"

    @property
    def described(self) -> Mapping[str, Any]:
        """What the contract says of it."""
        found: Mapping[str, Any] = document()["paths"][self.path][self.method.lower()]
        return found

    @property
    def example_path(self) -> str:
        """The path, with an id that has the right form in the place of each parameter."""
        return re.sub(r"{(\w+)}", lambda found: _EXAMPLES.get(found[1], _SOME_ID), self.path)

    @property
    def responses(self) -> Mapping[int, Mapping[str, Any]]:
        """What it may answer, by status."""
        return {int(status): resolved(response) for status, response in self.described["responses"].items()}

    def complaints(self, answer: Answer) -> list[str]:
        """Return how an answer departs from the contract."""
        if answer.status not in self.responses:
            return [f"{self} answers {answer.status}: {answer.body[:200]!r}"]
        response = self.responses[answer.status]
        required = {name for name, header in response.get("headers", {}).items() if header.get("required")}
        complaints = [f"{self} {answer.status} without {name}" for name in required if name not in answer]
        content = response.get("content", {})
        if answer.body and content:
            kind = answer["content-type"].partition(";")[0]
            if kind not in content:
                return [*complaints, f"{self} {answer.status} is {kind}"]
            if kind.endswith("json"):
                schema = content[kind]["schema"]
                complaints += [f"{self}: {wrong}" for wrong in violations(schema, json.loads(answer.body))]
        return complaints


def operations() -> Iterator[Operation]:
    """Yield every operation of the contract."""
    for path, methods in document()["paths"].items():
        for method in methods:
            yield Operation(method.upper(), path)
