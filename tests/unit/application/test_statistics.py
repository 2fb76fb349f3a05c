"""What administrators see of the installation and of each slot."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from photochanger.adapters.memory import ManualClock, MemoryStorage
from photochanger.application.configuration import CurrentConfiguration
from photochanger.application.statistics import LAST_JOBS, ReadStatistics
from photochanger.domain.errors import ValidationFailed
from photochanger.domain.job import JobSource, JobState
from photochanger.domain.quota import ProviderUsed, Quota
from photochanger.domain.settings import LimitSettings
from photochanger.domain.slot import SLOT_IDS
from photochanger.domain.statistics import BUCKETS, HOUR, Period, Present, Tally, class_of
from photochanger.testing.harness import A_SLOT, ANOTHER_SLOT, MINUTE, SECOND, a_job_in

pytestmark = pytest.mark.anyio

DAY = timedelta(days=1)


class _House(MemoryStorage):
    """Everything in memory, with the use case on top of it."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        super().__init__(self.clock)
        self.configuration = CurrentConfiguration(
            slots=self.slots, settings=self.settings, signals=self.signals, clock=self.clock
        )
        self.read = ReadStatistics(
            statistics=self.statistics,
            history=self.history,
            usage=self.usage,
            configuration=self.configuration,
            providers=["rehearsal", "gemini"],
            clock=self.clock,
        )

    async def time_passes(self, by: timedelta) -> None:
        self.clock.advance(by)


@pytest.fixture
def house() -> Iterator[_House]:
    house = _House()
    yield house
    house.configuration.close()


async def test_by_default_it_is_the_last_day_by_hours(house: _House) -> None:
    await house.time_passes(10 * MINUTE)
    now = house.clock.now()
    period = Period(start=now - DAY, end=now, bucket=HOUR)
    told = await house.read.system()
    assert told.period == period
    assert [point.start for point in told.series] == period.moments()
    assert [point.tally for point in told.series] == [Tally()] * 25
    assert (await house.read.slots()).period == period


async def test_what_is_given_is_what_is_read(house: _House) -> None:
    now = house.clock.now()
    for start, end, bucket, expected in [
        (now - HOUR, None, None, (now - HOUR, now, BUCKETS["5m"])),
        (None, now - HOUR, None, (now - HOUR - DAY, now - HOUR, HOUR)),
        (now - 30 * DAY, now - 29 * DAY, BUCKETS["6h"], (now - 30 * DAY, now - 29 * DAY, BUCKETS["6h"])),
        (now - 30 * DAY, None, None, (now - 30 * DAY, now, DAY)),
    ]:
        for told in (await house.read.system(start, end, bucket), await house.read.slots(start, end, bucket)):
            assert (told.period.start, told.period.end, told.period.bucket) == expected


async def test_what_cannot_be_a_period_is_refused(house: _House) -> None:
    now = house.clock.now()
    for start, end, bucket in [
        (now, now, None),
        (now + HOUR, None, None),
        (now - DAY, None, timedelta(0)),
        (now - DAY, None, MINUTE),
        (None, datetime.min.replace(tzinfo=UTC), None),
    ]:
        for read in (house.read.system, house.read.slots):
            with pytest.raises(ValidationFailed):
                await read(start, end, bucket)


async def test_counts_are_of_booths_jobs_and_of_the_period(house: _House) -> None:
    await a_job_in(house, JobState.COMPLETED)
    await house.time_passes(DAY)
    begin = house.clock.now()
    await a_job_in(house, JobState.COMPLETED, took=3 * SECOND)
    await house.time_passes(2 * HOUR)
    await a_job_in(house, JobState.FAILED_TIMEOUT)
    await a_job_in(house, JobState.COMPLETED, source=JobSource.TEST)
    await house.time_passes(SECOND)
    told = await house.read.system(begin, None, HOUR)
    completed = Tally(by_state={JobState.COMPLETED: 1}, durations={class_of(3 * SECOND): 1})
    timed_out = Tally(by_state={JobState.FAILED_TIMEOUT: 1})
    assert [point.tally for point in told.series] == [completed, Tally(), timed_out]
    assert told.totals.by_state == {JobState.COMPLETED: 1, JobState.FAILED_TIMEOUT: 1}
    assert told.totals.success_share == 0.5


