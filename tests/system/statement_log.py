"""What PostgreSQL was asked, by its own log: every statement, with the name that it has in our source."""

import importlib
import pkgutil
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cache
from itertools import pairwise
from typing import Final

from photochanger.adapters import postgres as adapter
from tests.resilience.postgres import PostgresServer

CLAIM: Final = "claim"
CLAIM_OF_NOTHING: Final = "claim of nothing"
UNTIL_DURABLE: Final = "claim_lock._UNTIL_DURABLE"

_ENTRY: Final = re.compile(r"^(?=\d{4}-\d\d-\d\d )", re.MULTILINE)
_STATEMENT: Final = re.compile(
    r"(?P<at>\S+ \S+) UTC \[(?P<backend>\d+)\] LOG:  (?:statement|execute [^:]+): (?P<text>.*)", re.DOTALL
)
_PARAMETER: Final = re.compile(r"%\(\w+\)s|\$\d+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """One message to PostgreSQL that it has answered: one way there and back."""

    name: str
    """`module.CONSTANT` of our adapter; the text itself where it is none of them."""
    at: datetime
    backend: int


def log_every_statement(server: PostgresServer, database: str) -> None:
    """Have the server log what new connections to the database ask."""
    server.ask(f"ALTER DATABASE {database} SET log_statement = 'all'")


def statements(server: PostgresServer) -> Sequence[Statement]:
    """Return all that the log tells; a claim that took nothing is named so."""
    return _with_claims_told_apart([found for entry in _entries(server.log()) if (found := _read(entry))])


def _entries(log: str) -> Sequence[str]:
    whole, _, _ = log.rpartition("\n")  # the last may be about to be written
    return _ENTRY.split(whole)


def _read(entry: str) -> Statement | None:
    found = _STATEMENT.fullmatch(entry.strip())
    if found is None:
        return None
    at = datetime.fromisoformat(f"{found['at']}+00:00")
    return Statement(name=_name(found["text"]), at=at, backend=int(found["backend"]))


def _name(text: str) -> str:
    if "EXECUTE photochanger_claim(" in text:
        return CLAIM
    normal = _normal(text)
    return _names().get(normal, normal)


def _normal(text: str) -> str:
    return " ".join(_PARAMETER.sub("?", text).split())


@cache
def _names() -> Mapping[str, str]:
    return {_normal(text.decode()): name for name, text in _constants()}


def _constants() -> Iterator[tuple[str, bytes]]:
    for info in pkgutil.iter_modules(adapter.__path__):
        for name, value in vars(importlib.import_module(f"{adapter.__name__}.{info.name}")).items():
            if isinstance(value, bytes):
                yield f"{info.name}.{name}", value
            elif isinstance(value, Mapping):
                for key, text in value.items():
                    if isinstance(text, bytes):
                        yield f"{info.name}.{name}[{key}]", text


def _with_claims_told_apart(found: Sequence[Statement]) -> Sequence[Statement]:
    """What has taken a job waits on the same connection until that is durable."""
    of_backend: dict[int, list[Statement]] = {}
    for each in found:
        of_backend.setdefault(each.backend, []).append(each)
    took = {
        claim
        for its in of_backend.values()
        for claim, following in pairwise(its)
        if claim.name == CLAIM and following.name == UNTIL_DURABLE
    }
    return [
        replace(each, name=CLAIM_OF_NOTHING) if each.name == CLAIM and each not in took else each
        for each in found
    ]
