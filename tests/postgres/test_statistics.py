"""Statistics, where it matters that PostgreSQL counts them."""

import asyncio
import math
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest

from photochanger.adapters.postgres import PostgresStatistics, create_pool
from photochanger.adapters.postgres.pool import Pool
from photochanger.adapters.postgres.rows import to_json
from photochanger.domain.statistics import CLASS_RATIO, Period, added, bucket_of, class_of
from photochanger.testing.harness import a_configuration

pytestmark = pytest.mark.anyio

BEGIN = datetime(2026, 3, 1, 0, 30, tzinfo=UTC)
HOUR = timedelta(hours=1)

_JOBS = """
    INSERT INTO job (job_id, slot_id, slot_version, configuration, payload_id, content_hash, created_at,
        deadline, retention, source, state, fence, started_at, finalized_at, result)
    SELECT md5(n::text), 'slot-001', 1, %(configuration)s::jsonb, md5(n::text), 'x', ended_at - took,
        ended_at, '72 h', 'booth', 'completed', 1, ended_at - took, ended_at, '{}'
    FROM unnest(%(ended_at)s::timestamptz[], %(took)s::interval[]) WITH ORDINALITY
        AS ended (ended_at, took, n)"""


async def _insert(pool: Pool, ended: Sequence[tuple[datetime, timedelta]]) -> None:
    parameters = {
        "configuration": to_json(a_configuration()),
        "ended_at": [ended_at for ended_at, _ in ended],
        "took": [took for _, took in ended],
    }
    async with pool.connection() as connection:
        await connection.execute("DELETE FROM job_tally")
        await connection.execute("UPDATE job_tally_progress SET until = DEFAULT")
        await connection.execute(_JOBS, parameters)


async def test_every_class_begins_where_the_domain_says_to_the_microsecond(pool: Pool) -> None:
    """Up to a day and more: among them 1 ms and 1.05 ms, the only two that are whole microseconds."""
    limits = [1000 * CLASS_RATIO**number for number in range(380)]
    durations = {math.floor(limit) + beside for limit in limits for beside in (-1, 0, 1, 2)} | {0, 1, 1050}
    took = [timedelta(microseconds=duration) for duration in sorted(durations)]
    await _insert(pool, [(BEGIN, each) for each in took])
    expected: dict[int, int] = {}
    for each in took:
        expected[class_of(each)] = expected.get(class_of(each), 0) + 1
    statistics = PostgresStatistics(pool)
    for bucket in (HOUR / 60, HOUR):
        for _ in range(2):
            period = Period(start=BEGIN - HOUR, end=BEGIN + HOUR, bucket=bucket)
            [tally] = (await statistics.series(period)).values()
            assert tally.durations == expected
            while await statistics.roll_up(limit=1000):
                continue


async def test_hours_may_be_added_up_by_several_processes_while_others_read(
    worker_database: str, pool: Pool
) -> None:
    """Whoever reads in between sees what is added up or what is not, and never both or neither."""
    moments = [BEGIN + number * timedelta(minutes=7) for number in range(1000)]
    await _insert(pool, [(moment, timedelta(seconds=3)) for moment in moments])
    period = Period(start=BEGIN - HOUR, end=moments[-1] + HOUR, bucket=HOUR)
    seen: set[int] = set()
    async with create_pool(worker_database, max_size=4) as other:
        everyone = [PostgresStatistics(each) for each in (pool, pool, other, other)]

        done = asyncio.Event()

        async def add_up(statistics: PostgresStatistics) -> int:
            hours = 0
            while await _until(pool) <= moments[-1]:
                hours += await statistics.roll_up(limit=2)
            return hours

        async def read(statistics: PostgresStatistics) -> None:
            while not done.is_set():
                seen.add(added((await statistics.series(period)).values()).total)
                by_slot = await statistics.tallies(period)
                seen.add(sum(tally.total for buckets in by_slot.values() for tally in buckets.values()))

        readers = [asyncio.create_task(read(statistics)) for statistics in everyone[1:3]]
        hours = await asyncio.gather(*map(add_up, everyone))
        done.set()
        await asyncio.gather(*readers)
    assert seen == {len(moments)}
    assert sum(hours) == (bucket_of(moments[-1], HOUR) - bucket_of(moments[0], HOUR)) // HOUR + 1


async def _until(pool: Pool) -> datetime:
    async with pool.connection() as connection:
        [row] = await (await connection.execute("SELECT until FROM job_tally_progress")).fetchall()
    until: datetime = row["until"]
    return until
