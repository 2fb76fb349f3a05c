"""The rate at which photos may come in: so many a second, and so many at once after a pause.

The rule is the generic cell rate algorithm in its form of virtual scheduling (ITU-T Recommendation I.371,
Annex A; ATM Forum, Traffic Management 4.0, 4.4.2). All that is remembered is one moment, the theoretical
arrival time (TAT): when the next photo would come if all of them came evenly. One that comes before it is let
in as long as it is not earlier by more than the tolerance.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from math import ceil


@dataclass(frozen=True, slots=True)
class Arrival:
    """What became of a photo that came: whether it is let in, and the TAT from then on.

    `wait` is how long nobody is let in from now on; nought where the next may come at once.
    """

    is_let_in: bool
    tat: datetime
    wait: timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """`per_sec` photos a second, and `burst` of them at once.

    In no stretch of `t` seconds are more than `burst + per_sec × t` let in. The times are whole microseconds;
    so as not to let in too many, the time between two photos is rounded up.
    """

    per_sec: float
    burst: int

    @property
    def interval(self) -> timedelta:
        """The time between two photos that come evenly."""
        return timedelta(microseconds=ceil(1_000_000 / self.per_sec))

    @property
    def tolerance(self) -> timedelta:
        """How much before the TAT a photo may come."""
        return (self.burst - 1) * self.interval

    def arrive(self, tat: datetime, now: datetime) -> Arrival:
        """Return what becomes of a photo that comes `now`.

        No TAT is taken, and left, later than this rate can make it: what another rate has made, or a clock
        that was set back, holds nobody back for longer than this rate would.
        """
        tat = min(tat, now + self.burst * self.interval)
        is_let_in = tat - self.tolerance <= now
        if is_let_in:
            tat = max(tat, now) + self.interval
        return Arrival(is_let_in, tat, max(tat - self.tolerance - now, timedelta(0)))

    def take_back(self, tat: datetime) -> datetime:
        """Return the TAT as if a photo that was let in had not come."""
        return tat - self.interval
