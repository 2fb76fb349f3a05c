"""The estimate of a wait: its rules, and what comes of it when far more photos come than can be done."""

import heapq
import random
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from photochanger.domain.slot import SLOT_IDS, SlotId
from photochanger.domain.waiting import (
    LONGEST_PROMISE_SEC,
    SLOWER_SHARE,
    Capacity,
    Forecast,
    Line,
    Pace,
    SlotTraffic,
    Traffic,
    UseOfPlaces,
    forecast,
    has_free_places,
    promise_sec,
    use_of_places,
)

A, B = SLOT_IDS[:2]


def capacity(
    *, a: int = 4, b: int = 4, providers: dict[str, int] | None = None, b_provider: str = "p"
) -> Capacity:
    return Capacity(slots={A: ("p", a), B: (b_provider, b)}, providers=providers or {})


def pace(slot_id: SlotId = A, seconds: float = 5.0, *, provider: str = "p") -> Pace:
    return Pace(slot_id=slot_id, provider=provider, jobs=100, mean_sec=seconds, slow_sec=seconds)


def busy(in_service: int, waiting: int = 0, *, elapsed_sec: float = 0.0, on_the_way: int = 0) -> SlotTraffic:
    return SlotTraffic(
        on_the_way=on_the_way,
        waiting=waiting,
        in_service=in_service,
        in_service_sec=in_service * elapsed_sec,
    )


def of_a(slot: SlotTraffic, *, places: int | None = None) -> Forecast:
    return forecast(A, Traffic(slots={A: slot}, places=places), capacity(), [pace()])


class TestForecast:
    def test_where_a_place_is_free_nobody_waits(self) -> None:
        assert of_a(busy(3)) == Forecast()
        assert of_a(busy(3)).late_by_sec(0.0) is None

    def test_the_places_of_photos_that_are_being_sent_are_taken(self) -> None:
        assert of_a(busy(2, on_the_way=1, waiting=1)).line is Line.SLOT

    def test_the_wait_is_the_work_before_it_shared_by_the_places(self) -> None:
        found = of_a(busy(4, 8, elapsed_sec=2.0))
        assert found.starts_in_sec == pytest.approx((4 * 3 + 8 * 5) / 4)
        assert (found.line, found.takes_sec, found.gap_sec) == (Line.SLOT, 5.0, 5 / 4)

    def test_it_is_late_by_what_the_wait_and_the_service_exceed_the_time_left(self) -> None:
        found = of_a(busy(4, 8))
        slower_sec = 15 * SLOWER_SHARE
        assert found.late_by_sec(15 + slower_sec + 5 + 0.5) is None
        assert found.late_by_sec(15) == pytest.approx(slower_sec + 5.5)

    def test_the_workers_places_are_shared_by_all_slots(self) -> None:
        traffic = Traffic(slots={A: busy(2, 10), B: busy(4)}, places=6)
        found = forecast(A, traffic, capacity(a=20), [pace(A), pace(B)])
        assert found.line is Line.WORKERS
        assert found.starts_in_sec == pytest.approx(16 * 5 / 6)

    def test_a_slot_can_keep_others_waiting_with_its_own_places_only(self) -> None:
        traffic = Traffic(slots={A: busy(4, 100)}, places=5)
        assert forecast(B, traffic, capacity(), [pace()]) == Forecast()
        assert forecast(B, Traffic(slots=traffic.slots, places=4), capacity(), [pace()]).line is Line.WORKERS

    def test_so_it_is_at_a_provider_with_a_limit(self) -> None:
        traffic = Traffic(slots={A: busy(4, 100), B: busy(1)})
        free = capacity(providers={"p": 6})
        full = capacity(providers={"p": 5})
        assert forecast(B, traffic, free, [pace()]) == Forecast()
        assert forecast(B, traffic, full, [pace()]).line is Line.PROVIDER
        elsewhere = capacity(providers={"p": 5}, b_provider="q")
        assert forecast(B, traffic, elsewhere, [pace()]) == Forecast()

    def test_a_provider_can_keep_workers_busy_with_its_own_places_only(self) -> None:
        traffic = Traffic(slots={A: busy(2, 100)}, places=3)
        limited = capacity(providers={"p": 2}, b_provider="q")
        assert forecast(B, traffic, limited, [pace()]) == Forecast()

    def test_without_a_pace_of_its_own_the_providers_other_slots_stand_for_it(self) -> None:
        paces = [pace(B, 7.0), pace(A, 99.0, provider="q")]
        found = forecast(A, Traffic(slots={A: busy(4)}), capacity(), paces)
        assert found.starts_in_sec == pytest.approx(7)
        assert found.takes_sec == 7

    def test_where_nothing_is_known_what_is_under_way_tells(self) -> None:
        new = forecast(A, Traffic(slots={A: busy(4, 100)}), capacity(), [])
        assert new.late_by_sec(10) is None
        slow = forecast(A, Traffic(slots={A: busy(4, 100, elapsed_sec=3.0)}), capacity(), [])
        assert slow.late_by_sec(48) is not None

    def test_a_provider_that_has_become_slow_is_found_out_before_a_job_ends(self) -> None:
        before, after = (of_a(busy(4, 8, elapsed_sec=elapsed)).starts_in_sec for elapsed in (5.0, 30.0))
        assert after > 5 * before

    def test_slots_that_are_not_known_are_passed_over(self) -> None:
        traffic = Traffic(slots={SLOT_IDS[7]: busy(4, 100)}, places=1)
        assert has_free_places(A, traffic, capacity())

    def test_another_photo_on_its_way_counts(self) -> None:
        traffic = Traffic(places=3).with_another(A).with_another(A)
        assert (traffic.slots, traffic.places) == ({A: SlotTraffic(on_the_way=2)}, 3)
        assert traffic.waiting == 2


