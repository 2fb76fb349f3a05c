"""How long things live: deadlines of jobs, links and results.

A time to live is over *at* its end, not after it: at `expires_at` exactly, the answer is already 410.
"""

from datetime import datetime, timedelta
from typing import Final

MIN_SYNC_RESPONSE_SEC: Final = 10
MAX_SYNC_RESPONSE_SEC: Final = 60
DEFAULT_SYNC_RESPONSE_SEC: Final = 48

MIN_RETENTION_HOURS: Final = 24
MAX_RETENTION_HOURS: Final = 168
DEFAULT_RETENTION_HOURS: Final = 72


def has_passed(moment: datetime, *, now: datetime) -> bool:
    """Say whether `moment` (a deadline, the end of a lease or of a time to live) has come."""
    return now >= moment


def result_expires_at(finalized_at: datetime, retention: timedelta) -> datetime:
    """Return when a result ends that was finalised at `finalized_at`."""
    return finalized_at + retention


def time_left(moment: datetime, *, now: datetime) -> timedelta:
    """Return the time until `moment`, never less than zero."""
    return max(moment - now, timedelta(0))
