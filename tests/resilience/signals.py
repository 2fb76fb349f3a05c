"""Jobs handed from process to process while the connections for signals are ended again and again."""

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import psycopg

from photochanger.entrypoints.cli.processes import ServeProcess
from tests.resilience.load import Load, delivered_since, photos_sent_to
from tests.resilience.workers import working
from tests.system.installation import Installation

_END_THEM: Final = """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE datname = current_database() AND application_name = 'photochanger-signals'"""

_WAITS: Final = """
    SELECT extract(epoch FROM started_at - created_at)::float8 FROM job WHERE started_at IS NOT NULL
    ORDER BY seq OFFSET %s"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Handed:
    """What came of the photos, how long each job waited for a worker, and how many connections were ended."""

    load: Load
    waits_sec: list[float]
    ended: int
    unfinished: int


async def hand_over(
    installation: Installation,
    photos: int,
    *,
    across: bool,
    cut_every_sec: float | None = None,
    booths: int = 4,
) -> Handed:
    """Send photos to a server that does them itself, or has workers `across` the process boundary do so.

    With `cut_every_sec` all connections for signals are ended as often.
    """
    await installation.set_up({"effect": "none"}, timeout_sec=20)
    server = await _started(installation, across=across)
    cuts: Counter[str] = Counter()
    async with photos_sent_to(server, booths=booths) as load:
        await delivered_since(load, 0)
        first = len(load.seen)
        cutting = asyncio.create_task(_cut(installation, cut_every_sec, cuts))
        await _until(lambda: len(load.seen) >= first + photos)
        cutting.cancel()
        await asyncio.wait([cutting])
    jobs = await installation.jobs()
    return Handed(
        load=load,
        waits_sec=await _waits(installation, first),
        ended=cuts["ended"],
        unfinished=sum(not job.is_finalized for job in jobs),
    )


async def _started(installation: Installation, *, across: bool) -> ServeProcess:
    if not across:
        return await asyncio.to_thread(installation.serve, workers=8)
    await asyncio.gather(working(installation), working(installation))
    return await asyncio.to_thread(installation.serve, "--no-worker")


async def _cut(installation: Installation, every_sec: float | None, cuts: Counter[str]) -> None:
    while every_sec is not None:
        async with await _connected(installation) as connection:
            cursor = await connection.execute(_END_THEM)
            cuts["ended"] += cursor.rowcount
        await asyncio.sleep(every_sec)


async def _waits(installation: Installation, first: int) -> list[float]:
    async with await _connected(installation) as connection:
        rows = await (await connection.execute(_WAITS, [first])).fetchall()
    return [float(seconds) for (seconds,) in rows]


async def _connected(installation: Installation) -> psycopg.AsyncConnection:
    return await psycopg.AsyncConnection.connect(installation.environment.database_url or "", autocommit=True)


async def _until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110 - what is waited for sends no signal
        await asyncio.sleep(0.02)
