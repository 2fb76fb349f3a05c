"""The contract of `Statistics`.

What is expected is counted here out of the jobs themselves, as they are stored in the end: where time is real
they took a little longer than they were told to.
"""

import asyncio
import random
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final, TypeAlias

import pytest

from photochanger.application.ports.jobs import JobReading
from photochanger.domain.job import Job, JobSource, JobState
from photochanger.domain.media import MediaKind
from photochanger.domain.slot import SLOT_IDS, SlotId
from photochanger.domain.statistics import (
    BUCKETS,
    CLASS_RATIO,
    MAX_BUCKETS,
    SETTLED_AFTER,
    Period,
    Present,
    Tally,
    added,
    bucket_of,
    class_of,
)
from photochanger.testing.harness import (
    A_SLOT,
    AN_INSTANT,
    ANOTHER_SLOT,
    HOUR,
    MINUTE,
    SECOND,
    Records,
    RecordsContract,
    a_job_in,
    announced,
    present,
)

Figures: TypeAlias = Mapping[SlotId, Mapping[datetime, Tally]]
"""Tallies by slot and bucket, and of all slots together as of one slot more: `ALL`."""

ALL: Final = SlotId("all")

DAY = timedelta(days=1)
STATES: Final = (
    JobState.COMPLETED,
    JobState.FAILED_TIMEOUT,
    JobState.FAILED_PROVIDER,
    JobState.FAILED_INTERNAL,
)
BOUNDARIES: Final = [
    timedelta(milliseconds=1) * CLASS_RATIO**number for number in (0, 1, 2, 50, 150, 226, 280)
]
"""Where classes begin: a millisecond and the next two, 11 ms, 1.5 s, a minute, a quarter of an hour."""


async def _stored(records: Records, readings: Sequence[JobReading]) -> list[Job]:
    return [(await present(records, reading)).job for reading in readings]


async def _now(records: Records) -> datetime:
    image = await announced(records, MediaKind.PREVIEW)
    reading = await records.media.peek(image.media_id)
    assert reading is not None
    return reading.now


def _expected(jobs: Sequence[Job], period: Period) -> Figures:
    states: dict[tuple[SlotId, datetime], Counter[JobState]] = defaultdict(Counter)
    classes: dict[tuple[SlotId, datetime], Counter[int]] = defaultdict(Counter)
    for job in jobs:
        if job.source is JobSource.TEST or job.finalized_at is None:
            continue
        if not period.start <= job.finalized_at < period.end:
            continue
        for whose in (job.slot_id, ALL):
            key = (whose, bucket_of(job.finalized_at, period.bucket))
            states[key][job.state] += 1
            if job.state is JobState.COMPLETED:
                classes[key][class_of(job.finalized_at - job.created_at)] += 1
    figures: dict[SlotId, dict[datetime, Tally]] = defaultdict(dict)
    for (whose, start), by_state in states.items():
        figures[whose][start] = Tally(by_state=by_state, durations=classes[whose, start])
    return figures


async def _figures(records: Records, period: Period) -> Figures:
    series = await records.statistics.series(period)
    return {**await records.statistics.tallies(period), **({ALL: series} if series else {})}


def _some_periods(dice: random.Random, now: datetime) -> Iterator[Period]:
    """Yield periods in the last three days that begin and end at any instant, and one at full hours."""
    for bucket in BUCKETS.values():
        for _ in range(2):
            longest = min(3 * DAY, (MAX_BUCKETS - 1) * bucket)
            end = now - dice.random() * DAY
            yield Period(start=end - dice.random() * longest - AN_INSTANT, end=end, bucket=bucket)
    end = bucket_of(now, HOUR)
    yield Period(start=end - 2 * DAY, end=end, bucket=HOUR)
    yield Period(start=now - 4 * DAY, end=now + HOUR, bucket=DAY)


async def _some_jobs(records: Records, dice: random.Random) -> list[JobReading]:
    """Make jobs of all kinds, spread over some two days."""
    readings = []
    for _ in range(25):
        readings.append(
            await a_job_in(
                records,
                dice.choice(STATES),
                slot_id=dice.choice(SLOT_IDS[:3]),
                source=dice.choice([JobSource.BOOTH] * 4 + [JobSource.TEST]),
                took=timedelta(milliseconds=dice.lognormvariate(8, 3)),
            )
        )
        await records.time_passes(dice.random() ** 2 * 6 * HOUR)
    return readings


