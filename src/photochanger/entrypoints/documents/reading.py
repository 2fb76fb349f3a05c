"""Reading what a caller gives as JSON, as a query or as options: strictly, and with all problems at once.

What may be sent is described by msgspec structs; OpenAPI is generated from the same. msgspec itself stops at
the first problem, so the structs are walked field by field here.
"""

import re
import types
from collections.abc import Iterator, Mapping
from enum import Enum
from typing import Annotated, Any, Final, TypeVar, Union, get_args, get_origin
from urllib.parse import parse_qsl

import msgspec

from photochanger.domain.errors import InvalidRequest, Problem, ValidationFailed

_T = TypeVar("_T", bound=msgspec.Struct)

_WORDS: Final[Mapping[str, str]] = {
    "str": "a string",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "array": "a list",
    "object": "an object",
    "null": "null",
    "datetime": "a time such as 2026-01-14T09:30:00Z",
}
_WHOLE_NUMBER = re.compile(r"-?\d{1,18}", re.ASCII)
_TYPES = re.compile(r"Expected `([\w |]+)`(?:, got .*)?")
_LENGTH = re.compile(r"Expected `\w+(?: \| null)?` of length ([<>]=) (\d+)")
_BOUND = re.compile(r"Expected `\w+(?: \| null)?` ([<>]=) (-?[\d.]+)")


def read_document(body: bytes, of: type[_T]) -> _T:
    """Return the struct that a JSON document is.

    Raises `InvalidRequest` for what is no JSON, and `ValidationFailed` with everything that is wrong.
    """
    try:
        value = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidRequest("The body is not valid JSON") from error
    return read_value(value, of)


def read_value(value: Any, of: type[_T]) -> _T:
    """Return the struct that a decoded JSON value is. Raises as `read_document` does."""
    try:
        problems = [*_problems(value, of, "")]
    except RecursionError as error:
        raise InvalidRequest("The body is not valid JSON") from error
    if problems:
        raise ValidationFailed(problems)
    return msgspec.convert(value, of)


def read_query(query: bytes, of: type[_T]) -> _T:
    """Return the struct that a query string is. Raises `ValidationFailed` with everything that is wrong."""
    pairs = parse_qsl(query.decode("latin-1"), keep_blank_values=True, encoding="utf-8", errors="replace")
    repeated = {name for name, _ in pairs if sum(name == other for other, _ in pairs) > 1}
    if repeated:
        raise ValidationFailed(
            [Problem(field=name, code="duplicate", message="must be given at most once") for name in repeated]
        )
    types = {field.encode_name: field.type for field in msgspec.structs.fields(of)}
    return read_value({name: _typed(text, types.get(name)) for name, text in pairs}, of)


def _typed(text: str, of: Any) -> Any:
    """Return what JSON would have in the place of a query's text; the text itself where it is none of it."""
    options = _options(of)
    if bool in options:
        return {"true": True, "false": False}.get(text, text)
    if int in options and _WHOLE_NUMBER.fullmatch(text):
        return int(text)
    return text


def _problems(value: Any, of: Any, path: str) -> Iterator[Problem]:
    struct, named, item = struct_in(of), _value_in(of), _item_in(of)
    if struct is not None and isinstance(value, dict):
        yield from _struct_problems(value, struct, path)
    elif named is not None and isinstance(value, dict):
        for name, element in value.items():
            yield from _text_problems(name, path)
            yield from _problems(element, named, f"{path}.{_shortened(name)}")
    elif item is not None and isinstance(value, list):
        for index, element in enumerate(value):
            yield from _problems(element, item, f"{path}[{index}]")
    else:
        yield from _text_problems(value, path)
        try:
            msgspec.convert(value, of)
        except msgspec.ValidationError as error:
            yield _problem(str(error), of, path)


def _struct_problems(value: dict[str, Any], struct: type[msgspec.Struct], path: str) -> Iterator[Problem]:
    fields = {field.encode_name: field for field in msgspec.structs.fields(struct)}
    prefix = f"{path}." if path else ""
    for name in value.keys() - fields.keys():
        yield Problem(field=f"{prefix}{_shortened(name)}", code="unknown", message="there is no such field")
    for name, field in fields.items():
        if name in value:
            yield from _problems(value[name], field.type, f"{prefix}{name}")
        elif field.required:
            yield Problem(field=f"{prefix}{name}", code="required", message="must be given")


def _text_problems(value: Any, path: str) -> Iterator[Problem]:
    """Yield a problem for text that no database holds, however deep it is."""
    match value:
        case str() if "\0" in value:
            yield Problem(field=path, code="wrong_form", message="must not hold NUL characters")
        case dict():
            for name, inner in value.items():
                yield from _text_problems(name, path)
                yield from _text_problems(inner, f"{path}.{_shortened(name)}")
        case list():
            for index, inner in enumerate(value):
                yield from _text_problems(inner, f"{path}[{index}]")


def struct_in(of: Any) -> type[msgspec.Struct] | None:
    """Return the one struct that a type is, or is a union with; None where there is none."""
    for option in _options(of):
        if isinstance(option, type) and issubclass(option, msgspec.Struct):
            return option
    return None


def _value_in(of: Any) -> Any:
    """Return the type of the values of a mapping; None for everything else."""
    for option in _options(of):
        if get_origin(option) is dict:
            return get_args(option)[1]
    return None


def _item_in(of: Any) -> Any:
    """Return the type of the items of a list of structs; None for everything else."""
    for option in _options(of):
        if get_origin(option) is list and struct_in(get_args(option)[0]) is not None:
            return get_args(option)[0]
    return None


def _options(of: Any) -> tuple[Any, ...]:
    if get_origin(of) is Annotated:
        return _options(get_args(of)[0])
    if get_origin(of) in {Union, types.UnionType}:
        return tuple(option for part in get_args(of) for option in _options(part))
    return (of,)


def _problem(complaint: str, of: Any, path: str) -> Problem:
    """Return msgspec's complaint as a problem of ours; it never repeats the value."""
    what, _, where = complaint.rpartition(" - at `$")
    field = path + where.rstrip("`").replace("[...]", "") if what else path
    what = what or complaint
    if found := _LENGTH.fullmatch(what):
        least = "at least" if found[1] == ">=" else "at most"
        return Problem(field=field, code="out_of_range", message=f"must have {least} {found[2]} characters")
    if found := _BOUND.fullmatch(what):
        least = "at least" if found[1] == ">=" else "at most"
        return Problem(field=field, code="out_of_range", message=f"must be {least} {found[2]}")
    if what.startswith("Invalid enum value") and (choices := _choices(of)):
        return Problem(field=field, code="not_a_choice", message=f"must be one of {', '.join(choices)}")
    if found := _TYPES.fullmatch(what):
        words = [_WORDS.get(word, word) for word in found[1].split(" | ")]
        return Problem(field=field, code="wrong_type", message=f"must be {' or '.join(words)}")
    return Problem(field=field, code="wrong_form", message="is not written as it should be")


def _choices(of: Any) -> list[str]:
    return [
        str(member.value)
        for option in _options(of)
        if isinstance(option, type) and issubclass(option, Enum)
        for member in option
    ]


def _shortened(name: str) -> str:
    return name if len(name) <= 64 and name.isprintable() else f"{name[:64]!a}…"
