"""Answers as people read them: tables of 80 columns, without lines, colours or markup.

What others have named (slots, templates) is shown so that it cannot command the terminal.
"""

import codecs
import json
import math
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec
from rich.table import Table
from rich.text import Text

from photochanger.domain.audit import changes_between

_NEVER_BROKEN = frozenset({"JOB", "TEMPLATE", "SLOT", "WHEN (UTC)"})
_BAR = 40
_OF_THE_RECORD = frozenset({"version", "updated_at", "updated_by"})


def rows(heads: Sequence[str], lines: Iterable[Sequence[object]], *, empty: str) -> Table | str:
    """Return a table with a line for each of `lines`; the sentence `empty` where there is none."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for head in heads:
        table.add_column(head, no_wrap=head in _NEVER_BROKEN, overflow="fold")
    for line in lines:
        table.add_row(*(printable(cell) for cell in line))
    return table if table.row_count else empty


def fields(document: Mapping[str, Any]) -> Table:
    """Return a document as a table of its fields, by the paths that `set` takes."""
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for path, value in _flat(document, ""):
        table.add_row(path, printable(written(value)))
    return table


def differences(before: msgspec.Struct, after: msgspec.Struct) -> Table | str:
    """Return a table of what differs between two documents that are shown."""
    old, new = ({**msgspec.to_builtins(shown)} for shown in (before, after))
    for name in _OF_THE_RECORD:
        old.pop(name, None), new.pop(name, None)
    changes = changes_between(old, new)
    lines = [(path, written(change.old), written(change.new)) for path, change in changes.items()]
    return rows(("CHANGED", "FROM", "TO"), lines, empty="Nothing is different now.")


def moment(text: str | None) -> str:
    """Return a time of JSON to the second: `2026-01-14 09:30:00`, in UTC."""
    return "" if text is None else text[:19].replace("T", " ")


def written(value: object) -> str:
    """Return a value as `KEY=VALUE` would have it: text as it is, everything else as JSON."""
    return value if isinstance(value, str) and value else json.dumps(value, ensure_ascii=False)


def printable(value: object) -> Text:
    """Return a value as text in which nothing is a command for the terminal."""
    text = value if isinstance(value, str) else written(value)
    safe = (c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text)
    return Text("".join(safe))


def bar(done: int, total: int, most: int) -> str:
    """Return how many of how many were done, as a bar that is longest where `total` is `most`."""
    full, empty = ("█", "░") if speaks_unicode() else ("#", "-")
    length = math.ceil(total / most * _BAR) if most else 0
    filled = round(done / total * length) if total else 0
    return full * filled + empty * (length - filled)


def speaks_unicode() -> bool:
    """Say whether standard output takes every character."""
    return codecs.lookup(sys.stdout.encoding or "ascii").name.startswith("utf")


def megabytes(size_bytes: int) -> str:
    """Return a size, in MB of a million bytes."""
    return f"{size_bytes / 1_000_000:.2f} MB"


def _flat(document: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, object]]:
    for name, value in document.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