class TestUseOfPlaces:
    def test_where_nobody_waits_nothing_is_seen(self) -> None:
        assert use_of_places(Traffic(slots={A: busy(1, on_the_way=9)}, places=8), capacity()) is None

    @pytest.mark.parametrize(
        ("slots", "places", "providers", "share"),
        [
            ({A: busy(4, 9)}, None, {}, 1.0),
            ({A: busy(1, 9)}, None, {}, 0.25),
            ({A: busy(1, 1)}, None, {}, 0.5),
            ({A: busy(1, 9), B: busy(2)}, None, {}, 0.5),
            ({A: busy(1, 9), B: busy(2)}, 3, {}, 1.0),
            ({A: busy(1, 9), B: busy(2)}, None, {"p": 3}, 1.0),
            ({A: busy(9, 9)}, 4, {}, 1.0),
        ],
    )
    def test_it_is_the_share_of_those_that_could_be_taken(
        self, slots: dict[SlotId, SlotTraffic], places: int | None, providers: dict[str, int], share: float
    ) -> None:
        assert use_of_places(Traffic(slots=slots, places=places), capacity(providers=providers)) == share

    def test_what_lasts_is_taken_for_what_can_be_had_and_what_passes_is_not(self) -> None:
        use = UseOfPlaces()
        for tenth in range(300):
            use.see(tenth / 10, 0.5)
        assert use.share == pytest.approx(0.5, abs=0.01)
        use.see(30.1, 1.0)
        assert use.share < 0.55
        for tenth in range(302, 600):
            use.see(tenth / 10, None)
        assert use.share > 0.99

    def test_the_wait_is_as_much_longer(self) -> None:
        traffic = Traffic(slots={A: busy(4, 8)})
        full, half = (forecast(A, traffic, capacity(), [pace()], use=use) for use in (1.0, 0.5))
        assert half.starts_in_sec == 2 * full.starts_in_sec


_SLOTS = st.builds(
    SlotTraffic,
    on_the_way=st.integers(0, 30),
    waiting=st.integers(0, 30),
    in_service=st.integers(0, 8),
    in_service_sec=st.floats(0, 100),
)
_TRAFFIC = st.builds(
    Traffic,
    slots=st.dictionaries(st.sampled_from([A, B]), _SLOTS),
    places=st.none() | st.integers(1, 20),
)
_CAPACITIES = st.builds(
    capacity,
    a=st.integers(1, 10),
    b=st.integers(1, 10),
    providers=st.dictionaries(st.just("p"), st.integers(1, 10)),
    b_provider=st.sampled_from("pq"),
)


@given(_TRAFFIC, _CAPACITIES, st.floats(0.01, 40))
def test_more_traffic_never_makes_the_wait_shorter(traffic: Traffic, limits: Capacity, sec: float) -> None:
    paces = [pace(A, sec), pace(B, sec), pace(B, sec, provider="q")]
    before = forecast(A, traffic, limits, paces)
    after = forecast(A, traffic.with_another(B), limits, paces)
    assert after.starts_in_sec >= before.starts_in_sec - 1e-6


@given(_TRAFFIC, _CAPACITIES, st.floats(0.01, 40), st.floats(0, 60))
def test_nobody_is_refused_while_a_place_is_free(
    traffic: Traffic, limits: Capacity, sec: float, time_left_sec: float
) -> None:
    if has_free_places(A, traffic, limits):
        assert forecast(A, traffic, limits, [pace(A, sec)]).late_by_sec(time_left_sec) is None