async def _rolled_up(records: Records, *, limit: int) -> int:
    """Add up all that there is to add up, and return how many hours it was."""
    hours = 0
    while step := await records.statistics.roll_up(limit=limit):
        assert step <= limit
        hours += step
    return hours


class StatisticsContract(RecordsContract):
    """Every sentence of `Statistics`; override the fixture `records`."""

    @pytest.mark.parametrize("seed", range(3))
    async def test_figures_are_what_the_jobs_say_before_and_after_they_are_added_up(
        self, records: Records, seed: int
    ) -> None:
        dice = random.Random(seed)
        jobs = await _stored(records, await _some_jobs(records, dice))
        periods = list(_some_periods(dice, await _now(records)))
        expected = [_expected(jobs, period) for period in periods]
        assert any(len(figures) > 2 for figures in expected)
        for limit in (0, 1, 7, 30, 100):
            await records.statistics.roll_up(limit=limit)
            assert [await _figures(records, period) for period in periods] == expected

    async def test_jobs_that_end_after_the_adding_up_are_counted_too(self, records: Records) -> None:
        readings = [await a_job_in(records, JobState.COMPLETED)]
        await records.time_passes(3 * HOUR)
        assert await _rolled_up(records, limit=2) >= 2
        readings += [await a_job_in(records, JobState.FAILED_TIMEOUT, took=timedelta(0)) for _ in range(3)]
        jobs = await _stored(records, readings)
        end = await _now(records) + SECOND
        for bucket in BUCKETS.values():
            period = Period(start=end - min(DAY, 150 * bucket), end=end, bucket=bucket)
            assert await _figures(records, period) == _expected(jobs, period)

    @pytest.mark.parametrize("boundary", BOUNDARIES)
    async def test_how_long_completed_jobs_took_is_told_by_the_domains_classes(
        self, records: Records, boundary: timedelta
    ) -> None:
        readings = [
            await a_job_in(records, JobState.COMPLETED, took=took)
            for took in (boundary - AN_INSTANT, boundary, boundary + AN_INSTANT)
        ]
        jobs = await _stored(records, readings)
        end = await _now(records) + SECOND
        for _ in range(2):
            for start in (end - DAY, end - 150 * MINUTE):
                period = Period(start=start, end=end, bucket=HOUR if start == end - DAY else MINUTE)
                assert await _figures(records, period) == _expected(jobs, period)
            await _rolled_up(records, limit=100)

    async def test_the_start_is_inside_a_period_and_the_end_is_not(self, records: Records) -> None:
        [job] = await _stored(records, [await a_job_in(records, JobState.COMPLETED)])
        at = job.finalized_at
        assert at is not None
        for bucket in (MINUTE, HOUR, DAY):
            inside = Period(start=at, end=at + AN_INSTANT, bucket=bucket)
            assert set(await records.statistics.series(inside)) == {bucket_of(at, bucket)}
            assert set(await records.statistics.tallies(inside)) == {job.slot_id}
            for outside in (
                Period(start=at - MINUTE, end=at, bucket=bucket),
                Period(start=at + AN_INSTANT, end=at + MINUTE, bucket=bucket),
            ):
                assert await _figures(records, outside) == {}

    async def test_a_job_counts_by_its_end_and_not_by_its_submission(self, records: Records) -> None:
        [job] = await _stored(records, [await a_job_in(records, JobState.COMPLETED, took=5 * HOUR)])
        ended_at = job.finalized_at
        assert ended_at is not None
        period = Period(start=job.created_at, end=ended_at + SECOND, bucket=HOUR)
        assert list(await records.statistics.series(period)) == [bucket_of(ended_at, HOUR)]

    @pytest.mark.parametrize("state", STATES)
    async def test_tests_and_unfinished_jobs_are_left_out(self, records: Records, state: JobState) -> None:
        await a_job_in(records, state, source=JobSource.TEST)
        await records.time_passes(2 * HOUR)
        await a_job_in(records, JobState.PROCESSING)
        await a_job_in(records, JobState.PENDING)
        end = await _now(records) + SECOND
        for _ in range(2):
            assert await _figures(records, Period(start=end - DAY, end=end, bucket=HOUR)) == {}
            assert await _rolled_up(records, limit=100) == 0

    async def test_slots_are_told_apart_and_added_up_in_the_series(self, records: Records) -> None:
        for slot_id in (A_SLOT, ANOTHER_SLOT, A_SLOT):
            await a_job_in(records, JobState.FAILED_PROVIDER, slot_id=slot_id)
        end = await _now(records) + SECOND
        period = Period(start=end - DAY, end=end, bucket=DAY)
        tallies = await records.statistics.tallies(period)
        totals = {slot_id: added(buckets.values()) for slot_id, buckets in tallies.items()}
        assert totals == {
            A_SLOT: Tally(by_state={JobState.FAILED_PROVIDER: 2}),
            ANOTHER_SLOT: Tally(by_state={JobState.FAILED_PROVIDER: 1}),
        }
        series = await records.statistics.series(period)
        assert added(series.values()) == Tally(by_state={JobState.FAILED_PROVIDER: 3})

    async def test_hours_are_added_up_from_the_first_job_on_and_once(self, records: Records) -> None:
        await a_job_in(records, JobState.COMPLETED)
        await records.time_passes(30 * HOUR)
        readings = [await a_job_in(records, JobState.COMPLETED, took=timedelta(0))]
        await records.time_passes(5 * HOUR)
        assert await records.statistics.roll_up(limit=3) == 3
        # What is between the third hour and the next job is passed over.
        [job] = await _stored(records, readings)
        assert job.finalized_at is not None
        shortest, hours, longest = [
            await self._hours_since(records, job.finalized_at),
            await records.statistics.roll_up(limit=100),
            await self._hours_since(records, job.finalized_at),
        ]
        assert shortest <= hours <= longest
        assert await records.statistics.roll_up(limit=100) == 0

    async def _hours_since(self, records: Records, first: datetime) -> int:
        return (bucket_of(await _now(records) - SETTLED_AFTER, HOUR) - bucket_of(first, HOUR)) // HOUR

    async def test_an_hour_that_is_not_over_is_not_added_up(self, records: Records) -> None:
        for state in STATES:
            await a_job_in(records, state, took=timedelta(0))
        assert await records.statistics.roll_up(limit=100) == 0

    async def test_without_a_job_there_is_nothing_to_add_up(self, records: Records) -> None:
        assert await records.statistics.roll_up(limit=100) == 0
        end = await _now(records)
        assert await _figures(records, Period(start=end - DAY, end=end, bucket=HOUR)) == {}

    async def test_any_number_may_add_up_at_once(self, records: Records) -> None:
        readings = []
        for _ in range(4):
            readings.append(await a_job_in(records, JobState.COMPLETED))
            await records.time_passes(6 * HOUR)
        jobs = await _stored(records, readings)
        end = await _now(records)
        periods = [Period(start=end - 2 * DAY, end=end, bucket=bucket) for bucket in (HOUR, 6 * HOUR, DAY)]
        expected = [_expected(jobs, period) for period in periods]
        while sum(await asyncio.gather(*(records.statistics.roll_up(limit=1) for _ in range(6)))):
            assert [await _figures(records, period) for period in periods] == expected

    async def test_where_nothing_goes_on_all_is_nought(self, records: Records) -> None:
        nothing = Present(queue_depth=0, oldest_wait_sec=0, under_way=0, media_bytes=0)
        assert await records.statistics.present() == nothing

    async def test_what_goes_on_is_told_of_all_jobs(self, records: Records) -> None:
        for source in JobSource:
            await a_job_in(records, JobState.PROCESSING, source=source)
        first = await a_job_in(records, JobState.PENDING, source=JobSource.TEST)
        await records.time_passes(MINUTE)
        await a_job_in(records, JobState.PENDING)
        before = await present(records, first)
        told = await records.statistics.present()
        after = await present(records, first)
        assert (told.queue_depth, told.under_way) == (2, 2)
        waits = [(reading.now - reading.job.created_at).total_seconds() for reading in (before, after)]
        assert waits[0] <= told.oldest_wait_sec <= waits[1]
        assert waits[0] >= MINUTE.total_seconds()

    async def test_only_files_that_are_stored_are_weighed(self, records: Records) -> None:
        await announced(records, MediaKind.PREVIEW)
        reading = await a_job_in(records, JobState.PENDING)
        payload = await records.media.get(reading.job.payload_id)
        assert payload is not None
        assert (await records.statistics.present()).media_bytes == payload.size_bytes
        await records.media.condemn([payload.media_id])
        assert (await records.statistics.present()).media_bytes == 0
