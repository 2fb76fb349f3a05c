"""How long lists and statistics take on an empty table and on a million jobs, and what their indexes cost."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from functools import partial

import psycopg
from psycopg.conninfo import make_conninfo

from benchmarks.harness import Spread, installation, table
from photochanger.adapters.embedded_postgres import EmbeddedPostgres
from photochanger.adapters.postgres import (
    PostgresJobHistory,
    PostgresJobRepository,
    PostgresMediaRegistry,
    PostgresStatistics,
    create_pool,
    migrate,
)
from photochanger.adapters.postgres.pool import Pool
from photochanger.application.ports import JobFilter, JobSubmission, Verdict
from photochanger.application.signal_hub import SignalHub
from photochanger.domain.job import FINAL_STATES, JobEvent, JobId, JobResult, JobSource, JobState
from photochanger.domain.media import MediaKind, StoredImage
from photochanger.domain.slot import SLOT_IDS, SlotId
from photochanger.domain.statistics import BUCKETS, Period
from photochanger.testing.harness import a_slot, an_image, new_id
from photochanger.testing.many_jobs import JOBS, fill

TIMES = 20
ROUNDS, JOBS_A_ROUND = 60, 20
HOURS_AT_ONCE = 6
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
FAILED = FINAL_STATES - {JobState.COMPLETED}
NO_SLOT = SlotId("slot-016")
NEW_INDEXES = (
    "job_final_by_created",
    "job_final_by_slot",
    "job_failed_by_created",
    "job_failed_by_slot",
    "job_test_by_created",
    "job_result_by_slot",
    "job_booth_by_finalized",
)

Query = Callable[[], Awaitable[object]]


def run() -> str:
    """Measure, and return the figures as Markdown."""
    with installation() as data_dir:
        server = EmbeddedPostgres(data_dir)
        dsn = server.start()
        try:
            return asyncio.run(_measure(dsn))
        finally:
            server.stop()


async def _measure(dsn: str) -> str:
    migrate(dsn)
    _execute(dsn, *(f"ALTER TABLE {name} SET (autovacuum_enabled = off)" for name in ("job", "media_object")))
    empty = await _queries(dsn)
    fill(dsn)
    added_up = await _add_up(dsn)
    full = await _queries(dsn)
    without = make_conninfo(dsn, dbname="without")
    _execute(dsn, "CREATE DATABASE without TEMPLATE photochanger")
    _execute(without, *(f"DROP INDEX {name}" for name in NEW_INDEXES))
    return _report(empty, full, added_up, await _jobs(with_them=dsn, without=without))


def _execute(dsn: str, *statements: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement.encode())


async def _queries(dsn: str) -> Mapping[str, Sequence[float]]:
    """Return the milliseconds that each query took, every time."""
    async with create_pool(dsn) as pool:
        timed = {name: [await _timed(query) for _ in range(TIMES)] for name, query in _all(pool).items()}
        return timed | {"add up one hour, the last of a day": await _last_hours(pool)}


async def _timed(query: Query) -> float:
    began = time.perf_counter()
    await query()
    return (time.perf_counter() - began) * 1000


def _all(pool: Pool) -> Mapping[str, Query]:
    statistics, history = PostgresStatistics(pool), PostgresJobHistory(pool)
    queries: dict[str, Query] = {}
    for length, bucket in [
        (DAY, "1h"),
        (7 * DAY, "1h"),
        (30 * DAY, "1d"),
        (4 * HOUR, "5m"),
        (49 * HOUR, "15m"),
    ]:
        end = datetime.now(UTC)
        period = Period(start=end - length, end=end, bucket=BUCKETS[bucket])
        hours = f"{length / HOUR:g} h by {bucket}"
        queries[f"series, {hours}"] = partial(statistics.series, period)
        queries[f"tallies of all slots, {hours}"] = partial(statistics.tallies, period)
    queries["present"] = statistics.present
    long_ago = datetime.now(UTC) - 25 * DAY
    for name, wanted in {
        "all": JobFilter(),
        "a slot": JobFilter(slot_id=SLOT_IDS[6]),
        "a slot that never had a job": JobFilter(slot_id=NO_SLOT),
        "failed": JobFilter(states=FAILED),
        "failed, of a slot": JobFilter(states=FAILED, slot_id=SLOT_IDS[6]),
        "tests": JobFilter(source=JobSource.TEST),
        "a day 25 days ago": JobFilter(since=long_ago, until=long_ago + DAY),
    }.items():
        queries[f"50 jobs: {name}"] = partial(history.page, wanted, limit=50)
    queries["the last job of each slot"] = partial(history.latest, JobSource.BOOTH)
    queries["the last failure of each slot"] = partial(history.latest, JobSource.BOOTH, FAILED)
    queries["10 results of a slot"] = partial(history.with_results, SLOT_IDS[6], limit=10)
    return queries


async def _last_hours(pool: Pool) -> Sequence[float]:
    """Forget all sums and pretend to be before the last hour of a day; time how that one is added up."""
    statistics, took = PostgresStatistics(pool), []
    for days in range(TIMES):
        async with pool.connection() as connection:
            await connection.execute("DELETE FROM job_tally")
            await connection.execute(
                "UPDATE job_tally_progress"
                " SET until = date_bin('1 day', now() - %s, 'epoch') - '1 hour'::interval",
                [days * DAY],
            )
        took.append(await _timed(partial(statistics.roll_up, limit=1)))
    return took


async def _add_up(dsn: str) -> Sequence[float]:
    """Add everything up, and return the milliseconds that each statement took."""
    took, hours = [], 1
    async with create_pool(dsn) as pool:
        async with pool.connection() as connection:
            await connection.execute("UPDATE job_tally_progress SET until = DEFAULT")
        statistics = PostgresStatistics(pool)
        while hours:
            began = time.perf_counter()
            hours = await statistics.roll_up(limit=HOURS_AT_ONCE)
            took.append((time.perf_counter() - began) * 1000)
    return took


async def _jobs(*, with_them: str, without: str) -> Mapping[str, Sequence[float]]:
    """Return the milliseconds of a job from submission to its end, with the new indexes and without."""
    took: dict[str, list[float]] = {"with": [], "without": []}
    async with AsyncExitStack() as stack:
        pools = {
            "with": await stack.enter_async_context(create_pool(with_them)),
            "without": await stack.enter_async_context(create_pool(without)),
        }
        repositories = {name: PostgresJobRepository(pool, SignalHub()) for name, pool in pools.items()}
        for _ in range(ROUNDS + 1):
            for name, pool in pools.items():
                began = time.perf_counter()
                for _ in range(JOBS_A_ROUND):
                    await _one_job(repositories[name], PostgresMediaRegistry(pool))
                took[name].append((time.perf_counter() - began) * 1000 / JOBS_A_ROUND)
    return {name: values[1:] for name, values in took.items()}


async def _one_job(jobs: PostgresJobRepository, media: PostgresMediaRegistry) -> None:
    payload, image, preview = an_image(), an_image(), an_image()
    await _announce(media, (payload, MediaKind.PAYLOAD))
    submission = JobSubmission(
        job_id=JobId(new_id()), slot=a_slot(), payload=payload, time_left=HOUR, retention=3 * DAY
    )
    await jobs.submit(submission)
    [claimed] = await jobs.claim(limit=1, lease=HOUR)
    await _announce(media, (image, MediaKind.RESULT), (preview, MediaKind.PREVIEW))
    verdict = Verdict(event=JobEvent.SUCCEEDED, attempts=1, result=JobResult(image=image, preview=preview))
    await jobs.finalize(claimed.job.job_id, verdict, fence=claimed.job.fence)


async def _announce(media: PostgresMediaRegistry, *images: tuple[StoredImage, MediaKind]) -> None:
    await media.intend([(image.media_id, kind) for image, kind in images], slot_id=SLOT_IDS[0], ttl=HOUR)


def _report(
    empty: Mapping[str, Sequence[float]],
    full: Mapping[str, Sequence[float]],
    added_up: Sequence[float],
    jobs: Mapping[str, Sequence[float]],
) -> str:
    rows = [[name, _cell(empty[name]), _cell(full[name])] for name in full]
    ratios = [one / other for one, other in zip(jobs["with"], jobs["without"], strict=True)]
    return "\n".join(
        [
            f"### Lists and statistics (median, and worst of {TIMES}, ms)",
            "",
            table(["", "empty", f"{JOBS:,} jobs"], rows),
            "",
            f"All hours added up, {HOURS_AT_ONCE} at once: {sum(added_up) / 1000:.1f} s in {len(added_up)}"
            f" statements, the slowest {max(added_up):.0f} ms.",
            "",
            f"A job from submission to end, with the indexes {Spread.of(jobs['with'])} ms, without"
            f" {Spread.of(jobs['without'])} ms; ratio {Spread.of(ratios)}"
            f" ({ROUNDS} interleaved rounds of {JOBS_A_ROUND} jobs).",
        ]
    )


def _cell(took: Sequence[float]) -> str:
    spread = Spread.of(took)
    return f"{spread.median:.1f} ({spread.most:.1f})"
