"""A job queue of somebody else's under eight closed-loop producers; run by the queue's own Python.

`python closed_loop.py procrastinate|pgqueuer DSN PRODUCERS WARM_UP_SEC SECONDS` installs the queue's schema
in an empty database, then has each producer add a job that does nothing, wait until a worker begins it, and
add the next. Producers and worker are one process with one event loop, as ours are. It prints, as JSON, the
milliseconds from before the adding to the beginning of each job, of those added after the warm-up.
"""

import asyncio
import contextlib
import json
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

import uvloop

Add = Callable[[int], Awaitable[object]]


class Loop:
    """The producers, and what they saw."""

    def __init__(self, producers: int, warm_up_sec: float, seconds: float) -> None:
        self._producers = producers
        self._warm_up_sec, self._seconds = warm_up_sec, seconds
        self._begun: dict[int, asyncio.Future[None]] = {}
        self._number = 0
        self._latencies: list[float] = []

    def begins(self, number: int) -> None:
        """Note that a worker has begun the job of this number."""
        self._begun.pop(number).set_result(None)

    async def run(self, add: Add) -> str:
        """Produce until the time is over; return the figures."""
        start, cpu = time.perf_counter() + self._warm_up_sec, time.process_time()
        end = start + self._seconds
        await asyncio.gather(*(self._produce(add, start, end) for _ in range(self._producers)))
        return json.dumps(
            {
                "latencies_ms": self._latencies,
                "seconds": self._seconds,
                "cpu_seconds": time.process_time() - cpu,
                "jobs": self._number,
            }
        )

    async def _produce(self, add: Add, start: float, end: float) -> None:
        while (began := time.perf_counter()) < end:
            self._number += 1
            number = self._number
            future = self._begun[number] = asyncio.get_running_loop().create_future()
            await add(number)
            async with asyncio.timeout(30):
                await future
            if began >= start:
                self._latencies.append((time.perf_counter() - began) * 1000)


async def with_procrastinate(loop: Loop, dsn: str, producers: int) -> str:
    """Run procrastinate with its defaults, and as many jobs at once as there are producers."""
    import procrastinate  # noqa: PLC0415 - one of two environments' worth

    app = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=dsn, max_size=producers + 2))

    async def nothing(number: int) -> None:
        loop.begins(number)

    task = app.task(name="nothing")(nothing)
    async with app.open_async():
        await app.schema_manager.apply_schema_async()
        worker = asyncio.create_task(
            app.run_worker_async(concurrency=producers, install_signal_handlers=False)
        )
        figures = await loop.run(lambda number: task.defer_async(number=number))
        worker.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await worker
    return figures


async def with_pgqueuer(loop: Loop, dsn: str, producers: int) -> str:
    """Run PgQueuer on asyncpg, its faster driver, with its defaults: ten jobs in a batch."""
    import asyncpg  # noqa: PLC0415
    import pgqueuer  # noqa: PLC0415
    from pgqueuer.adapters.persistence.queries import Queries  # noqa: PLC0415

    async with asyncpg.create_pool(dsn, min_size=2, max_size=producers + 2) as pool:
        async with pool.acquire() as connection:
            await Queries(pgqueuer.AsyncpgDriver(connection)).install()
        queries = Queries(pgqueuer.AsyncpgPoolDriver(pool))
        manager = pgqueuer.QueueManager(queries)

        async def nothing(job: Any) -> None:
            loop.begins(int(job.payload))

        manager.entrypoint("nothing")(nothing)
        worker = asyncio.create_task(manager.run())
        figures = await loop.run(lambda number: queries.enqueue("nothing", str(number).encode()))
        manager.shutdown.set()
        worker.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await worker
    return figures


def main() -> None:
    """Measure one queue."""
    name, dsn, producers = sys.argv[1], sys.argv[2], int(sys.argv[3])
    loop = Loop(producers, *map(float, sys.argv[4:6]))
    run = {"procrastinate": with_procrastinate, "pgqueuer": with_pgqueuer}[name]
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        print(runner.run(run(loop, dsn, producers)))


if __name__ == "__main__":
    main()
