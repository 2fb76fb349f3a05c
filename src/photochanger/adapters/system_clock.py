"""The computer's clock."""

import time
from datetime import UTC, datetime

from photochanger.application.ports.clock import Clock


class SystemClock(Clock):
    """The computer's clock. asyncio and uvloop both take their time from the same monotonic clock."""

    def now(self) -> datetime:
        """Return the wall-clock time, aware and in UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Return the event loop's time, in seconds."""
        return time.monotonic()
