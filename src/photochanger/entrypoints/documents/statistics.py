"""Statistics: for which period, and how they are shown."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal, get_args

from msgspec import Meta, Struct

from photochanger.application.statistics import (
    AllSlotsStatistics,
    Point,
    ProviderQuota,
    SlotStatistics,
    SystemStatistics,
)
from photochanger.domain.job import FINAL_STATES, Job
from photochanger.domain.statistics import BUCKETS, Period, Tally
from photochanger.entrypoints.documents.jobs import JobView
from photochanger.entrypoints.documents.links import ResultLinks
from photochanger.entrypoints.documents.timestamps import Moment, Timestamp, rfc3339

BucketName = Literal["1m", "5m", "15m", "1h", "6h", "1d"]
if set(get_args(BucketName)) != set(BUCKETS):
    raise TypeError("the names of buckets here and in the domain differ")

_RENAMED = {"start": "from", "end": "to"}
_Share = Annotated[float | None, Meta(description="0 to 1, cancelled jobs aside; null without any job")]
_Seconds = Annotated[
    float | None,
    Meta(description="Seconds within which so many completed jobs were done, to 2.5 %; null without any"),
]


class StatisticsQuery(Struct, kw_only=True, forbid_unknown_fields=True, rename=_RENAMED):
    """For which period, in how long buckets."""

    start: Annotated[Moment | None, Meta(description="Finished at this time or later; a day before `to`")] = (
        None
    )
    end: Annotated[Moment | None, Meta(description="Finished before this time; now")] = None
    bucket: Annotated[
        BucketName | None, Meta(description="The length of the series' steps; such that they are about fifty")
    ] = None

    def period(self) -> dict[str, Any]:
        """Return the same as the use case takes it."""
        bucket = None if self.bucket is None else BUCKETS[self.bucket]
        return {"start": self.start, "end": self.end, "bucket": bucket}


class TallyView(Struct, kw_only=True):
    """How many jobs of booths ended, how, and how long completed ones took."""

    total: int
    by_status: dict[str, int]
    success_share: _Share
    timeout_share: _Share
    error_share: _Share
    p50_sec: _Seconds
    p95_sec: _Seconds
    p99_sec: _Seconds

    @classmethod
    def fields_of(cls, tally: Tally) -> dict[str, Any]:
        """Return what is shown of a tally; every final status has its number."""
        percentiles = {f"p{percent}_sec": tally.percentile(percent / 100) for percent in (50, 95, 99)}
        return {
            "total": tally.total,
            "by_status": {state.value: tally.by_state.get(state, 0) for state in sorted(FINAL_STATES)},
            "success_share": tally.success_share,
            "timeout_share": tally.timeout_share,
            "error_share": tally.error_share,
            **{name: None if sec is None else round(sec, 3) for name, sec in percentiles.items()},
        }


class PointView(TallyView, kw_only=True):
    """A step of a series: from its beginning for the length of a bucket."""

    start: Timestamp

    @classmethod
    def of(cls, point: Point) -> "PointView":
        """Return a step as it is shown."""
        return cls(start=rfc3339(point.start), **cls.fields_of(point.tally))


class QuotaView(Struct, kw_only=True):
    """How often a provider has been called, and may be; null where there is no limit."""

    provider: str
    this_minute: int
    today: int
    per_minute: int | None
    per_day: int | None

    @classmethod
    def of(cls, quota: ProviderQuota) -> "QuotaView":
        """Return a quota as it is shown."""
        return cls(
            provider=quota.used.provider,
            this_minute=quota.used.this_minute,
            today=quota.used.today,
            per_minute=quota.quota.per_minute,
            per_day=quota.quota.per_day,
        )


class SystemStatisticsView(Struct, kw_only=True, rename=_RENAMED):
    """The whole installation. Test runs are left out."""

    start: Timestamp
    end: Timestamp
    bucket: BucketName
    totals: TallyView
    series: list[PointView]
    queue_depth: Annotated[int, Meta(description="Jobs that wait for a worker now")]
    oldest_wait_sec: float
    under_way: int
    media_bytes: Annotated[int, Meta(description="Bytes of stored files, as the database knows them")]
    quotas: list[QuotaView]
    last_jobs: list[JobView]
    last_failures: list[JobView]

    @classmethod
    def of(cls, statistics: SystemStatistics, links: ResultLinks) -> "SystemStatisticsView":
        """Return the statistics as they are shown."""
        present = statistics.present
        return cls(
            **_period(statistics.period),
            totals=TallyView(**TallyView.fields_of(statistics.totals)),
            series=_series(statistics.series),
            queue_depth=present.queue_depth,
            oldest_wait_sec=round(present.oldest_wait_sec, 3),
            under_way=present.under_way,
            media_bytes=present.media_bytes,
            quotas=[QuotaView.of(quota) for quota in statistics.quotas],
            last_jobs=[JobView.of(job, links) for job in statistics.last_jobs],
            last_failures=[JobView.of(job, links) for job in statistics.last_failures],
        )


class SlotStatisticsView(Struct, kw_only=True):
    """One slot. Test runs are left out."""

    slot_id: str
    totals: TallyView
    series: list[PointView]
    last_job: JobView | None
    last_failure: JobView | None

    @classmethod
    def of(cls, slot: SlotStatistics, links: ResultLinks) -> "SlotStatisticsView":
        """Return a slot's statistics as they are shown."""
        return cls(
            slot_id=slot.slot_id,
            totals=TallyView(**TallyView.fields_of(slot.totals)),
            series=_series(slot.series),
            last_job=_job(slot.last_job, links),
            last_failure=_job(slot.last_failure, links),
        )


class AllSlotsStatisticsView(Struct, kw_only=True, rename=_RENAMED):
    """All fifteen slots, in the order of their ids."""

    start: Timestamp
    end: Timestamp
    bucket: BucketName
    items: list[SlotStatisticsView]

    @classmethod
    def of(cls, statistics: AllSlotsStatistics, links: ResultLinks) -> "AllSlotsStatisticsView":
        """Return the statistics as they are shown."""
        return cls(
            **_period(statistics.period),
            items=[SlotStatisticsView.of(slot, links) for slot in statistics.slots],
        )


def _period(period: Period) -> dict[str, Any]:
    [bucket] = [name for name, length in BUCKETS.items() if length == period.bucket]
    return {"start": rfc3339(period.start), "end": rfc3339(period.end), "bucket": bucket}


def _series(points: Sequence[Point]) -> list[PointView]:
    return [PointView.of(point) for point in points]


def _job(job: Job | None, links: ResultLinks) -> JobView | None:
    return None if job is None else JobView.of(job, links)