class TestPromise:
    def test_the_first_is_told_when_there_is_room(self) -> None:
        assert promise_sec(3.0, last_sec=0.0, gap_sec=0.5) == 3.0

    def test_each_is_told_another_time(self) -> None:
        assert promise_sec(3.0, last_sec=3.0, gap_sec=0.5) == 3.5

    def test_nobody_is_told_a_very_late_one_but_where_it_takes_so_long(self) -> None:
        assert promise_sec(3.0, last_sec=1000.0, gap_sec=0.5) == LONGEST_PROMISE_SEC
        assert promise_sec(100.0, last_sec=1000.0, gap_sec=0.5) == 100.0


Service = Callable[[random.Random], float]


def steady(seconds: float) -> Service:
    return lambda _: seconds


def lognormal(mean: float, sigma: float = 0.4) -> Service:
    return lambda dice: mean * dice.lognormvariate(-sigma * sigma / 2, sigma)


@dataclass
class Hall:
    """Booths, a queue in the order of arrival, and places: in virtual time.

    A photo that is not done by its deadline leaves its place, or the queue, and is late. A place stays empty
    for `pause_sec` after each photo.
    """

    service: Service
    places: int
    slot_places: int
    deadline_sec: float
    seed: int
    pause_sec: float = 0.0
    resting: list[float] = field(default_factory=list)
    use: UseOfPlaces = field(default_factory=UseOfPlaces)
    ended: list[float] = field(default_factory=list)
    queue: list[float] = field(default_factory=list)
    serving: list[tuple[float, float, bool]] = field(default_factory=list)
    in_time: int = 0
    late: int = 0
    busy_sec: float = 0.0
    paces: Sequence[Pace] = ()
    paces_read_at: float = -9.0

    def __post_init__(self) -> None:
        self.dice = random.Random(self.seed)

    @property
    def usable(self) -> int:
        return min(self.places, self.slot_places)

    def photo(self, now: float) -> Forecast:
        """Send a photo; it is taken where the forecast says that it will be done in time."""
        self._go_on_until(now)
        under_way = [now - begun for _, begun, _ in self.serving]
        slot = SlotTraffic(waiting=len(self.queue), in_service=len(under_way), in_service_sec=sum(under_way))
        limits = Capacity(slots={A: ("p", self.slot_places)}, providers={})
        traffic = Traffic(slots={A: slot}, places=self.places)
        self.use.see(now, use_of_places(traffic, limits))
        found = forecast(A, traffic, limits, self._paces(now), use=self.use.share)
        if found.late_by_sec(self.deadline_sec) is None:
            self.queue.append(now + self.deadline_sec)
            self._fill_places(now)
        return found

    def end(self) -> None:
        """Let everything end that is not done."""
        self._go_on_until(float("inf"))

    def _go_on_until(self, now: float) -> None:
        while moments := [*self.resting[:1], *(end for end, _, _ in self.serving[:1])]:
            if (moment := min(moments)) > now:
                return
            if self.resting and self.resting[0] == moment:
                heapq.heappop(self.resting)
                self._fill_places(moment)
                continue
            end, begun, is_in_time = heapq.heappop(self.serving)
            if self.pause_sec:
                heapq.heappush(self.resting, end + self.pause_sec)
            self.ended.append(end - begun)
            self.in_time += is_in_time
            self.late += not is_in_time
            self._fill_places(end)

    def _fill_places(self, now: float) -> None:
        while self.queue and len(self.serving) + len(self.resting) < self.usable:
            deadline = self.queue.pop(0)
            end = now + self.service(self.dice)
            if deadline <= now:
                self.late += 1
                continue
            heapq.heappush(self.serving, (min(end, deadline), now, end <= deadline))
            self.busy_sec += min(end, deadline) - now

    def _paces(self, now: float) -> Sequence[Pace]:
        last = sorted(self.ended[-100:])
        if last and now - self.paces_read_at > 1.0:
            self.paces_read_at = now
            self.paces = [
                Pace(
                    slot_id=A,
                    provider="p",
                    jobs=len(last),
                    mean_sec=statistics.fmean(last),
                    deviation_sec=statistics.pstdev(last),
                    slow_sec=last[int(0.98 * (len(last) - 1))],
                )
            ]
        return self.paces