async def test_what_is_going_on_is_told(house: _House) -> None:
    waiting = await a_job_in(house, JobState.PENDING)
    payload = await house.media.get(waiting.job.payload_id)
    assert payload is not None
    assert payload.size_bytes is not None
    await house.time_passes(7 * SECOND)
    assert (await house.read.system()).present == Present(
        queue_depth=1, oldest_wait_sec=7, under_way=0, media_bytes=payload.size_bytes
    )


async def test_quotas_are_those_of_every_provider_used_or_not(house: _House) -> None:
    limits = LimitSettings(quota_per_minute={"gemini": 9}, quota_per_day={"gemini": 90, "gone": 5})
    house.records.settings = replace(house.records.settings, limits=limits)
    for provider in ("gemini", "gemini", "gone"):
        await house.usage.take(provider, Quota())
    told = (await house.read.system()).quotas
    assert [(each.used, each.quota) for each in told] == [
        (ProviderUsed(provider="gemini", this_minute=2, today=2), Quota(per_minute=9, per_day=90)),
        (ProviderUsed(provider="gone", this_minute=1, today=1), Quota(per_day=5)),
        (ProviderUsed(provider="rehearsal", this_minute=0, today=0), Quota()),
    ]


async def test_the_last_jobs_and_the_last_failures_come_the_newest_first(house: _House) -> None:
    failed, others = [], []
    for number in range(LAST_JOBS + 3):
        failed.append((await a_job_in(house, JobState.FAILED_PROVIDER)).job)
        others.append((await a_job_in(house, JobState.COMPLETED)).job)
        await house.time_passes((number + 1) * DAY)
    waiting = (await a_job_in(house, JobState.PENDING)).job
    await a_job_in(house, JobState.PENDING, source=JobSource.TEST)
    told = await house.read.system()
    everything = sorted(
        [*failed, *others, waiting], key=lambda job: (job.created_at, job.job_id), reverse=True
    )
    assert told.last_jobs == everything[:LAST_JOBS]
    assert told.last_jobs[0] == waiting
    assert told.last_failures == failed[::-1][:LAST_JOBS]
    assert {job.failure_reason for job in told.last_failures} == {"provider_no_image"}


async def test_every_slot_is_told_of_with_its_own_counts_and_last_jobs(house: _House) -> None:
    old_failure = (await a_job_in(house, JobState.FAILED_INTERNAL)).job
    await a_job_in(house, JobState.FAILED_INTERNAL, source=JobSource.TEST, slot_id=SLOT_IDS[5])
    await house.time_passes(9 * DAY)
    begin = house.clock.now()
    mine = (await a_job_in(house, JobState.COMPLETED, took=5 * SECOND)).job
    other = (await a_job_in(house, JobState.FAILED_TIMEOUT, slot_id=ANOTHER_SLOT)).job
    await house.time_passes(SECOND)
    told = await house.read.slots(begin, begin + DAY, HOUR)
    assert tuple(slot.slot_id for slot in told.slots) == SLOT_IDS
    first, second, *rest = told.slots
    assert (first.slot_id, first.last_job, first.last_failure) == (A_SLOT, mine, old_failure)
    assert first.totals == Tally(by_state={JobState.COMPLETED: 1}, durations={class_of(5 * SECOND): 1})
    assert (second.slot_id, second.last_job, second.last_failure) == (ANOTHER_SLOT, other, other)
    assert second.totals == Tally(by_state={JobState.FAILED_TIMEOUT: 1})
    for slot in (first, second):
        assert [point.start for point in slot.series] == told.period.moments()
        assert [point.tally for point in slot.series if point.tally.total] == [slot.totals]
    assert {(slot.totals.total, slot.last_job, slot.last_failure) for slot in rest} == {(0, None, None)}
    assert all([point.start for point in slot.series] == told.period.moments() for slot in rest)
