"""The observation of a run, arranged for those who judge it, and what they say."""

import bisect
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain
from typing import Any, Final

from tests.chaos.history import Event, Kind
from tests.chaos.load import SLOTS
from tests.chaos.observed import JobFact, Observation

_ENOUGH: Final = 25
"""So many violations of one invariant are told in full."""


_LONGEST_CONTROL_SEC: Final = 5.0
"""No control takes longer than that."""


@dataclass(frozen=True, slots=True)
class Span:
    """A time during which something was wrong."""

    start: float
    end: float

    def overlaps(self, start: float, end: float) -> bool:
        """Say whether it had to do with the time between these two."""
        return self.start <= end and start <= self.end


@dataclass(kw_only=True)
class Verdict:
    """What became of one invariant."""

    invariant: str
    checked: int = 0
    violations: list[str] = field(default_factory=list)
    figures: dict[str, float | int | str] = field(default_factory=dict)
    """What else is worth to be told."""

    def violated(self, what: str, *refs: object) -> None:
        """Note a violation, with everything that is needed to find it in the history."""
        if len(self.violations) < _ENOUGH:
            self.violations.append("; ".join([what, *map(str, refs)]))
        else:
            self.figures["further violations"] = int(self.figures.get("further violations", 0)) + 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What a client asked, and what came of it."""

    invoked: Event
    ended: Event | None

    @property
    def facts(self) -> Mapping[str, Any]:
        """What is known of it at the end."""
        return (self.ended or self.invoked).facts

    @property
    def end(self) -> float:
        """When it was over, or will never be."""
        return self.ended.at if self.ended else float("inf")

    @property
    def head_at(self) -> float:
        """When the head of the answer had come."""
        return self.invoked.at + float(self.facts["took_sec"])

    @property
    def due(self) -> float:
        """When a photo has to be answered."""
        return self.invoked.at + SLOTS[self.invoked.facts["slot_id"]].deadline_sec

    @property
    def kind(self) -> Kind | None:
        """How it has ended."""
        return self.ended.kind if self.ended else None

    def __str__(self) -> str:
        return f"{self.invoked} -> {self.ended}"


class Run:
    """An observation in the order in which the invariants need it."""

    def __init__(self, observation: Observation) -> None:
        self.observation = observation
        self.jobs = {job.job_id: job for job in observation.jobs}
        self.requests = list(_requests(observation.events))
        self.photos = [request for request in self.requests if request.invoked.what == "photo"]
        self.end = max((event.at for event in observation.events), default=0.0)
        self.faults = _faults(observation.events, self.end)
        self.number_of: Mapping[str, int] = {
            request.invoked.facts["sha256"]: request.invoked.facts["photo"] for request in self.photos
        }
        """Which photo has that hash."""
        self._gone = _gone(observation.events)
        self._control: Sequence[tuple[float, float, float]] = [
            (event.facts["sent_at"], event.at, event.facts["late_sec"]) for event in self.of("control")
        ]

    def of(self, what: str) -> Iterator[Event]:
        """Yield the events that tell of this."""
        return (event for event in self.observation.events if event.what == what)

    @cached_property
    def calls(self) -> Mapping[int, Sequence[Event]]:
        """The calls of the provider, by the photo that was sent, in the order of time."""
        found: dict[int, list[Event]] = defaultdict(list)
        for event in self.of("call"):
            found[event.facts["photo"]].append(event)
        return found

    @cached_property
    def jobs_by_photo(self) -> Mapping[int, Sequence[JobFact]]:
        """The jobs of photos that somebody has sent, by the number of the photo."""
        found: dict[int, list[JobFact]] = defaultdict(list)
        for job in self.jobs.values():
            if (number := self.number_of.get(job.content_hash)) is not None:
                found[number].append(job)
        return found

    def spans(self, fault: str) -> Sequence[tuple[Span, Mapping[str, Any]]]:
        """Return the times of the faults of a kind, with what is known of each."""
        return self.faults.get(fault, ())

    def during(
        self, fault: str, start: float, end: float, *, target: str | None = None, after_sec: float = 0.0
    ) -> bool:
        """Say whether there was such a fault, of that process where one is named, in that time."""
        return any(
            Span(span.start, span.end + after_sec).overlaps(start, end)
            for span, facts in self.spans(fault)
            if target is None or facts.get("target") == target
        )

    def is_gone(self, process: str, by: float) -> bool:
        """Say whether the process had ended by then, or been killed, or asked to end."""
        return self._gone.get(process, float("inf")) <= by

    def was_killed(self, process: str, by: float) -> bool:
        """Say whether the process was killed by then; being asked to end is no excuse to leave clients."""
        return any(span.start <= by for span, facts in self.spans("kill") if facts.get("target") == process)

    @cached_property
    def nobody_there(self) -> Sequence[Span]:
        """The times in which no process was ready, or all that were had been halted."""
        found: list[Span] = []
        there, since = 0, 0.0
        for at, change in sorted(chain.from_iterable(map(self._comings_and_goings, self.of("ready")))):
            if there == 0:
                found.append(Span(since, at))
            there, since = there + change, at
        return found if there else [*found, Span(since, float("inf"))]

    def _comings_and_goings(self, ready: Event) -> Iterator[tuple[float, int]]:
        gone, at = self._gone.get(ready.who, float("inf")), ready.at
        halts = [span for span, facts in self.spans("stop") if facts.get("target") == ready.who]
        for halt in [*halts, Span(gone, gone)]:
            if at < halt.start:
                yield at, 1
                yield halt.start, -1
            at = max(at, halt.end)

    def starved_sec(self, process: str, start: float, end: float) -> float:
        """Return for how long the process waited for a processor then, as far as it was looked at."""
        events = self._starved.get(process, ())
        return sum(
            (event.facts["for_sec"] for event in events if event.facts["since"] <= end and event.at >= start),
            0.0,
        )

    @cached_property
    def _starved(self) -> Mapping[str, Sequence[Event]]:
        found: dict[str, list[Event]] = defaultdict(list)
        for event in self.of("starved"):
            found[event.who].append(event)
        return found

    @property
    def worst_control_sec(self) -> float:
        """How late the worst control was, in seconds."""
        return max((late for _, _, late in self._control), default=0.0)

    def allowance_sec(self, start: float, end: float) -> float:
        """Return how late the worst control was that was under way then."""
        first = bisect.bisect_left(self._control, (start - _LONGEST_CONTROL_SEC,))
        during = (late for began, ended, late in self._control[first:] if began <= end and ended >= start)
        return max(during, default=0.0)


def _requests(events: Sequence[Event]) -> Iterator[Request]:
    ends = {event.operation: event for event in events if event.operation and event.kind is not Kind.INVOKE}
    for event in events:
        if event.kind is Kind.INVOKE and event.who != "nemesis":
            yield Request(invoked=event, ended=ends.get(event.operation))


def _faults(events: Sequence[Event], end: float) -> Mapping[str, Sequence[tuple[Span, Mapping[str, Any]]]]:
    begun: dict[int, Event] = {}
    found: dict[str, list[tuple[Span, Mapping[str, Any]]]] = defaultdict(list)
    for event in events:
        if event.who != "nemesis" or event.kind is Kind.INFO:
            continue
        if event.kind is Kind.INVOKE:
            begun[event.operation] = event
        else:
            start = begun.pop(event.operation)
            found[event.what].append((Span(start.at, event.at), start.facts))
    for event in begun.values():
        found[event.what].append((Span(event.at, end), event.facts))
    return found


def _gone(events: Sequence[Event]) -> Mapping[str, float]:
    """Return since when each process was on its way out, or gone."""
    gone: dict[str, float] = {}
    for event in events:
        if event.who == "nemesis" and event.what in {"kill", "term"} and event.kind is Kind.INVOKE:
            gone.setdefault(event.facts["target"], event.at)
        elif event.what == "ended":
            gone.setdefault(event.who, event.at)
    return gone


def covered(spans: Sequence[Span], start: float, end: float) -> float:
    """Return how much of the time between the two the spans cover, which are sorted by their start."""
    covered, at = 0.0, start
    for span in spans:
        low, high = max(at, span.start), min(end, span.end)
        if low < high:
            covered, at = covered + high - low, high
    return covered


def in_order(spans: Iterable[Span]) -> Sequence[Span]:
    """Return the spans in the order of their start, as `covered` wants them."""
    return sorted(spans, key=lambda span: span.start)
