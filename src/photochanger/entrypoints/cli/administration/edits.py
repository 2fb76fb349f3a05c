"""Changes of a document, as the command line gives them: KEY=VALUE, and files.

A document is changed as a whole, as over HTTP; the command line names what is to differ from what there is.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import rich_click as click

from photochanger.domain.errors import Problem, ValidationFailed
from photochanger.entrypoints.documents.reading import read_value, struct_in

MAX_FILE_BYTES = 1_000_000

_Update = TypeVar("_Update", bound=msgspec.Struct)


@dataclass(frozen=True, slots=True, kw_only=True)
class Edits:
    """What is to differ: first what the file says, then each assignment, then what is to be taken out."""

    assignments: Sequence[tuple[str, Any]]
    unset: Sequence[str]
    from_file: dict[str, Any]

    def __bool__(self) -> bool:
        return bool(self.assignments or self.unset or self.from_file)

    def of(self, shown: msgspec.Struct, update: type[_Update], **more: object) -> _Update:
        """Return the document that `shown` becomes, together with the fields `more`.

        What is shown and cannot be changed is left out, also of the file, so that a file may be what was
        shown. Raises `ValidationFailed` with everything else that the document must not hold.
        """
        known: dict[str, Any] = msgspec.to_builtins(shown)
        document = _merged(_writable(known, known, update), _writable(self.from_file, known, update), update)
        for path, value in self.assignments:
            _put(document, path, value)
        for path in self.unset:
            _take_out(document, path)
        return read_value(document | more, update)


def read_edits(
    assignments: Sequence[str], unset: Sequence[str], file: Path | None, *, kept_out: str, instead: str
) -> Edits:
    """Return the edits that a command line asks for. No argument may give a value at the path `kept_out`."""
    read = [_assignment(text) for text in assignments]
    paths = [path for path, _ in read]
    for path, value in read:
        if paths.count(path) > 1:
            raise click.UsageError(f"{path} is given twice")
        if _holds(path, value, kept_out):
            raise click.UsageError(f"{kept_out} would be seen in the list of processes: {instead}")
    return Edits(assignments=read, unset=unset, from_file={} if file is None else _loaded(file))


def edit_options(command: Any) -> Any:
    """Add the arguments and options that `read_edits` takes."""
    command = click.option(
        "--from-file",
        "file",
        type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path),
        help="A JSON document with what is to change, or - for standard input.",
    )(command)
    command = click.option("--unset", multiple=True, metavar="KEY", help="Take KEY out; may be repeated.")(
        command
    )
    return click.argument("assignments", nargs=-1, metavar="[KEY=VALUE]...")(command)


def _assignment(text: str) -> tuple[str, Any]:
    path, sign, value = text.partition("=")
    if not sign or not all(path.split(".")):
        raise click.BadParameter(f"{path[:64]!r} is not KEY=VALUE", param_hint="KEY=VALUE")
    try:
        return path, msgspec.json.decode(value)
    except (msgspec.DecodeError, RecursionError):
        return path, value


def _holds(path: str, value: Any, secret: str) -> bool:
    """Say whether an assignment gives the secret, by its own path or within an object."""
    if path == secret:
        return True
    inner = secret.removeprefix(f"{path}.")
    return inner != secret and isinstance(value, dict) and inner in value


def _loaded(file: Path) -> dict[str, Any]:
    with click.open_file(str(file), "rb") as opened:
        content = opened.read(MAX_FILE_BYTES + 1)
    if len(content) > MAX_FILE_BYTES:
        raise click.BadParameter(f"there are more than {MAX_FILE_BYTES} bytes", param_hint="--from-file")
    try:
        document = msgspec.json.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise click.BadParameter("is not valid JSON", param_hint="--from-file") from error
    if not isinstance(document, dict):
        raise click.BadParameter("is not a JSON object", param_hint="--from-file")
    return document


def _writable(
    document: dict[str, Any], shown: dict[str, Any], update: type[msgspec.Struct]
) -> dict[str, Any]:
    """Return the document without what is only ever shown."""
    types = {field.encode_name: field.type for field in msgspec.structs.fields(update)}
    kept = {}
    for name, value in document.items():
        struct = struct_in(types.get(name))
        if struct is not None and isinstance(value, dict):
            kept[name] = _writable(value, shown.get(name) or {}, struct)
        elif name in types or name not in shown:
            kept[name] = value
    return kept


def _merged(document: dict[str, Any], given: dict[str, Any], update: type[msgspec.Struct]) -> dict[str, Any]:
    """Return the document with what is given; of objects with fixed fields, field by field."""
    types = {field.encode_name: field.type for field in msgspec.structs.fields(update)}
    merged = dict(document)
    for name, value in given.items():
        struct, before = struct_in(types.get(name)), document.get(name)
        if struct is not None and isinstance(value, dict) and isinstance(before, dict):
            merged[name] = _merged(before, value, struct)
        else:
            merged[name] = value
    return merged


def _put(document: dict[str, Any], path: str, value: Any) -> None:
    *parents, name = path.split(".")
    for number, parent in enumerate(parents, 1):
        if document.get(parent) is None:
            document[parent] = {}
        document = document[parent]
        if not isinstance(document, dict):
            raise _misplaced(".".join(parents[:number]), "has nothing inside it")
    document[name] = value


def _take_out(document: dict[str, Any], path: str) -> None:
    *parents, name = path.split(".")
    for parent in parents:
        inner = document.get(parent)
        document = inner if isinstance(inner, dict) else {}
    if name not in document:
        raise _misplaced(path, "is not there")
    del document[name]


def _misplaced(path: str, message: str) -> ValidationFailed:
    return ValidationFailed([Problem(field=path, code="unknown", message=message)])
