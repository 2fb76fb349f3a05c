"""Boundaries that only a clock that is set by hand can hit exactly."""

from datetime import datetime, timedelta

import pytest

from photochanger.adapters.memory import ManualClock, MemoryStorage
from photochanger.application.ports import Verdict
from photochanger.domain.job import JobEvent, JobResult, JobState, ResultSource
from photochanger.domain.media import MediaKind
from photochanger.domain.quota import ProviderUsed, Quota
from photochanger.testing.harness import (
    AN_INSTANT,
    HOUR,
    MINUTE,
    Records,
    a_pending_job,
    a_processing_job,
    an_image,
    announced,
    success,
)

pytestmark = pytest.mark.anyio


class _Records(MemoryStorage):
    def __init__(self) -> None:
        self.clock = ManualClock()
        super().__init__(self.clock)

    async def time_passes(self, by: timedelta) -> None:
        self.clock.advance(by)


@pytest.fixture
def records() -> Records:
    return _Records()


async def test_the_deadline_is_exact_to_the_microsecond(records: Records) -> None:
    pending = await a_pending_job(records, time_left=MINUTE)
    await records.time_passes(MINUTE - AN_INSTANT)
    [early] = await records.jobs.expire([pending.job.job_id])
    await records.time_passes(AN_INSTANT)
    [due] = await records.jobs.expire([pending.job.job_id])
    assert (early.job.state, due.job.state) == (JobState.PENDING, JobState.FAILED_TIMEOUT)
    assert due.job.finalized_at == due.job.deadline


@pytest.mark.parametrize(("late", "wins"), [(-AN_INSTANT, True), (timedelta(0), False)])
async def test_success_is_possible_until_the_deadline_and_not_at_it(
    records: Records, late: timedelta, wins: bool
) -> None:
    claimed = await a_processing_job(records, time_left=MINUTE, lease=2 * MINUTE)
    verdict = await success(records)
    await records.time_passes(MINUTE + late)
    finished = await records.jobs.finalize(claimed.job.job_id, verdict, fence=1)
    assert (finished is not None) is wins


async def test_a_lease_has_lapsed_at_its_end(records: Records) -> None:
    claimed = await a_processing_job(records, time_left=2 * MINUTE, lease=MINUTE)
    await records.time_passes(MINUTE - AN_INSTANT)
    assert await records.jobs.renew(claimed.job.job_id, fence=1, lease=MINUTE)
    await records.time_passes(MINUTE)
    assert not await records.jobs.renew(claimed.job.job_id, fence=1, lease=MINUTE)


async def test_a_wall_clock_set_back_does_not_end_a_job_before_it_began() -> None:
    records = _Records()
    claimed = await a_processing_job(records, time_left=MINUTE)
    records.clock.set_now(records.clock.now() - timedelta(hours=1))
    finished = await records.jobs.finalize(claimed.job.job_id, await success(records), fence=1)
    assert finished is not None
    assert finished.job.finalized_at == claimed.job.started_at


@pytest.mark.parametrize("event", [JobEvent.CANCEL_REQUESTED, JobEvent.DEADLINE_PASSED, JobEvent.RELEASED])
def test_a_verdict_is_a_workers(event: JobEvent) -> None:
    with pytest.raises(ValueError, match="verdict"):
        Verdict(event=event, attempts=1, failure_reason="timeout")


async def test_a_window_ends_at_its_end_and_not_before() -> None:
    records = _Records()
    records.clock.set_now(datetime.fromisoformat("2026-01-14T23:58:59.500Z"))
    quota = Quota(per_minute=1, per_day=2)
    assert await records.usage.take("p", quota) is None
    assert await records.usage.take("p", quota) == 0.5
    await records.time_passes(timedelta(seconds=0.5))
    assert await records.usage.take("p", quota) is None
    assert await records.usage.take("p", quota) == 60
    await records.time_passes(timedelta(minutes=1) - AN_INSTANT)
    assert await records.usage.take("p", quota) == pytest.approx(0.000001)
    await records.time_passes(AN_INSTANT)
    assert await records.usage.take("p", quota) is None
    assert await records.usage.used() == [ProviderUsed(provider="p", this_minute=1, today=1)]


async def test_a_link_ends_at_its_end_and_not_before(records: Records) -> None:
    image = await announced(records, MediaKind.PROVIDER_LINK)
    await records.media.offer(image)
    await records.time_passes(HOUR)
    late = await records.media.fetch(image.media_id)
    assert late is not None
    assert late.now == late.media.expires_at
    assert late.media.fetched_at is None


@pytest.mark.parametrize(
    ("event", "source", "reason"),
    [
        (JobEvent.SUCCEEDED, None, None),
        (JobEvent.SUCCEEDED, ResultSource.ORIGINAL, None),
        (JobEvent.SUCCEEDED, ResultSource.PROVIDER, "provider_error"),
        (JobEvent.PROVIDER_FAILED, None, None),
        (JobEvent.PROVIDER_FAILED, ResultSource.ORIGINAL, None),
        (JobEvent.PROVIDER_FAILED, ResultSource.PROVIDER, "provider_error"),
        (JobEvent.INTERNALLY_FAILED, ResultSource.FALLBACK, "internal_error"),
    ],
)
def test_a_verdict_is_success_with_a_picture_or_failure_with_a_reason(
    event: JobEvent, source: ResultSource | None, reason: str | None
) -> None:
    result = None if source is None else JobResult(image=an_image(), preview=an_image(), source=source)
    with pytest.raises(ValueError, match=r"success"):
        Verdict(event=event, attempts=1, result=result, failure_reason=reason)
