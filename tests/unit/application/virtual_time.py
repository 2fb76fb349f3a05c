"""An event loop whose time passes only while everybody waits: ten minutes take a second."""

import asyncio
import selectors
from collections.abc import Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from photochanger.application.ports import Clock

T = TypeVar("T")

_NOON = datetime(2026, 1, 14, 12, tzinfo=UTC)


class _Selector(selectors.SelectSelector):
    """Never waits: what would have been waited for has then passed."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        if timeout is None:
            raise RuntimeError("everybody waits for nothing")
        self.now += max(0.0, timeout)
        return super().select(0)


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """For coroutines that use no threads and no sockets."""

    def __init__(self) -> None:
        self._clockwork = _Selector()
        super().__init__(self._clockwork)

    def time(self) -> float:
        """Return the seconds that have been waited."""
        return self._clockwork.now


class VirtualClock(Clock):
    """The clock of the running loop."""

    def now(self) -> datetime:
        return _NOON + timedelta(seconds=self.monotonic())

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()


def run(scenario: Coroutine[Any, Any, T]) -> T:
    """Run the scenario to its end."""
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(scenario)
