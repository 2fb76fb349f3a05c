"""What administrators see of the installation and of each slot: counts, what is going on, the last jobs."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from photochanger.application.configuration import CurrentConfiguration
from photochanger.application.ports.administration import JobFilter, JobHistory, Statistics
from photochanger.application.ports.clock import Clock
from photochanger.application.ports.providers import ProviderUsage
from photochanger.domain.job import Job, JobSource, JobState
from photochanger.domain.quota import ProviderUsed, Quota
from photochanger.domain.slot import SLOT_IDS, SlotId
from photochanger.domain.statistics import EPOCH, Period, Present, Tally, added, shortest_bucket

DEFAULT_LENGTH: Final = timedelta(hours=24)
LAST_JOBS: Final = 10
FAILED: Final = frozenset({JobState.FAILED_TIMEOUT, JobState.FAILED_PROVIDER, JobState.FAILED_INTERNAL})
"""The states of jobs that failed; who cancels one knows of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """A bucket of a series: its beginning, and the jobs that ended in it, perhaps none."""

    start: datetime
    tally: Tally


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderQuota:
    """How often a provider has been called in the present minute and on the present day, and may be."""

    used: ProviderUsed
    quota: Quota


@dataclass(frozen=True, slots=True, kw_only=True)
class SystemStatistics:
    """The installation: booths' jobs of the period, what is going on now, and the last jobs."""

    period: Period
    totals: Tally
    series: Sequence[Point]
    present: Present
    quotas: Sequence[ProviderQuota]
    last_jobs: Sequence[Job]
    last_failures: Sequence[Job]


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotStatistics:
    """A slot: booths' jobs of the period, and the last of them and its last failure ever."""

    slot_id: SlotId
    totals: Tally
    series: Sequence[Point]
    last_job: Job | None
    last_failure: Job | None


@dataclass(frozen=True, slots=True, kw_only=True)
class AllSlotsStatistics:
    """Every slot, in the order of their ids, for one period."""

    period: Period
    slots: Sequence[SlotStatistics]


class ReadStatistics:
    """Reads statistics for a period: by default the last 24 hours, in buckets that make some fifty points.

    `providers` are the names of those that this installation has. Raises `ValidationFailed` for what cannot
    be a period. However many jobs there are, and for all slots together, it is a handful of statements.
    """

    def __init__(
        self,
        *,
        statistics: Statistics,
        history: JobHistory,
        usage: ProviderUsage,
        configuration: CurrentConfiguration,
        providers: Collection[str],
        clock: Clock,
    ) -> None:
        self._statistics = statistics
        self._history = history
        self._usage = usage
        self._configuration = configuration
        self._providers = providers
        self._clock = clock

    async def system(
        self,
        start: datetime | None = None,
        end: datetime | None = None,
        bucket: timedelta | None = None,
    ) -> SystemStatistics:
        """Return the statistics of the installation."""
        period = self._period(start, end, bucket)
        series = await self._statistics.series(period)
        return SystemStatistics(
            period=period,
            totals=added(series.values()),
            series=_points(period, series),
            present=await self._statistics.present(),
            quotas=await self._quotas(),
            last_jobs=await self._last(None),
            last_failures=await self._last(FAILED),
        )

    async def slots(
        self,
        start: datetime | None = None,
        end: datetime | None = None,
        bucket: timedelta | None = None,
    ) -> AllSlotsStatistics:
        """Return the statistics of each slot."""
        period = self._period(start, end, bucket)
        tallies = await self._statistics.tallies(period)
        last_jobs = await self._history.latest(JobSource.BOOTH)
        last_failures = await self._history.latest(JobSource.BOOTH, FAILED)
        slots = [
            SlotStatistics(
                slot_id=slot_id,
                totals=added(tallies.get(slot_id, {}).values()),
                series=_points(period, tallies.get(slot_id, {})),
                last_job=last_jobs.get(slot_id),
                last_failure=last_failures.get(slot_id),
            )
            for slot_id in SLOT_IDS
        ]
        return AllSlotsStatistics(period=period, slots=slots)

    async def _last(self, states: Collection[JobState] | None) -> Sequence[Job]:
        wanted = JobFilter(source=JobSource.BOOTH, states=states)
        return await self._history.page(wanted, limit=LAST_JOBS)

    def _period(self, start: datetime | None, end: datetime | None, bucket: timedelta | None) -> Period:
        until = self._clock.now() if end is None else end
        since = max(until, EPOCH + DEFAULT_LENGTH) - DEFAULT_LENGTH if start is None else start
        length = shortest_bucket(since, until) if bucket is None else bucket
        return Period(start=since, end=until, bucket=length)

    async def _quotas(self) -> Sequence[ProviderQuota]:
        limits = (await self._configuration.get()).settings.limits
        counted = {used.provider: used for used in await self._usage.used()}
        return [
            ProviderQuota(
                used=counted.get(name, ProviderUsed(provider=name, this_minute=0, today=0)),
                quota=limits.quota(name),
            )
            for name in sorted({*self._providers, *counted})
        ]


def _points(period: Period, tallies: Mapping[datetime, Tally]) -> Sequence[Point]:
    nothing = Tally()
    return [Point(start=start, tally=tallies.get(start, nothing)) for start in period.moments()]
