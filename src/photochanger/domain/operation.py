"""What image providers offer: their operations, and the parameters and templates each takes.

A provider describes itself once, in these values. Validation of a slot, the JSON Schema in `contracts/`
and the administrators' form all come from that description.
"""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from photochanger.domain.errors import Problem
from photochanger.domain.image import ImageRequirements

ParameterValue: TypeAlias = str | int | float | bool | tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """One parameter of an operation: its type, its bounds (both inclusive), its default.

    `kind` is one of `str`, `int`, `float`, `bool`, and `tuple` for a list of distinct strings whose order
    counts. `minimum` and `maximum` bound a string's length and a list's number of items. Each string, in a
    list or by itself, must be one of `choices` where there are any, match `pattern` as a whole (of the
    syntax that Python and JavaScript share), and not be one of `retired`: what was valid once, with the
    reason why it is no longer. `suggestions` are what most will want.
    """

    name: str
    kind: type[ParameterValue]
    description: str
    default: ParameterValue | None = None
    required: bool = False
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] = ()
    suggestions: tuple[str, ...] = ()
    pattern: str | None = None
    retired: Mapping[str, str] = field(default_factory=dict)

    def problems(self, value: object, path: str) -> Iterator[Problem]:
        """Yield what is wrong with `value`, found at `path`."""
        if not self._has_kind(value):
            yield Problem(field=path, code="wrong_type", message=f"must be {_NAMES[self.kind]}")
            return
        yield from self._out_of_bounds(value, path)
        if isinstance(value, tuple):
            for index, item in enumerate(value):
                yield from self._item_problems(item, value[:index], f"{path}[{index}]")
        elif isinstance(value, str):
            yield from self._text_problems(value, path)

    def schema(self) -> dict[str, object]:
        """Return the JSON Schema (2020-12) of the values that have no problems."""
        text: dict[str, object] = {"type": "string"}
        if self.choices:
            text["enum"] = list(self.choices)
        if self.pattern is not None:
            text["pattern"] = f"^(?:{self.pattern})$"
        if self.retired:
            text["not"] = {"enum": sorted(self.retired)}
        if self.suggestions:
            text["examples"] = list(self.suggestions)
        own: dict[str, object] = {"description": self.description}
        if self.kind is tuple:
            own |= {"type": "array", "items": text, "uniqueItems": True}
        else:
            own |= text if self.kind is str else {"type": _JSON_TYPES[self.kind]}
        own |= {name: bound for name, bound in self._schema_bounds() if bound is not None}
        return own if self.default is None else own | {"default": self.default}

    def _schema_bounds(self) -> Iterator[tuple[str, float | None]]:
        lower, upper = _BOUND_NAMES.get(self.kind, ("minimum", "maximum"))
        yield lower, self.minimum
        yield upper, self.maximum

    def _has_kind(self, value: object) -> bool:
        if isinstance(value, bool):
            return self.kind is bool
        if self.kind is float:
            return isinstance(value, int | float) and math.isfinite(value)
        if isinstance(value, tuple):
            return self.kind is tuple and all(isinstance(item, str) for item in value)
        return isinstance(value, self.kind)

    def _item_problems(self, item: str, before: tuple[str, ...], path: str) -> Iterator[Problem]:
        if item in before:
            yield Problem(field=path, code="duplicate", message="is there twice")
        yield from self._text_problems(item, path)

    def _text_problems(self, text: str, path: str) -> Iterator[Problem]:
        if self.choices and text not in self.choices:
            yield Problem(
                field=path, code="not_a_choice", message=f"must be one of {', '.join(self.choices)}"
            )
        elif text in self.retired:
            yield Problem(field=path, code="retired", message=self.retired[text])
        elif self.pattern is not None and not re.fullmatch(self.pattern, text):
            yield Problem(field=path, code="wrong_form", message="is not written as it should be")

    def _out_of_bounds(self, value: object, path: str) -> Iterator[Problem]:
        if isinstance(value, bool) or not isinstance(value, str | tuple | int | float):
            return
        size = float(len(value)) if isinstance(value, str | tuple) else value
        what = _MEASURES.get(self.kind, "value")
        if self.minimum is not None and not size >= self.minimum:
            yield Problem(field=path, code="too_small", message=f"{what} must be at least {self.minimum:g}")
        if self.maximum is not None and not size <= self.maximum:
            yield Problem(field=path, code="too_large", message=f"{what} must be at most {self.maximum:g}")


