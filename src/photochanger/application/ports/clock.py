"""The port to time."""

from abc import abstractmethod
from datetime import datetime
from typing import Protocol


class Clock(Protocol):
    """The time in this process.

    What several processes share (deadlines, leases, times to live) is judged by the store's own clock,
    which comes with each `JobReading`; a process measures its own waits by `monotonic`.
    """

    @abstractmethod
    def now(self) -> datetime:
        """Return the wall-clock time, aware and in UTC. It may jump."""

    @abstractmethod
    def monotonic(self) -> float:
        """Return seconds since some fixed moment; never goes back, and is the event loop's own time."""
