"""Shows in the metrics what is going on: what waits, and what is stored."""

import math
from collections.abc import Callable

from photochanger.adapters.telemetry.metrics import Level, Metrics
from photochanger.application.ports import Statistics
from photochanger.domain.statistics import Present


class ShowPresent:
    """Reads what is going on, and remembers it for the metrics until it is read again; nothing yet is NaN.

    Raises `DatabaseUnavailable` where it cannot; the metrics then show what was so before.
    """

    def __init__(self, *, statistics: Statistics, metrics: Metrics) -> None:
        self._statistics = statistics
        self._present: Present | None = None
        metrics.watch(Level.QUEUE_DEPTH, self._level(lambda present: present.queue_depth))
        metrics.watch(Level.QUEUE_OLDEST_WAIT, self._level(lambda present: present.oldest_wait_sec))
        metrics.watch(Level.MEDIA_BYTES, self._level(lambda present: present.media_bytes))

    async def __call__(self) -> None:
        """Bring the metrics up to date."""
        self._present = await self._statistics.present()

    def _level(self, read: Callable[[Present], float]) -> Callable[[], float]:
        return lambda: math.nan if self._present is None else read(self._present)