_NAMES: Mapping[type[ParameterValue], str] = {
    str: "a string",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    tuple: "a list of strings",
}
_MEASURES: Mapping[type[ParameterValue], str] = {str: "length", tuple: "number of items"}
_JSON_TYPES: Mapping[type[ParameterValue], str] = {int: "integer", float: "number", bool: "boolean"}
_BOUND_NAMES: Mapping[type[ParameterValue], tuple[str, str]] = {
    str: ("minLength", "maxLength"),
    tuple: ("minItems", "maxItems"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class TemplateRole:
    """A place for a template image in an operation, such as `style` or `background`."""

    role: str
    required: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One thing a provider can do with a photo.

    `models` names the parameter, a list, that holds the models to try in turn, where the operation has one.
    """

    name: str
    display_name: str
    parameters: tuple[Parameter, ...] = ()
    template_roles: tuple[TemplateRole, ...] = ()
    models: str | None = None

    def problems(self, params: Mapping[str, object], roles: Sequence[str], path: str) -> Iterator[Problem]:
        """Yield everything wrong with the given parameters and template roles."""
        yield from self._parameter_problems(params, f"{path}params")
        yield from self._role_problems(roles, f"{path}template_media")

    def _parameter_problems(self, params: Mapping[str, object], path: str) -> Iterator[Problem]:
        known = {parameter.name: parameter for parameter in self.parameters}
        for name in params.keys() - known.keys():
            yield Problem(
                field=f"{path}.{name}", code="unknown", message=f"{self.name} has no such parameter"
            )
        for name, parameter in known.items():
            if name in params:
                yield from parameter.problems(params[name], f"{path}.{name}")
            elif parameter.required:
                yield Problem(field=f"{path}.{name}", code="required", message="must be given")

    def _role_problems(self, roles: Sequence[str], path: str) -> Iterator[Problem]:
        known = {role.role for role in self.template_roles}
        for index, role in enumerate(roles):
            if role not in known:
                yield Problem(
                    field=f"{path}[{index}].role", code="unknown", message=f"{self.name} has no such role"
                )
            elif role in roles[:index]:
                yield Problem(field=f"{path}[{index}].role", code="duplicate", message="is bound twice")
        for needed in self.template_roles:
            if needed.required and needed.role not in roles:
                yield Problem(field=path, code="required", message=f"needs a template as {needed.role}")

    def with_defaults(self, params: Mapping[str, ParameterValue]) -> dict[str, ParameterValue]:
        """Return `params` with the default of every parameter that was left out."""
        defaults = {p.name: p.default for p in self.parameters if p.default is not None}
        return defaults | dict(params)

    def models_in(self, params: Mapping[str, ParameterValue]) -> tuple[str, ...]:
        """Return the models to try, the best first; none where the operation knows no models."""
        listed = None if self.models is None else self.with_defaults(params).get(self.models)
        return listed if isinstance(listed, tuple) else ()

    def params_schema(self) -> dict[str, object]:
        """Return the JSON Schema (2020-12) of the parameters that have no problems."""
        return {
            "type": "object",
            "properties": {parameter.name: parameter.schema() for parameter in self.parameters},
            "required": [parameter.name for parameter in self.parameters if parameter.required],
            "additionalProperties": False,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderDescription:
    """What a provider is called, what it can do, and on which terms.

    `is_configured` is false while it lacks a key. `takes_links` says that it fetches its images from public
    links instead of getting their bytes. `least_useful_sec` is the time below which a call is not worth
    beginning. `max_templates_bytes` bounds the templates of one call together.
    """

    name: str
    display_name: str
    operations: tuple[Operation, ...]
    image_requirements: ImageRequirements = field(default_factory=ImageRequirements)
    is_configured: bool = True
    takes_links: bool = False
    least_useful_sec: float = 0.5
    max_templates_bytes: int = 15_000_000

    def operation(self, name: str) -> Operation | None:
        """Return the operation called `name`, or None."""
        return next((operation for operation in self.operations if operation.name == name), None)


ProviderCatalogue: TypeAlias = Mapping[str, ProviderDescription]
"""All providers of this installation, by name."""
