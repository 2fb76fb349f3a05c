"""The contract of `Clock`."""

import asyncio
from datetime import timedelta

import pytest

from photochanger.application.ports.clock import Clock
from photochanger.testing.harness import AsyncContract


class ClockContract(AsyncContract):
    """Every sentence of `Clock`; override the fixture `clock`.

    A clock that is set by hand is not the event loop's: it sets `follows_event_loop` to False.
    """

    follows_event_loop = True

    @pytest.fixture
    def clock(self) -> Clock:
        """Return the clock to test."""
        raise NotImplementedError("override the fixture `clock`")

    async def test_now_is_aware_and_in_utc(self, clock: Clock) -> None:
        assert clock.now().utcoffset() == timedelta(0)

    async def test_monotonic_never_goes_back(self, clock: Clock) -> None:
        readings = [clock.monotonic() for _ in range(1_000)]
        assert readings == sorted(readings)

    async def test_monotonic_is_the_event_loops_time(self, clock: Clock) -> None:
        if self.follows_event_loop:
            for _ in range(3):
                await asyncio.sleep(0.01)
                assert clock.monotonic() == pytest.approx(asyncio.get_running_loop().time(), abs=0.1)
