"""The clock that is set by hand."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from photochanger.adapters.memory import ManualClock

_START = datetime(2026, 1, 14, 12, tzinfo=UTC)


def test_it_stands_still() -> None:
    clock = ManualClock(_START, monotonic=5.0)
    assert [clock.now(), clock.now()] == [_START, _START]
    assert clock.monotonic() == 5.0


def test_time_passes_on_both_clocks() -> None:
    clock = ManualClock(_START)
    clock.advance(timedelta(seconds=1.5))
    assert (clock.now() - _START, clock.monotonic()) == (timedelta(seconds=1.5), 1.5)


def test_time_does_not_go_back() -> None:
    with pytest.raises(ValueError, match="go back"):
        ManualClock().advance(timedelta(microseconds=-1))


def test_the_wall_clock_can_jump_without_the_monotonic_one() -> None:
    clock = ManualClock(_START)
    clock.set_now(_START - timedelta(days=1))
    assert (clock.now(), clock.monotonic()) == (_START - timedelta(days=1), 0.0)


def test_any_time_zone_is_turned_into_utc() -> None:
    moscow = timezone(timedelta(hours=3))
    clock = ManualClock(datetime(2026, 1, 14, 15, tzinfo=moscow))
    assert clock.now() == _START
    assert clock.now().utcoffset() == timedelta(0)
