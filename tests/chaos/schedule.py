"""The schedule: which fault comes when, chosen by the seed and by nothing else."""

import random
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from photochanger.application.process_job import LEASE
from tests.chaos.provider import FAILURES

KINDS: Final = ("kill", "stop", "term", "postgres", "store", "provider", "clock")

LEASE_SEC: Final = LEASE.total_seconds()

_GAP_SEC: Final[Mapping[str, float]] = {
    "kill": 4.0,
    "stop": 9.0,
    "term": 9.0,
    "postgres": 20.0,
    "store": 12.0,
    "provider": 8.0,
    "clock": 15.0,
}
"""How long it is on average from one fault of a kind to the next."""

_LATEST_FIRST: Final = 0.6
"""By this share of the run there was at least one fault of every kind."""

STARTING_SHARE: Final = 0.2
"""The share of the kills that hit a process while it starts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One fault: `at_sec` after the beginning of the load, in seconds."""

    at_sec: float
    kind: str
    facts: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        facts = " ".join(f"{name}={value}" for name, value in self.facts.items())
        return f"{self.at_sec:7.2f} s  {self.kind:8} {facts}"


def schedule(
    seed: int, kinds: Collection[str], *, duration_sec: float, places: Sequence[str]
) -> Sequence[Fault]:
    """Return the faults of these kinds within the time, by their time; each kind comes at least once."""
    faults = [fault for kind in kinds for fault in _of_kind(seed, kind, duration_sec, places)]
    return sorted(faults, key=lambda fault: fault.at_sec)


def _of_kind(seed: int, kind: str, duration_sec: float, places: Sequence[str]) -> Iterator[Fault]:
    chance = random.Random(f"{seed} {kind}")
    gap = min(_GAP_SEC[kind], duration_sec * _LATEST_FIRST)
    at_sec = chance.uniform(0.1, 1.0) * gap
    while at_sec < duration_sec:
        facts = _FACTS[kind](chance)
        if kind in {"kill", "stop", "term", "clock"}:
            facts = {"place": chance.choice(places), **facts}
        yield Fault(at_sec=round(at_sec, 2), kind=kind, facts=facts)
        at_sec += facts.get("for_sec", 0.0) + chance.uniform(0.3, 1.7) * gap


def _stop(chance: random.Random) -> dict[str, Any]:
    return {"for_sec": round(chance.uniform(0.5, 2.0) * LEASE_SEC, 2)}


def _postgres(chance: random.Random) -> dict[str, Any]:
    down_sec = round(chance.uniform(2, 6), 1) if chance.random() < 0.4 else 0.0
    return {"mode": chance.choice(["fast", "immediate"]), "for_sec": down_sec}


def _store(chance: random.Random) -> dict[str, Any]:
    return {"how": chance.choice(["error", "hang"]), "for_sec": round(chance.uniform(0.5, 5), 1)}


def _provider(chance: random.Random) -> dict[str, Any]:
    failing = chance.sample(FAILURES, chance.randint(1, 3))
    return {"failing": failing, "for_sec": round(chance.uniform(0.5, 4), 1)}


def _clock(chance: random.Random) -> dict[str, Any]:
    offset = chance.choice(["+1h", "-1h", "+1d", "-1d", "+300"])
    return {"offset": offset, "for_sec": round(chance.uniform(3, 10), 1)}


_FACTS: Final = {
    "kill": lambda _chance: {},
    "term": lambda _chance: {},
    "stop": _stop,
    "postgres": _postgres,
    "store": _store,
    "provider": _provider,
    "clock": _clock,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Kill:
    """One kill of a series: so long after the place is ready, or after its start."""

    after_sec: float
    while_starting: bool


SHORTEST_LIFE_SEC, LONGEST_LIFE_SEC = 0.02, 5.0
"""Between these, logarithmically, lies how long a process lives before it is killed."""


def kills(seed: int, place: str, count: int) -> Sequence[Kill]:
    """Return the kills of one place, one after the other, as fast as it gets ready."""
    chance = random.Random(f"{seed} kills of {place}")
    return [_kill(chance) for _ in range(count)]


def _kill(chance: random.Random) -> Kill:
    if chance.random() < STARTING_SHARE:
        return Kill(after_sec=round(chance.uniform(0, 1.0), 3), while_starting=True)
    life = SHORTEST_LIFE_SEC * (LONGEST_LIFE_SEC / SHORTEST_LIFE_SEC) ** chance.random()
    return Kill(after_sec=round(float(life), 3), while_starting=False)
