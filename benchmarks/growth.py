"""What a million old jobs cost the new ones, and what further worker processes bring (goal G9).

A job is submitted, claimed and finished through the adapters, in a database without any jobs and in one with
a million of the last thirty days, in turn. Statistics of the last day are read in the same database and in a
copy of it without the jobs, and the rows of files, that are older than four days: what they count is the
same in both. PostgreSQL is embedded; everything is warm. Then real processes: a server without a worker and
1, 2 and 4 `photochanger worker --workers 2`, with a provider that takes half a second, so that the sum of
their places is the limit, not a core.
"""

import argparse
import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Final

import psycopg
from psycopg.conninfo import make_conninfo

from benchmarks.harness import (
    SERVER_CORE,
    Spread,
    configure,
    ingest_request,
    installation,
    percentile,
    pinned,
    running,
)
from benchmarks.report import OURS, Contestant, Figure, Goal, Report, Rounds, say
from benchmarks.sending import send
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
from photochanger.domain.concurrency import ConcurrencyLimits
from photochanger.domain.job import JobEvent, JobId, JobResult
from photochanger.domain.media import MediaKind, StoredImage
from photochanger.domain.slot import SLOT_IDS
from photochanger.domain.statistics import BUCKETS, Period
from photochanger.entrypoints.cli.processes import Process
from photochanger.testing.harness import a_slot, an_image, new_id
from photochanger.testing.many_jobs import JOBS, TESTS, fill
from photochanger.testing.photos import plain_jpeg

ROUNDS = 10
PORT: Final = 8371
EMPTY, YOUNG, OLD = "no jobs", "young jobs", "old jobs too"
JOBS_A_ROUND, READS_A_ROUND = 40, 10
PLACES, DELAY_SEC = 2, 0.5
HOUR: Final = timedelta(hours=1)
HOURS_AT_ONCE: Final = 6
LIMITS: Final = ConcurrencyLimits(slots=dict.fromkeys(SLOT_IDS, 8), providers={"gemini": 60})

