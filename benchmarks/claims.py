"""What it costs that claims are made one at a time, under limits: against claims that pass one another."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from functools import partial
from typing import Final

import psycopg
from psycopg.sql import SQL, Identifier

from benchmarks.harness import Spread, installation, table
from photochanger.adapters.embedded_postgres import EmbeddedPostgres
from photochanger.adapters.postgres import (
    PostgresJobRepository,
    PostgresMediaRegistry,
    create_pool,
    migrate,
)
from photochanger.adapters.postgres.pool import Pool, fetch_all
from photochanger.adapters.postgres.rows import JOB_COLUMNS, listed, reading_from
from photochanger.adapters.postgres.transitions import LOCKED_COLUMNS, candidate, change, rows_of
from photochanger.application.ports import Claimed, JobSubmission, Verdict
from photochanger.application.signal_hub import SignalHub
from photochanger.domain.concurrency import UNLIMITED, ConcurrencyLimits
from photochanger.domain.job import JobEvent, JobId
from photochanger.domain.media import MediaKind
from photochanger.domain.slot import SLOT_IDS
from photochanger.testing.harness import a_slot, an_image, new_id

AT_ONCE, ROUNDS, ROUND_SEC, DEEP = 8, 6, 4.0, 2_000
HOUR = timedelta(hours=1)
LIMITS = ConcurrencyLimits(slots=dict.fromkeys(SLOT_IDS, 8), providers={"gemini": 60})

_PASSING_ONE_ANOTHER: Final = (
    SQL(
        "WITH {claimable}, locked AS MATERIALIZED ({first} ORDER BY seq LIMIT %(limit)s), {change}"
        " SELECT * FROM changed ORDER BY seq"
    )
    .format(
        claimable=SQL(", ").join(
            SQL(
                "{} AS MATERIALIZED (SELECT {} FROM job WHERE {} ORDER BY seq LIMIT %(limit)s"
                " FOR UPDATE SKIP LOCKED)"
            ).format(Identifier(f"claimable_{row.source.value}"), LOCKED_COLUMNS, candidate(row))
            for row in rows_of(JobEvent.CLAIMED)
        ),
        first=SQL(" UNION ALL ").join(
            SQL("SELECT * FROM {}").format(Identifier(f"claimable_{row.source.value}"))
            for row in rows_of(JobEvent.CLAIMED)
        ),
        change=change(
            JobEvent.CLAIMED, returning=SQL("job.seq, {}").format(listed(JOB_COLUMNS, table="job"))
        ),
    )
    .as_bytes()
)
"""Claims as they would be without limits: `SKIP LOCKED`, and nobody waits for anybody."""


class _Unlimited(PostgresJobRepository):
    """The repository with such claims."""

    async def claim(
        self,
        *,
        limit: int,
        lease: timedelta,
        limits: ConcurrencyLimits = UNLIMITED,  # noqa: ARG002 - that is the point
    ) -> Claimed:
        rows = await fetch_all(self._pool, _PASSING_ONE_ANOTHER, {"limit": limit, "lease": lease})
        return Claimed(map(reading_from, rows))


def run() -> str:
    """Measure, and return the figures as Markdown."""
    with installation() as data_dir, EmbeddedPostgres(data_dir) as dsn:
        migrate(dsn)
        with psycopg.connect(dsn, autocommit=True) as connection:  # what claims without limits walk
            connection.execute("CREATE INDEX job_pending_by_seq ON job (seq) WHERE state = 'pending'")
        return asyncio.run(_measure(dsn))


async def _measure(dsn: str) -> str:
    rows = []
    async with create_pool(dsn, max_size=AT_ONCE + 1, timeout_sec=60) as pool:
        ways = {
            "under limits": PostgresJobRepository(pool, SignalHub()),
            "without": _Unlimited(pool, SignalHub()),
        }
        media = PostgresMediaRegistry(pool)
        for what, deep in (("queue empty before", 0), (f"{DEEP:,} waiting before", DEEP)):
            await _empty(pool)
            await asyncio.gather(*(_submit(ways["without"], media) for _ in range(deep)))
            figures: Mapping[str, list[float]] = {name: [] for name in ways}
            for round_number in range(ROUNDS + 1):
                for name, jobs in ways.items():
                    done = await _jobs_a_second(partial(_one_job, jobs, media))
                    if round_number:
                        figures[name].append(done)
            ratios = [one / other for one, other in zip(*figures.values(), strict=True)]
            rows.append([what, *(Spread.of(values) for values in figures.values()), Spread.of(ratios)])
    header = ["jobs a second", *ways, "ratio"]
    return f"### Jobs from submission to end, {AT_ONCE} at once in one process\n\n{table(header, rows)}"


async def _empty(pool: Pool) -> None:
    await fetch_all(pool, b"TRUNCATE job, media_object", {})


async def _jobs_a_second(do: Callable[[], Awaitable[bool]]) -> float:
    began, done = time.perf_counter(), 0

    async def keep_doing() -> None:
        nonlocal done
        while time.perf_counter() - began < ROUND_SEC:
            done += await do()

    await asyncio.gather(*(keep_doing() for _ in range(AT_ONCE)))
    return done / (time.perf_counter() - began)


async def _submit(jobs: PostgresJobRepository, media: PostgresMediaRegistry) -> None:
    payload = an_image()
    await media.intend([(payload.media_id, MediaKind.PAYLOAD)], slot_id=SLOT_IDS[0], ttl=HOUR)
    job_id = JobId(new_id())
    slot = a_slot(SLOT_IDS[int(job_id, 16) % len(SLOT_IDS)])
    await jobs.submit(
        JobSubmission(job_id=job_id, slot=slot, payload=payload, time_left=HOUR, retention=HOUR)
    )


async def _one_job(jobs: PostgresJobRepository, media: PostgresMediaRegistry) -> bool:
    """Submit a job, claim one and end it; say whether there was one to claim."""
    await _submit(jobs, media)
    claimed = await jobs.claim(limit=1, lease=HOUR, limits=LIMITS)
    verdict = Verdict(event=JobEvent.PROVIDER_FAILED, attempts=1, failure_reason="provider_error")
    for reading in claimed:
        await jobs.finalize(reading.job.job_id, verdict, fence=reading.job.fence)
    return bool(claimed)
