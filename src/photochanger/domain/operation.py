"""What image providers offer: their operations, and the parameters and templates each takes.

A provider describes itself once, in these values. Validation of a slot, the JSON Schema in `contracts/`
and the administrators' form all come from that description.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from photochanger.domain.errors import Problem
from photochanger.domain.image import ImageRequirements

ParameterValue: TypeAlias = str | int | float | bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """One parameter of an operation: its type, its bounds (both inclusive), its default.

    `kind` is one of `str`, `int`, `float`, `bool`. For a string, `minimum` and `maximum` bound its length.
    """

    name: str
    kind: type[ParameterValue]
    description: str
    default: ParameterValue | None = None
    required: bool = False
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] = ()

    def problems(self, value: object, path: str) -> Iterator[Problem]:
        """Yield what is wrong with `value`, found at `path`."""
        if not self._has_kind(value):
            yield Problem(field=path, code="wrong_type", message=f"must be {_NAMES[self.kind]}")
        elif self.choices and value not in self.choices:
            yield Problem(
                field=path, code="not_a_choice", message=f"must be one of {', '.join(self.choices)}"
            )
        else:
            yield from self._out_of_bounds(value, path)

    def _has_kind(self, value: object) -> bool:
        if isinstance(value, bool):
            return self.kind is bool
        if self.kind is float:
            return isinstance(value, int | float) and math.isfinite(value)
        return isinstance(value, self.kind)

    def _out_of_bounds(self, value: object, path: str) -> Iterator[Problem]:
        size = float(len(value)) if isinstance(value, str) else value
        if isinstance(size, bool) or not isinstance(size, int | float):
            return
        what = "length" if isinstance(value, str) else "value"
        if self.minimum is not None and not size >= self.minimum:
            yield Problem(field=path, code="too_small", message=f"{what} must be at least {self.minimum:g}")
        if self.maximum is not None and not size <= self.maximum:
            yield Problem(field=path, code="too_large", message=f"{what} must be at most {self.maximum:g}")


_NAMES: Mapping[type[ParameterValue], str] = {
    str: "a string",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class TemplateRole:
    """A place for a template image in an operation, such as `style` or `background`."""

    role: str
    required: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One thing a provider can do with a photo."""

    name: str
    display_name: str
    parameters: tuple[Parameter, ...] = ()
    template_roles: tuple[TemplateRole, ...] = ()

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


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderDescription:
    """What a provider is called, what it can do, and which images it takes."""

    name: str
    display_name: str
    operations: tuple[Operation, ...]
    image_requirements: ImageRequirements = field(default_factory=ImageRequirements)

    def operation(self, name: str) -> Operation | None:
        """Return the operation called `name`, or None."""
        return next((operation for operation in self.operations if operation.name == name), None)


ProviderCatalogue: TypeAlias = Mapping[str, ProviderDescription]
"""All providers of this installation, by name."""
