"""Counting finished jobs: how many, how they ended, and how long they took.

Only booths' jobs count; tests of administrators do not. How long finished pictures took is kept as a
histogram whose classes grow by `CLASS_RATIO`, so that hours can be added up to days, and slots to the whole
installation; a percentile is therefore known to within 2.5 %, of a millisecond or more.
"""

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final

from photochanger.domain.errors import Problem, ValidationFailed
from photochanger.domain.job import Job, JobState
from photochanger.domain.slot import SlotId

CLASS_RATIO: Final = 1.05
MAX_BUCKETS: Final = 200
"""So many points are the most that a series may have."""

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
"""Buckets are counted from here, and nothing is older."""

HOUR: Final = timedelta(hours=1)
BUCKETS: Final[Mapping[str, timedelta]] = {
    "1m": timedelta(minutes=1),
    "5m": timedelta(minutes=5),
    "15m": timedelta(minutes=15),
    "1h": HOUR,
    "6h": timedelta(hours=6),
    "1d": timedelta(days=1),
}
"""How long the buckets of a series may be, by the name that callers use. Each divides the next."""

SETTLED_AFTER: Final = timedelta(minutes=1)
"""An hour is added up so long after its end: jobs are stored a little after the moment they ended at."""

_END_OF_TIME: Final = datetime(9999, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Period:
    """The time from `start` to just before `end`, in buckets of one length that begin at UTC's round times.

    Raises `ValidationFailed` for an end that is not after the start, for times before 1970 or after 9998, for
    a length that is none of `BUCKETS`, and for more than `MAX_BUCKETS` buckets.
    """

    start: datetime
    end: datetime
    bucket: timedelta

    def __post_init__(self) -> None:
        problems = [*self._time_problems(), *self._bucket_problems()]
        if not problems and len(self.moments()) > MAX_BUCKETS:
            message = f"must be longer: the period would have more than {MAX_BUCKETS} buckets"
            problems.append(Problem(field="bucket", code="too_small", message=message))
        if problems:
            raise ValidationFailed(problems)

    def _time_problems(self) -> Iterator[Problem]:
        for path, moment in (("from", self.start), ("to", self.end)):
            if not EPOCH <= moment <= _END_OF_TIME:
                yield Problem(field=path, code="out_of_range", message="must be between 1970 and 9998")
        if self.end <= self.start:
            yield Problem(field="to", code="out_of_range", message="must be later than from")

    def _bucket_problems(self) -> Iterator[Problem]:
        if self.bucket not in BUCKETS.values():
            yield Problem(field="bucket", code="unknown", message=f"must be one of {', '.join(BUCKETS)}")

    def moments(self) -> list[datetime]:
        """Return the beginning of every bucket, the first at or before `start`."""
        first = bucket_of(self.start, self.bucket)
        count = math.ceil((self.end - first) / self.bucket)
        return [first + number * self.bucket for number in range(min(count, MAX_BUCKETS + 1))]


def bucket_of(moment: datetime, length: timedelta) -> datetime:
    """Return the beginning of the bucket that `moment` is in, in UTC."""
    return EPOCH + (moment - EPOCH) // length * length


def shortest_bucket(start: datetime, end: datetime) -> timedelta:
    """Return the shortest bucket that a period can be shown in with fifty points or so; else the longest."""
    lengths = list(BUCKETS.values())
    return next((length for length in lengths if (end - start) / length <= 50), lengths[-1])


def class_of(duration: timedelta) -> int:
    """Return the histogram's class of a duration; class n holds those from `CLASS_RATIO`ⁿ ms on.

    Whatever is shorter than a millisecond is in class 0.
    """
    milliseconds = max(1.0, duration / timedelta(milliseconds=1))
    return math.floor(math.log(milliseconds) / math.log(CLASS_RATIO))


def middle_of(number: int) -> float:
    """Return the duration in the middle of a class, in seconds."""
    return math.sqrt(CLASS_RATIO) * CLASS_RATIO**number / 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """Jobs that became final: their number by state, and how long completed ones took, by class.

    Neither has an entry of nought, so that equal counts are equal tallies.
    """

    by_state: Mapping[JobState, int] = field(default_factory=dict)
    durations: Mapping[int, int] = field(default_factory=dict)

    @property
    def total(self) -> int:
        """All of them."""
        return sum(self.by_state.values())

    @property
    def success_share(self) -> float | None:
        """The share of completed jobs among those that nobody cancelled; None where there are none."""
        return self._share(JobState.COMPLETED)

    @property
    def timeout_share(self) -> float | None:
        """The share of those that missed their deadline."""
        return self._share(JobState.FAILED_TIMEOUT)

    @property
    def error_share(self) -> float | None:
        """The share of those that failed otherwise, at the provider or with us."""
        return self._share(JobState.FAILED_PROVIDER, JobState.FAILED_INTERNAL)

    def percentile(self, share: float) -> float | None:
        """Return the seconds within which `share` of the completed jobs were done; None without any."""
        needed = share * sum(self.durations.values())
        seen = 0
        for number in sorted(self.durations):
            seen += self.durations[number]
            if seen >= needed:
                return middle_of(number)
        return None

    def _share(self, *states: JobState) -> float | None:
        judged = self.total - self.by_state.get(JobState.CANCELLED, 0)
        if judged == 0:
            return None
        return sum(self.by_state.get(state, 0) for state in states) / judged


def counted(jobs: Iterable[Job]) -> Tally:
    """Return the tally of final jobs, one by one."""
    by_state: Counter[JobState] = Counter()
    durations: Counter[int] = Counter()
    for job in jobs:
        by_state[job.state] += 1
        if job.state is JobState.COMPLETED and job.finalized_at is not None:
            durations[class_of(job.finalized_at - job.created_at)] += 1
    return Tally(by_state=dict(by_state), durations=dict(durations))


def added(tallies: Iterable[Tally]) -> Tally:
    """Return the sum of tallies."""
    by_state: Counter[JobState] = Counter()
    durations: Counter[int] = Counter()
    for tally in tallies:
        by_state.update(tally.by_state)
        durations.update(tally.durations)
    return Tally(by_state=dict(by_state), durations=dict(durations))


@dataclass(frozen=True, slots=True, kw_only=True)
class Present:
    """What is going on now: jobs that wait, for how long the oldest, jobs under way, bytes of media."""

    queue_depth: int
    oldest_wait_sec: float
    under_way: int
    media_bytes: int


SlotTallies = Mapping[SlotId, Mapping[datetime, Tally]]
"""Tallies by slot and by the beginning of the bucket; slots and buckets without jobs are left out."""
