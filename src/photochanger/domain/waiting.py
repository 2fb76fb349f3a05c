"""How long a photo would have to wait for its turn, and whether it can be served before its deadline.

A photo waits for a place at three lines at once: its slot's, its provider's, and the workers'. At each, so
many are served at a time. The work of those before it, in seconds of service, bounds its wait: as long as it
waits at a line, all places there are taken by those before it, so in `t` seconds they get `places × t`
seconds of work done; and those of one slot can get no more done than that slot's own places allow. The
longest `t` for which that is possible is the wait (R. L. Graham, Bounds on Multiprocessing Timing Anomalies,
SIAM Journal on Applied Mathematics 17, 1969, for places without limits of their own). It is a bound: most
wait less, by up to one time of service.

Two rules keep the estimate from doing harm where it is wrong. Where a place is free at every line, nobody is
refused, whatever is known: so nothing stands idle, and a provider that has become fast again is found out.
And who is in service for longer than others took counts with that time: so a provider that has become slow is
found out before the first photo ends.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from math import exp, sqrt
from typing import Final, NamedTuple

from photochanger.domain.slot import SlotId

SLOWER_SHARE: Final = 0.25
"""By so much of itself may a wait be longer than it is taken to be: the pace is that of jobs that are over,
and of a few; and the more photos come, the less the machine has left for jobs. A queue that is shorter by as
much leaves no place empty. But while more photos come than can be done, it is always as long as the estimate
allows; and where that was too much, all of it is late."""

DEVIATIONS: Final = 2.0
"""So many standard deviations besides, by which the jobs before may happen to be slower than their mean."""

SAFETY_SEC: Final = 0.5
"""So much time is left for what is not estimated: the way there and back."""

LONGEST_PROMISE_SEC: Final = 60.0
"""No caller is told to come back later than that."""

USE_LASTS_SEC: Final = 5.0
"""For about so long an observation of the places' use counts."""

LEAST_USE: Final = 0.05
"""Less use of the places than this is not taken for what can be made of them."""

_HALVINGS: Final = 30
_ROUNDING: Final = 1e-9
_LEAST_LEFT_SHARE: Final = 0.25
"""So much of a service is taken to be left at least, however long it has been going on."""


