"""The history: what every client asked and was told, and every fault, with the times of one clock."""

import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import IO, Any


class Kind(StrEnum):
    """What an event says of its operation."""

    INVOKE = "invoke"
    """It begins."""
    OK = "ok"
    """It has succeeded."""
    FAIL = "fail"
    """It was refused; `facts` say how."""
    UNKNOWN = "unknown"
    """Nobody knows whether it was done: the connection was cut, or nobody answered."""
    INFO = "info"
    """No operation: something happened."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that was done or seen. `at` is in seconds since the run began, on the monotonic clock.

    `operation` is the same in the invocation and the completion of an operation.
    """

    at: float
    who: str
    what: str
    kind: Kind
    operation: int
    facts: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        facts = ", ".join(f"{name} {value}" for name, value in self.facts.items() if value is not None)
        return f"{self.at:.3f} {self.who}: {self.what} #{self.operation} {self.kind} ({facts})"


class History:
    """Events in the order in which they were noted; on disk as one JSON document a line."""

    def __init__(self, path: Path | None = None) -> None:
        self.events: list[Event] = []
        self._began, self._wall_began = time.monotonic(), time.time()
        self._operations = 0
        self._file: IO[str] | None = None if path is None else path.open("w", encoding="utf-8")

    @property
    def now(self) -> float:
        """The time now, as events have it."""
        return time.monotonic() - self._began

    def moment(self, wall: float) -> float:
        """Return a time of the wall clock, in seconds since 1970, as events have it."""
        return wall - self._wall_began

    def invoke(self, who: str, what: str, **facts: Any) -> int:
        """Note that an operation begins, and return its number."""
        self._operations += 1
        self._note(who, what, Kind.INVOKE, self._operations, facts)
        return self._operations

    def complete(self, operation: int, who: str, what: str, kind: Kind, **facts: Any) -> None:
        """Note how an operation has ended."""
        self._note(who, what, kind, operation, facts)

    def tell(self, who: str, what: str, **facts: Any) -> None:
        """Note something that happened."""
        self._note(who, what, Kind.INFO, 0, facts)

    def close(self) -> None:
        """Write what is not written yet."""
        if self._file is not None:
            self._file.close()

    def _note(self, who: str, what: str, kind: Kind, operation: int, facts: Mapping[str, Any]) -> None:
        event = Event(at=self.now, who=who, what=what, kind=kind, operation=operation, facts=facts)
        self.events.append(event)
        if self._file is not None:
            self._file.write(json.dumps(asdict(event)) + "\n")


def read_history(path: Path) -> list[Event]:
    """Return the events of a history that was written."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return [Event(**{**found, "kind": Kind(found["kind"])}) for found in map(json.loads, lines)]
