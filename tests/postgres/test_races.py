"""Ten thousand rounds: in every one exactly one winner, and no job left behind."""

import asyncio
from collections import Counter
from contextlib import AsyncExitStack
from datetime import timedelta

import pytest

from photochanger.adapters.memory import MemoryStorage
from photochanger.adapters.postgres import (
    PostgresProviderUsage,
    create_pool,
)
from photochanger.adapters.postgres.pool import Pool
from photochanger.adapters.system_clock import SystemClock
from photochanger.application.ports import Topic
from photochanger.application.signal_hub import SignalHub
from photochanger.domain.job import JobState
from photochanger.domain.quota import Quota, QuotaWindow
from photochanger.testing.harness import HOUR, Records, a_submission
from photochanger.testing.job_machine import race_success_against_timeout
from photochanger.testing.provider_usage import inside
from photochanger.testing.templates import race_removal_against_binding
from tests.postgres_records import PostgresRecords

pytestmark = [pytest.mark.anyio, pytest.mark.slow]


class _RealTime:
    async def time_passes(self, by: timedelta) -> None:
        raise NotImplementedError


class _Memory(MemoryStorage, _RealTime):
    def __init__(self) -> None:
        super().__init__(SystemClock())


class _Postgres(PostgresRecords, _RealTime):
    def __init__(self, pool: Pool) -> None:
        super().__init__(pool, SignalHub())


@pytest.fixture(params=["memory", "postgres"])
def records(request: pytest.FixtureRequest, pool: Pool) -> Records:
    return _Memory() if request.param == "memory" else _Postgres(pool)


async def test_ten_thousand_races_of_success_and_timeout_have_one_winner_each(records: Records) -> None:
    outcomes = Counter(await race_success_against_timeout(records, rounds=10_000, at_once=64))
    assert outcomes.total() >= 10_000
    assert set(outcomes) == {JobState.COMPLETED, JobState.FAILED_TIMEOUT}
    assert min(outcomes.values()) > 500


async def test_races_with_a_cancellation_too_have_one_winner_each(records: Records) -> None:
    outcomes = Counter(await race_success_against_timeout(records, rounds=3_000, at_once=32, cancelling=True))
    assert set(outcomes) == {JobState.COMPLETED, JobState.FAILED_TIMEOUT, JobState.CANCELLED}
    assert min(outcomes.values()) > 20


async def test_of_removing_a_template_and_binding_it_one_succeeds(records: Records) -> None:
    outcomes = await race_removal_against_binding(records, rounds=1_500)
    assert set(outcomes) == {"bound", "removed"}
    assert min(outcomes.values()) > 100


async def test_no_job_is_stranded_among_submitters_and_claimers(records: Records) -> None:
    """Each claimer sleeps until it is woken, claims once, and sleeps again; there is no poll."""
    total, workers = 4_000, 8
    claimed: list[str] = []
    done = asyncio.Event()

    async def work() -> None:
        with records.signals.subscribe(Topic.JOB_PENDING) as subscription:
            while not done.is_set():
                await subscription.wait(30)
                while readings := await records.jobs.claim(limit=1, lease=HOUR):
                    claimed.extend(reading.job.job_id for reading in readings)
                if len(claimed) == total:
                    done.set()

    async def submit() -> None:
        for _ in range(total // workers):
            await records.jobs.submit(await a_submission(records, time_left=HOUR))

    claimers = [asyncio.create_task(work()) for _ in range(workers)]
    await asyncio.gather(*(submit() for _ in range(workers)))
    async with asyncio.timeout(15):
        await done.wait()
    for claimer in claimers:
        claimer.cancel()
    await asyncio.gather(*claimers, return_exceptions=True)
    assert len(claimed) == len(set(claimed)) == total


async def test_over_several_pools_as_many_calls_are_let_in_as_the_quota_allows(worker_database: str) -> None:
    async with AsyncExitStack() as stack:
        pools = [
            await stack.enter_async_context(create_pool(worker_database, max_size=5, timeout_sec=30))
            for _ in range(4)
        ]
        usages = [PostgresProviderUsage(pool) for pool in pools]
        for quota in (Quota(per_day=50), Quota(per_minute=50), Quota(per_minute=60, per_day=50)):

            async def take(provider: str, quota: Quota = quota) -> tuple[int, int]:
                calls = (usages[number % 4].take(provider, quota) for number in range(200))
                waits = await asyncio.gather(*calls)
                [used] = [used for used in await usages[0].used() if used.provider == provider]
                return waits.count(None), used.today

            assert await inside(QuotaWindow.MINUTE, _Postgres(pools[0]), take) == (50, 50)