class Line(StrEnum):
    """Where a photo waits for its turn."""

    SLOT = "slot"
    PROVIDER = "provider"
    WORKERS = "workers"


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotTraffic:
    """Photos of one slot that are not done: still being sent, waiting for a worker, and under way.

    `in_service_sec` is how long the last have been under way, added up.
    """

    on_the_way: int = 0
    waiting: int = 0
    in_service: int = 0
    in_service_sec: float = 0.0

    @property
    def unfinished(self) -> int:
        """All of them."""
        return self.on_the_way + self.waiting + self.in_service


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """What is going on in the whole installation; slots without any are left out.

    `places` is how many jobs the workers that are there can do at once; None where none has told.
    """

    slots: Mapping[SlotId, SlotTraffic] = field(default_factory=dict)
    places: int | None = None

    @property
    def waiting(self) -> int:
        """Photos that wait for a worker, or soon will."""
        return sum(slot.on_the_way + slot.waiting for slot in self.slots.values())

    def with_another(self, slot_id: SlotId) -> "Traffic":
        """Return the same with one more photo on its way to the slot."""
        return self.with_others({slot_id: 1})

    def with_others(self, photos: Mapping[SlotId, int]) -> "Traffic":
        """Return the same with so many more photos on their way to these slots."""
        slots = dict(self.slots)
        for slot_id, more in photos.items():
            before = slots.get(slot_id, SlotTraffic())
            slots[slot_id] = replace(before, on_the_way=before.on_the_way + more)
        return replace(self, slots=slots)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How long the last jobs of a slot took with a provider, from being claimed to their end, in seconds.

    `mean_sec` and `deviation_sec` (the standard deviation of one) are those of all that a worker had,
    whatever became of them: so long was a place taken. `slow_sec` is what 98 of 100 that were completed did
    not exceed; nought where none was.
    """

    slot_id: SlotId
    provider: str
    jobs: int
    mean_sec: float
    deviation_sec: float = 0.0
    slow_sec: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Capacity:
    """How many jobs may be under way at once: of each slot, with its provider; and of each provider.

    A provider that is missing has no limit.
    """

    slots: Mapping[SlotId, tuple[str, int]]
    providers: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """When a photo that comes now would be served: after `starts_in_sec`, for `takes_sec`.

    The first may be wrong by `unsure_sec`, its standard deviation. `line` is where it would wait longest,
    None where it would not wait at all; there a place is free again every `gap_sec`.
    """

    starts_in_sec: float = 0.0
    unsure_sec: float = 0.0
    takes_sec: float = 0.0
    line: Line | None = None
    gap_sec: float = 0.0

    def late_by_sec(self, time_left_sec: float) -> float | None:
        """Return by how much it would miss a deadline `time_left_sec` from now; None where it would not.

        A photo that need not wait is in time by definition.
        """
        if self.line is None:
            return None
        starts_in_sec = self.starts_in_sec * (1 + SLOWER_SHARE) + DEVIATIONS * self.unsure_sec
        late = starts_in_sec + self.takes_sec + SAFETY_SEC - time_left_sec
        return late if late > 0 else None


def has_free_places(slot_id: SlotId, traffic: Traffic, capacity: Capacity) -> bool:
    """Say whether a photo for `slot_id` would find a place free at every line: it is never refused then."""
    queues = _queues(slot_id, traffic, capacity, paces=())
    return not any(queue.is_full() for queue in queues.values())


def forecast(
    slot_id: SlotId, traffic: Traffic, capacity: Capacity, paces: Sequence[Pace], *, use: float = 1.0
) -> Forecast:
    """Return when a photo for `slot_id` would be served, after all that are there already.

    `use` is which share of the places is taken while photos wait (`UseOfPlaces`).

    Where nothing is known of a slot's pace, its provider's other slots stand for it; where nothing is known
    of these either, only what is under way tells anything.
    """
    waits = {line: queue.wait() for line, queue in _queues(slot_id, traffic, capacity, paces).items()}
    line, wait = max(waits.items(), key=lambda item: item[1].wait_sec)
    if wait.wait_sec == 0:
        return Forecast()
    pace = _pace(slot_id, capacity.slots[slot_id][0], paces)
    return Forecast(
        starts_in_sec=wait.wait_sec / use,
        unsure_sec=wait.unsure_sec,
        takes_sec=(pace.slow_sec or pace.mean_sec) if pace else 0.0,
        line=line,
        gap_sec=wait.gap_sec / use,
    )


def use_of_places(traffic: Traffic, capacity: Capacity) -> float | None:
    """Return which share of the places that could be taken are taken; None where nobody waits for one.

    Where places stay empty although somebody waits, it is the machine that is too slow to fill them.
    """
    if not any(slot.waiting for slot in traffic.slots.values()):
        return None
    there = {slot_id: replace(slot, on_the_way=0) for slot_id, slot in traffic.slots.items()}
    groups = _by_provider(_works(replace(traffic, slots=there), capacity, paces=()), capacity)
    could = sum(group.taken() for group in groups)
    could = could if traffic.places is None else min(could, traffic.places)
    taken = sum(slot.in_service for slot in there.values())
    return min(1.0, taken / could) if could else None


class UseOfPlaces:
    """The share of the places that was taken lately while photos waited, as a moving average.

    By Little's law, photos are done at the rate at which all places together would do them, times this.
    """

    def __init__(self) -> None:
        self.share = 1.0
        self._seen_at: float | None = None

    def see(self, now: float, share: float | None) -> None:
        """Take an observation at `now`, in seconds on any clock; None: nobody waited."""
        elapsed = 0.0 if self._seen_at is None else max(0.0, now - self._seen_at)
        self._seen_at = now
        weight = 1 - exp(-elapsed / USE_LASTS_SEC)
        observed = 1.0 if share is None else max(share, LEAST_USE)
        self.share += weight * (observed - self.share)


def promise_sec(wait_sec: float, *, last_sec: float, gap_sec: float) -> float:
    """Return when to tell a refused caller to come back, in seconds from now.

    Not before there is room again (`wait_sec`), and not when the last one was told to come, which is in
    `last_sec`, but one `gap_sec` later: who all come back at once would be refused once more.
    """
    return min(max(wait_sec, last_sec + gap_sec), max(wait_sec, LONGEST_PROMISE_SEC))


def _pace(slot_id: SlotId, provider: str, paces: Sequence[Pace]) -> Pace | None:
    """Return the slot's own pace with the provider, else that of all slots with it together."""
    of_provider = [pace for pace in paces if pace.provider == provider]
    own = [pace for pace in of_provider if pace.slot_id == slot_id]
    if own or not of_provider:
        return own[0] if own else None
    slowest = max(of_provider, key=lambda pace: pace.slow_sec)
    jobs = sum(pace.jobs for pace in of_provider)
    mean_sec = sum(pace.mean_sec * pace.jobs for pace in of_provider) / jobs
    return replace(slowest, jobs=jobs, mean_sec=mean_sec)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Work:
    """What one slot's photos are and need: `left_sec` of service, at `places` at most."""

    slot_id: SlotId
    provider: str
    places: int
    photos: int
    mean_sec: float
    deviation_sec: float
    left_sec: float