_STEPS: Final = {"submit": "announce and submit", "claim": "claim", "finish": "announce and finish"}
_READS: Final = {
    "series": "series of 24 hours",
    "tallies": "tallies of all slots, 24 hours",
    "present": "present",
    "page": "50 jobs of the list",
}


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add what can be chosen of this comparison."""
    parser.add_argument("--jobs", type=int, default=JOBS, help="old jobs; default a million")
    parser.add_argument("--without-processes", action="store_true", help="leave the worker processes out")


def run(options: argparse.Namespace) -> Report:
    """Measure, and return the report."""
    jobs = min(options.jobs, 20_000) if options.quick else options.jobs
    rounds = Rounds()
    with installation() as data_dir:
        with EmbeddedPostgres(data_dir) as dsn:
            databases = {
                EMPTY: dsn,
                YOUNG: make_conninfo(dsn, dbname="young"),
                OLD: make_conninfo(dsn, dbname="old"),
            }
            _make(dsn, databases, jobs)
            asyncio.run(_compare(databases, rounds, options.rounds))
        if not options.without_processes:
            configure(data_dir, params={"effect": "none", "delay_ms": int(DELAY_SEC * 1000)})
            for count in (1, 2) if options.quick else (1, 2, 4):
                for _ in range(1 if options.quick else 3):
                    say(f"{count} worker processes")
                    rounds.add(OURS, **{f"processes_{count}": _processes(data_dir, count, options)})
    goals = [*_goals(rounds), *_process_goals(rounds)]
    return Report(
        name="growth",
        title=f"What {jobs:,} old jobs cost, and what processes bring",
        how=f"Median of {JOBS_A_ROUND} jobs and {READS_A_ROUND} reads a round, {options.rounds} interleaved "
        f"rounds, embedded PostgreSQL with `fsync`; then processes with {PLACES} places each and a "
        f"provider that takes {DELAY_SEC:g} s.",
        contestants=[
            Contestant(name=EMPTY, what="a new database"),
            Contestant(name=YOUNG, what=f"a copy of “{OLD}” without what is older than four days"),
            Contestant(name=OLD, what=f"{jobs:,} finished jobs of thirty days, half as many deleted files"),
            *([Contestant(name=OURS, what="worker processes")] if rounds.of(OURS, "processes_1") else []),
        ],
        figures=[
            *(Figure(key=key, label=f"{label}, ms") for key, label in (_STEPS | _READS).items()),
            *(
                Figure(key=f"processes_{n}", label=f"jobs a second, {n} processes", less_is_better=False)
                for n in (1, 2, 4)
                if rounds.of(OURS, f"processes_{n}")
            ),
        ],
        plotted=[*_STEPS, *_READS],
        rounds=rounds,
        goals=goals,
    )


def _execute(dsn: str, *statements: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement.encode())


def _make(dsn: str, databases: Mapping[str, str], jobs: int) -> None:
    say(f"filling a database with {jobs:,} jobs")
    migrate(dsn)
    _execute(dsn, "CREATE DATABASE old TEMPLATE photochanger")
    fill(databases[OLD], jobs=jobs, tests=min(TESTS, jobs))
    _execute(databases[OLD], "VACUUM ANALYZE")
    asyncio.run(_add_up(databases[OLD]))
    say("copying it, without what is older than four days")
    _execute(dsn, "CREATE DATABASE young TEMPLATE old")
    _execute(
        databases[YOUNG],
        "DELETE FROM job WHERE created_at < now() - '4 days'::interval",
        "DELETE FROM media_object WHERE created_at < now() - '4 days'::interval",
        "VACUUM FULL",
        "ANALYZE",
    )
    _execute(dsn, "VACUUM ANALYZE", "CHECKPOINT")


async def _add_up(dsn: str) -> None:
    async with create_pool(dsn) as pool:
        while await PostgresStatistics(pool).roll_up(limit=HOURS_AT_ONCE):
            pass


async def _compare(databases: Mapping[str, str], rounds: Rounds, count: int) -> None:
    async with AsyncExitStack() as stack:
        pools = {name: await stack.enter_async_context(create_pool(dsn)) for name, dsn in databases.items()}
        repositories = {name: PostgresJobRepository(pool, SignalHub()) for name, pool in pools.items()}
        warm = Rounds()
        for number in range(-1, count):
            say(f"round {number + 1} of {count}")
            into = rounds if number >= 0 else warm
            for name in list(pools)[:: 1 if number % 2 == 0 else -1]:
                into.add(name, **await _jobs(repositories[name], PostgresMediaRegistry(pools[name])))
                if name != EMPTY:
                    into.add(name, **await _reads(pools[name]))


async def _jobs(jobs: PostgresJobRepository, media: PostgresMediaRegistry) -> Mapping[str, float]:
    took: dict[str, list[float]] = {step: [] for step in _STEPS}
    for _ in range(JOBS_A_ROUND):
        for step, milliseconds in zip(_STEPS, await _one_job(jobs, media), strict=True):
            took[step].append(milliseconds)
    return {step: percentile(values, 0.5) for step, values in took.items()}


async def _one_job(jobs: PostgresJobRepository, media: PostgresMediaRegistry) -> Sequence[float]:
    payload, image, preview = an_image(), an_image(), an_image()
    submission = JobSubmission(
        job_id=JobId(new_id()), slot=a_slot(), payload=payload, time_left=HOUR, retention=72 * HOUR
    )
    times = [time.perf_counter()]
    await _announce(media, (payload, MediaKind.PAYLOAD))
    await jobs.submit(submission)
    times.append(time.perf_counter())
    [claimed] = await jobs.claim(limit=1, lease=HOUR, limits=LIMITS)
    times.append(time.perf_counter())
    await _announce(media, (image, MediaKind.RESULT), (preview, MediaKind.PREVIEW))
    verdict = Verdict(event=JobEvent.SUCCEEDED, attempts=1, result=JobResult(image=image, preview=preview))
    await jobs.finalize(claimed.job.job_id, verdict, fence=claimed.job.fence)
    times.append(time.perf_counter())
    return [(after - before) * 1000 for before, after in pairwise(times)]


async def _announce(media: PostgresMediaRegistry, *images: tuple[StoredImage, MediaKind]) -> None:
    await media.intend([(image.media_id, kind) for image, kind in images], slot_id=SLOT_IDS[0], ttl=HOUR)


async def _reads(pool: Pool) -> Mapping[str, float]:
    statistics, history = PostgresStatistics(pool), PostgresJobHistory(pool)
    end = datetime.now(UTC)
    period = Period(start=end - 24 * HOUR, end=end, bucket=BUCKETS["1h"])
    reads: Mapping[str, Callable[[], Awaitable[object]]] = {
        "series": partial(statistics.series, period),
        "tallies": partial(statistics.tallies, period),
        "present": statistics.present,
        "page": partial(history.page, JobFilter(), limit=50),
    }
    return {name: await _median(read) for name, read in reads.items()}


async def _median(read: Callable[[], Awaitable[object]]) -> float:
    took = []
    for _ in range(READS_A_ROUND):
        began = time.perf_counter()
        await read()
        took.append((time.perf_counter() - began) * 1000)
    return percentile(took, 0.5)


def _processes(data_dir: Path, count: int, options: argparse.Namespace) -> float:
    """Return the jobs a second of so many worker processes."""
    seconds = 3.0 if options.quick else 8.0
    request = ingest_request(plain_jpeg(600, 400))
    with running(data_dir, PORT, options=["--no-worker"]), _workers(data_dir, count):
        connections = 2 * count * PLACES
        send(PORT, [request], connections=connections, total=2 * connections)
        sent = send(PORT, [request], connections=connections, seconds=seconds)
        if sent.failed():
            raise RuntimeError("not every job was done")
        return sent.per_second


@contextmanager
def _workers(data_dir: Path, count: int) -> Iterator[None]:
    command = ["worker", "--workers", str(PLACES), "--data-dir", str(data_dir)]
    processes = [
        Process(command, log_path=data_dir / f"worker-{number}.log", prefix=pinned(SERVER_CORE))
        for number in range(count)
    ]
    try:
        yield
    finally:
        for process in processes:
            process.stop()


def _goals(rounds: Rounds) -> Iterator[Goal]:
    for key, label in _STEPS.items():
        yield Goal(label=f"G9: {label} ÷ without jobs", reached=rounds.ratio(OLD, EMPTY, key), bound=1.1)
    for key, label in _READS.items():
        yield Goal(label=f"G9: {label} ÷ without old ones", reached=rounds.ratio(OLD, YOUNG, key), bound=1.1)


def _process_goals(rounds: Rounds) -> Iterator[Goal]:
    for count in (2, 4):
        if rounds.of(OURS, f"processes_{count}"):
            times: Spread = rounds.ratio(OURS, OURS, f"processes_{count}", of_other="processes_1")
            yield Goal(label=f"G9: {count} processes ÷ one", reached=times, bound=0.9 * count, at_most=False)
