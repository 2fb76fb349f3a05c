"""Ended jobs are counted once, whoever tried to end them."""

import asyncio
from collections.abc import Callable
from datetime import timedelta

import pytest

from photochanger.adapters.memory import ManualClock, MemoryStorage
from photochanger.adapters.telemetry.counted_jobs import CountedJobs
from photochanger.adapters.telemetry.metrics import Metrics
from photochanger.application.ports import Verdict
from photochanger.domain.job import JobEvent, ResultSource
from photochanger.testing.harness import (
    a_completed_job,
    a_submission,
    an_entry,
    failure,
    stand_in,
    success,
)

pytestmark = pytest.mark.anyio

NAME = "photochanger_jobs_finalized_total"
SECOND = timedelta(seconds=1)


class Storage(MemoryStorage):
    """Memory, with a clock that is set forward by hand."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        super().__init__(self.clock)

    async def time_passes(self, by: timedelta) -> None:
        self.clock.advance(by)


async def test_a_timeout_that_several_wait_for_counts_once(
    metrics: Metrics, value: Callable[..., float | None]
) -> None:
    storage = Storage()
    jobs = CountedJobs(storage.jobs, metrics)
    submitted = [await jobs.submit(await a_submission(storage, time_left=SECOND)) for _ in range(2)]
    first, second = (each.reading.job.job_id for each in submitted)
    await storage.time_passes(SECOND)

    await asyncio.gather(*(jobs.expire([first]) for _ in range(5)), jobs.expire_overdue(limit=10))
    await jobs.expire([first, second])

    assert value(NAME, state="failed_timeout", failure_reason="timeout") == 2


async def test_a_verdict_counts_if_it_won(metrics: Metrics, value: Callable[..., float | None]) -> None:
    storage = Storage()
    jobs = CountedJobs(storage.jobs, metrics)
    await jobs.submit(await a_submission(storage, time_left=SECOND))
    [claimed] = await jobs.claim(limit=1, lease=SECOND)
    verdict = Verdict(event=JobEvent.PROVIDER_FAILED, attempts=1, failure_reason="provider_refused")

    for fence in (claimed.job.fence, claimed.job.fence, claimed.job.fence + 1):
        await jobs.finalize(claimed.job.job_id, verdict, fence=fence)

    assert value(NAME, state="failed_provider", failure_reason="provider_refused") == 1


async def test_the_pictures_of_ended_jobs_count_by_their_source(
    metrics: Metrics, value: Callable[..., float | None]
) -> None:
    storage = Storage()
    jobs = CountedJobs(storage.jobs, metrics)
    for verdict in (await success(storage), await stand_in(storage), failure()):
        await jobs.submit(await a_submission(storage, time_left=SECOND))
        [claimed] = await jobs.claim(limit=1, lease=SECOND)
        for _ in range(2):
            await jobs.finalize(claimed.job.job_id, verdict, fence=claimed.job.fence)
    pictures = {source: value("photochanger_pictures_total", source=source.value) for source in ResultSource}
    assert pictures == {ResultSource.PROVIDER: None, ResultSource.FALLBACK: 1, ResultSource.ORIGINAL: 1}


async def test_cancelled_jobs_count_if_this_call_ended_them(
    metrics: Metrics, value: Callable[..., float | None]
) -> None:
    storage = Storage()
    jobs = CountedJobs(storage.jobs, metrics)
    [first, *_] = [await jobs.submit(await a_submission(storage)) for _ in range(3)]

    for _ in range(2):
        await jobs.cancel(first.reading.job.job_id, entry=an_entry())
    assert value(NAME, state="cancelled", failure_reason="cancelled") == 1
    for _ in range(2):
        await jobs.cancel_pending(first.reading.job.slot_id, entry=an_entry())
    assert value(NAME, state="cancelled", failure_reason="cancelled") == 3


async def test_ending_results_ends_no_job(metrics: Metrics, value: Callable[..., float | None]) -> None:
    storage = Storage()
    jobs = CountedJobs(storage.jobs, metrics)
    completed = await a_completed_job(storage)

    ended = await jobs.end_results(completed.job.slot_id, entry=an_entry())

    assert ended.results == 1
    assert value("photochanger_pictures_total", source="fallback") is None
