"""The rate: never more than it allows in any stretch of time, and never fewer than that either."""

from datetime import UTC, datetime, timedelta
from itertools import combinations_with_replacement

from hypothesis import given
from hypothesis import strategies as st

from photochanger.domain.rate import Rate

_BEGIN = datetime(2026, 1, 14, 12, tzinfo=UTC)
_RATES = st.builds(Rate, per_sec=st.floats(0.1, 10_000, allow_nan=False), burst=st.integers(1, 20))
_PAUSES = st.lists(st.integers(0, 3_000_000).map(lambda us: timedelta(microseconds=us)), max_size=40)


def _let_in(rate: Rate, pauses: list[timedelta]) -> list[datetime]:
    tat = now = _BEGIN
    let_in = []
    for pause in pauses:
        now += pause
        arrival = rate.arrive(tat, now)
        tat = arrival.tat
        if arrival.is_let_in:
            let_in.append(now)
    return let_in


@given(_RATES, _PAUSES)
def test_in_no_stretch_of_time_are_more_let_in_than_the_burst_and_the_rate_allow(
    rate: Rate, pauses: list[timedelta]
) -> None:
    times = _let_in(rate, pauses)
    for first, last in combinations_with_replacement(range(len(times)), 2):
        seconds = (times[last] - times[first]).total_seconds()
        assert last - first + 1 <= rate.burst + rate.per_sec * seconds + 1e-6


@given(_RATES, _PAUSES)
def test_who_comes_after_the_wait_is_let_in_and_who_comes_before_is_not(
    rate: Rate, pauses: list[timedelta]
) -> None:
    tat = now = _BEGIN
    for pause in pauses:
        now += pause
        arrival = rate.arrive(tat, now)
        tat = arrival.tat
        assert rate.arrive(tat, now + arrival.wait).is_let_in
        if arrival.wait:
            assert not rate.arrive(tat, now + arrival.wait - timedelta(microseconds=1)).is_let_in


@given(_RATES, _PAUSES)
def test_who_is_refused_changes_nothing(rate: Rate, pauses: list[timedelta]) -> None:
    tat = now = _BEGIN
    for pause in pauses:
        now += pause
        arrival = rate.arrive(tat, now)
        assert arrival.is_let_in or arrival.wait > timedelta(0)
        if not arrival.is_let_in:
            assert rate.arrive(arrival.tat, now) == arrival
        tat = arrival.tat


@given(_RATES, _PAUSES)
def test_after_a_pause_the_whole_burst_is_let_in_at_once(rate: Rate, pauses: list[timedelta]) -> None:
    pause = rate.burst * rate.interval
    times = _let_in(rate, [*pauses, pause, *[timedelta(0)] * (rate.burst + 5)])
    assert times.count(times[-1]) == rate.burst


@given(_RATES, _PAUSES)
def test_what_is_taken_back_may_come_again(rate: Rate, pauses: list[timedelta]) -> None:
    tat = now = _BEGIN
    for pause in pauses:
        now += pause
        arrival = rate.arrive(tat, now)
        if arrival.is_let_in:
            assert rate.arrive(rate.take_back(arrival.tat), now) == arrival
        tat = arrival.tat


@given(_RATES, _RATES)
def test_what_another_rate_has_made_holds_nobody_back_for_longer_than_a_burst(old: Rate, new: Rate) -> None:
    tat = _BEGIN
    for _ in range(old.burst):
        tat = old.arrive(tat, _BEGIN).tat
    arrival = new.arrive(tat, _BEGIN)
    assert arrival.wait <= new.interval
    assert new.arrive(arrival.tat, _BEGIN + arrival.wait).is_let_in


def test_a_clock_that_is_set_back_holds_nobody_back_for_longer_than_a_burst() -> None:
    rate = Rate(per_sec=10, burst=3)
    tat = rate.arrive(_BEGIN, _BEGIN).tat
    assert rate.arrive(tat, _BEGIN - timedelta(days=1)).wait <= rate.interval