def arrivals(rate: float, seconds: float, seed: int) -> Iterator[float]:
    """Yield times at which photos come, independently of one another."""
    dice, now = random.Random(-seed), 0.0
    while (now := now + dice.expovariate(rate)) < seconds:
        yield now


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("times", [1.5, 10.0])
@pytest.mark.parametrize(
    ("places", "slot_places", "service", "deadline_sec"),
    [
        pytest.param(8, 8, lognormal(5), 48.0, id="eight places"),
        pytest.param(16, 4, lognormal(2), 20.0, id="a slot's limit"),
        pytest.param(8, 16, lognormal(1), 10.0, id="a short time-out"),
        pytest.param(2, 2, steady(4), 48.0, id="two places"),
    ],
)
def test_under_steady_overload_what_is_taken_is_done_in_time_and_nothing_stands_idle(
    places: int, slot_places: int, service: Service, deadline_sec: float, times: float, seed: int
) -> None:
    hall = Hall(service, places, slot_places, deadline_sec, seed)
    hall.ended += [service(hall.dice) for _ in range(100)]
    rate = times * hall.usable / statistics.fmean(hall.ended)
    for now in arrivals(rate, 150.0, seed):
        hall.photo(now)
    used = hall.busy_sec / (hall.usable * 150.0)
    hall.end()

    assert hall.in_time / (hall.in_time + hall.late) >= 0.99
    assert used >= 0.9


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("times", [1.5, 10.0])
@pytest.mark.parametrize(
    ("places", "service", "deadline_sec"),
    [
        pytest.param(8, lognormal(5), 48.0, id="eight places"),
        pytest.param(8, lognormal(12), 48.0, id="long calls"),
        pytest.param(2, steady(4), 48.0, id="two places"),
        pytest.param(8, steady(0.5), 20.0, id="short calls"),
    ],
)
def test_jobs_that_take_a_fifth_longer_from_the_beginning_of_the_overload_on_are_done_in_time(
    places: int, service: Service, deadline_sec: float, times: float, seed: int
) -> None:
    """As they do: the flood itself takes from what the machine has for jobs."""
    hall = Hall(lambda dice: 1.2 * service(dice), places, places, deadline_sec, seed)
    hall.ended += [service(hall.dice) for _ in range(100)]
    for now in arrivals(times * places / statistics.fmean(hall.ended), 150.0, seed):
        hall.photo(now)
    hall.end()

    assert hall.late / (hall.in_time + hall.late) <= 0.005


@pytest.mark.parametrize(("pause_sec", "share_late"), [(0.2, 0.01), (1.0, 0.01), (3.0, 0.06)])
def test_places_that_are_slowly_filled_count_for_less(pause_sec: float, share_late: float) -> None:
    hall = Hall(lognormal(1), 8, 8, 20.0, seed=1, pause_sec=pause_sec)
    hall.ended += [hall.service(hall.dice) for _ in range(100)]
    early = 0
    for now in arrivals(80.0, 150.0, 1):
        hall.photo(now)
        early = early if now > 60 else hall.late
    hall.end()

    assert (hall.late - early) / (hall.in_time + hall.late) <= share_late


@pytest.mark.parametrize("seed", range(5))
def test_who_comes_back_when_told_to_is_nearly_always_taken(seed: int) -> None:
    """A burst of three times what can be done in time: all who are refused come back once."""
    hall = Hall(lognormal(5), 8, 8, 48.0, seed)
    hall.ended += [hall.service(hall.dice) for _ in range(100)]
    last_sec, told = 0.0, []
    for _ in range(200):
        found = hall.photo(0.0)
        if (late := found.late_by_sec(hall.deadline_sec)) is not None:
            last_sec = promise_sec(late, last_sec=last_sec, gap_sec=found.gap_sec)
            told.append(last_sec)
    refused = [told_sec for told_sec in told if told_sec < LONGEST_PROMISE_SEC]
    again = [hall.photo(told_sec).late_by_sec(hall.deadline_sec) for told_sec in sorted(refused)]

    assert len(refused) > 50
    assert again.count(None) / len(again) >= 0.8


def test_a_provider_that_becomes_slow_delays_few_and_one_that_is_fast_again_is_found_out() -> None:
    hall = Hall(steady(0.2), 8, 8, 20.0, seed=1)
    hall.ended += [0.2] * 100
    for now in arrivals(20.0, 60.0, 1):
        hall.service = steady(4.0 if 20 <= now < 40 else 0.2)
        hall.photo(now)
    found = hall.photo(60.0)
    hall.end()

    assert hall.late / (hall.in_time + hall.late) < 0.02
    assert found.late_by_sec(20.0) is None