def _works(traffic: Traffic, capacity: Capacity, paces: Sequence[Pace]) -> Sequence[_Work]:
    return [
        _work(slot_id, slot, *capacity.slots[slot_id], paces)
        for slot_id, slot in traffic.slots.items()
        if slot_id in capacity.slots
    ]


def _work(slot_id: SlotId, slot: SlotTraffic, provider: str, places: int, paces: Sequence[Pace]) -> _Work:
    pace = _pace(slot_id, provider, paces)
    elapsed_sec = slot.in_service_sec / slot.in_service if slot.in_service else 0.0
    mean_sec = max(pace.mean_sec if pace else 0.0, elapsed_sec)
    of_each_under_way = max(mean_sec - elapsed_sec, _LEAST_LEFT_SHARE * mean_sec)
    return _Work(
        slot_id=slot_id,
        provider=provider,
        places=places,
        photos=slot.unfinished,
        mean_sec=mean_sec,
        deviation_sec=pace.deviation_sec if pace else 0.0,
        left_sec=(slot.on_the_way + slot.waiting) * mean_sec + slot.in_service * of_each_under_way,
    )


@dataclass(frozen=True, slots=True)
class _Group:
    """Slots that have so many places together; None: no limit."""

    works: Sequence[_Work]
    places: int | None = None

    def taken(self) -> float:
        """Return how many places they take as long as all of their photos are there."""
        return self._within(self.places, sum(min(work.photos, work.places) for work in self.works))

    def done_in(self, seconds: float) -> float:
        """Return how much of their work can be done in so many seconds."""
        done = sum(min(work.left_sec, work.places * seconds) for work in self.works)
        return self._within(None if self.places is None else self.places * seconds, done)

    @staticmethod
    def _within(most: float | None, value: float) -> float:
        return value if most is None else min(value, most)


def _by_provider(works: Sequence[_Work], capacity: Capacity) -> Sequence[_Group]:
    return [
        _Group([work for work in works if work.provider == provider], capacity.providers.get(provider))
        for provider in {work.provider for work in works}
    ]


class _Wait(NamedTuple):
    wait_sec: float = 0.0
    unsure_sec: float = 0.0
    gap_sec: float = 0.0


@dataclass(frozen=True, slots=True)
class _Queue:
    """Who is before a photo at one of the lines, and how many places there are; None: no limit."""

    groups: Sequence[_Group]
    places: int | None

    def is_full(self) -> bool:
        """Say whether those before take all places."""
        return self.places is not None and sum(group.taken() for group in self.groups) >= self.places

    def wait(self) -> _Wait:
        """Return the longest time for which they can keep all places taken, and how often one is free."""
        if self.places is None or not self.is_full():
            return _Wait()
        works = [work for group in self.groups for work in group.works]
        possible, impossible = 0.0, sum(work.left_sec for work in works) / self.places
        for _ in range(_HALVINGS):
            middle = (possible + impossible) / 2
            done = sum(group.done_in(middle) for group in self.groups)
            if done >= self.places * middle * (1 - _ROUNDING):
                possible = middle
            else:
                impossible = middle
        photos = sum(work.photos for work in works)
        return _Wait(
            wait_sec=possible,
            unsure_sec=sqrt(sum(work.photos * work.deviation_sec**2 for work in works)) / self.places,
            gap_sec=sum(work.photos * work.mean_sec for work in works) / photos / self.places,
        )


def _queues(
    slot_id: SlotId, traffic: Traffic, capacity: Capacity, paces: Sequence[Pace]
) -> Mapping[Line, _Queue]:
    works = _works(traffic, capacity, paces)
    provider, places = capacity.slots[slot_id]
    of_slot = [work for work in works if work.slot_id == slot_id]
    of_provider = [work for work in works if work.provider == provider]
    return {
        Line.SLOT: _Queue([_Group(of_slot)], places),
        Line.PROVIDER: _Queue([_Group(of_provider)], capacity.providers.get(provider)),
        Line.WORKERS: _Queue(_by_provider(works, capacity), traffic.places),
    }
