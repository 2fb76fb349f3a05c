"""Quotas: how often a provider may be called, in a minute and in a day.

Both are fixed windows of UTC, of one length for everybody: the minute and the day that it is now.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum


class QuotaWindow(StrEnum):
    """A stretch of time in which calls are counted; the next begins at nought."""

    MINUTE = "minute"
    DAY = "day"

    @property
    def length(self) -> timedelta:
        """How long it is."""
        return timedelta(minutes=1) if self is QuotaWindow.MINUTE else timedelta(days=1)

    def start(self, now: datetime) -> datetime:
        """Return the beginning of the window that `now` is in."""
        minute = now.astimezone(UTC).replace(second=0, microsecond=0)
        return minute if self is QuotaWindow.MINUTE else minute.replace(hour=0, minute=0)

    def end(self, now: datetime) -> datetime:
        """Return the end of the window that `now` is in, which is the beginning of the next."""
        return self.start(now) + self.length


@dataclass(frozen=True, slots=True, kw_only=True)
class Quota:
    """How many calls of a provider are allowed in a minute and in a day; None where there is no limit."""

    per_minute: int | None = None
    per_day: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderUsed:
    """How often a provider has been called in the present minute and on the present day."""

    provider: str
    this_minute: int
    today: int
