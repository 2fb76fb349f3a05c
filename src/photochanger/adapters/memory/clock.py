"""A clock that stands still until it is told to move."""

from datetime import UTC, datetime, timedelta

from photochanger.application.ports.clock import Clock

_NOON = datetime(2026, 1, 14, 12, tzinfo=UTC)


class ManualClock(Clock):
    """A clock for tests: time passes only by `advance`, and the wall clock jumps only by `set_now`."""

    def __init__(self, now: datetime = _NOON, *, monotonic: float = 0.0) -> None:
        self._now = now.astimezone(UTC)
        self._monotonic = monotonic

    def now(self) -> datetime:
        """Return the wall-clock time as it was last set."""
        return self._now

    def monotonic(self) -> float:
        """Return the seconds that have been let pass."""
        return self._monotonic

    def advance(self, by: timedelta) -> None:
        """Let time pass on both clocks. Raises `ValueError` where `by` is negative: time never goes back."""
        if by < timedelta(0):
            raise ValueError("time does not go back; to let the wall clock jump, use set_now")
        self._now += by
        self._monotonic += by.total_seconds()

    def set_now(self, now: datetime) -> None:
        """Let the wall clock jump, in either direction; the monotonic clock does not notice."""
        self._now = now.astimezone(UTC)
