"""Our queue under eight closed-loop producers: the whole chain, in one process.

`python -m benchmarks.chain DSN PRODUCERS WARM_UP_SEC SECONDS` has each producer submit a job, wait as a held
request does until it is woken by the job's end, and submit the next; a worker claims the jobs and completes
each at once with a picture and a preview. `python -m benchmarks.chain DSN PRODUCERS --jobs N` does N jobs
with four workers that race for them and look for themselves only every 30 s, and counts those that took
longer than 5 s: nobody had been woken for them.

The rows of the photo's and the picture's files, which have to be there before, are made ahead and not timed.
"""

import argparse
import asyncio
import json
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import uvloop
from psycopg.conninfo import conninfo_to_dict

from benchmarks.harness import cpu_seconds, postgres_pid
from photochanger.adapters.postgres import (
    PostgresJobRepository,
    PostgresMediaRegistry,
    PostgresSettingsRepository,
    PostgresSignals,
    PostgresSlotRepository,
    create_pool,
)
from photochanger.adapters.system_clock import SystemClock
from photochanger.application.await_outcome import AwaitOutcome
from photochanger.application.configuration import CurrentConfiguration
from photochanger.application.ports import JobReading, JobSubmission, Verdict
from photochanger.application.signal_hub import SignalHub
from photochanger.application.worker import POLL_SEC, Worker
from photochanger.domain.job import JobEvent, JobId, JobResult, JobState
from photochanger.domain.media import MediaKind, StoredImage
from photochanger.domain.slot import SLOT_IDS, Slot
from photochanger.testing.harness import a_configuration, an_image

HOUR = timedelta(hours=1)
"""How long a job has, from the announcement of its photo, which is long before its submission here."""
PATIENCE_SEC = 60.0
STRANDED_SEC = 5.0
RACING_WORKERS, RARE_POLL_SEC = 4, 30.0
AHEAD_PER_SEC = 2_500
"""For how many jobs a second files are announced ahead."""
_AT_ONCE = 1_000


class Chain:
    """The producers, the workers, and what was seen."""

    def __init__(self, stack: AsyncExitStack, dsn: str, producers: int) -> None:
        self._stack, self._dsn, self._producers = stack, dsn, producers
        self._configuration = replace(a_configuration(), max_concurrency=None)
        self._ready: list[tuple[StoredImage, JobResult]] = []
        self._results: dict[JobId, JobResult] = {}
        self._latencies: list[float] = []
        self._cpu_seconds, self._database_seconds, self._done = 0.0, 0.0, 0
        self._failed = 0

    async def open(self) -> None:
        """Connect; everything is closed with the stack."""
        pool = await self._stack.enter_async_context(create_pool(self._dsn))
        hub = SignalHub()
        self._signals = PostgresSignals(self._dsn, hub, pool)
        await self._signals.start()
        self._stack.push_async_callback(self._signals.stop)
        self._jobs, self._media = PostgresJobRepository(pool, hub), PostgresMediaRegistry(pool)
        self._configured = CurrentConfiguration(
            slots=PostgresSlotRepository(pool, hub),
            settings=PostgresSettingsRepository(pool, hub),
            signals=self._signals,
            clock=SystemClock(),
        )
        self._stack.callback(self._configured.close)
        self._outcome = AwaitOutcome(jobs=self._jobs, signals=self._signals, clock=SystemClock())

    async def announce(self, count: int) -> None:
        """Make the rows of the files that so many jobs have."""
        for _ in range(0, count, _AT_ONCE):
            made = [(an_image(), JobResult(image=an_image(), preview=an_image())) for _ in range(_AT_ONCE)]
            rows = [
                (image.media_id, kind)
                for payload, result in made
                for image, kind in (
                    (payload, MediaKind.PAYLOAD),
                    (result.image, MediaKind.RESULT),
                    (result.preview, MediaKind.PREVIEW),
                )
            ]
            await self._media.intend(rows, slot_id=SLOT_IDS[0], ttl=HOUR)
            self._ready += made

    async def run(self, numbers: Iterator[bool], workers: int, poll_sec: float) -> None:
        """Produce as long as `numbers` go on; each says whether its job is timed."""
        crew = [
            Worker(
                jobs=self._jobs,
                signals=self._signals,
                configuration=self._configured,
                run=self._complete,
                concurrency=self._producers // workers,
                poll_sec=poll_sec,
            )
            for _ in range(workers)
        ]
        server = postgres_pid(Path(str(conninfo_to_dict(self._dsn)["host"])).parent)
        ahead, cpu, database = len(self._ready), time.process_time(), cpu_seconds(server)
        serving = [asyncio.create_task(worker.serve()) for worker in crew]
        await asyncio.gather(*(self._produce(numbers) for _ in range(self._producers)))
        self._cpu_seconds, self._done = time.process_time() - cpu, ahead - len(self._ready)
        self._database_seconds = cpu_seconds(server) - database
        for worker in crew:
            worker.stop()
        await asyncio.gather(*serving)

    async def _produce(self, numbers: Iterator[bool]) -> None:
        for is_timed in numbers:
            payload, result = self._ready.pop()
            began = time.perf_counter()
            with self._outcome.expecting() as expected:
                self._results[expected.job_id] = result
                await self._jobs.submit(self._submission(expected.job_id, payload))
                reading = await self._outcome(
                    expected.job_id, deadline=time.monotonic() + PATIENCE_SEC, is_own=True, expected=expected
                )
            took = time.perf_counter() - began
            self._failed += reading.job.state is not JobState.COMPLETED
            if is_timed:
                self._latencies.append(took * 1000)

    def _submission(self, job_id: JobId, payload: StoredImage) -> JobSubmission:
        slot_id = SLOT_IDS[len(self._ready) % len(SLOT_IDS)]
        return JobSubmission(
            job_id=job_id,
            slot=Slot(slot_id=slot_id, configuration=self._configuration, version=1),
            payload=payload,
            time_left=HOUR,
            retention=HOUR,
        )

    async def _complete(self, reading: JobReading) -> None:
        job_id = reading.job.job_id
        verdict = Verdict(event=JobEvent.SUCCEEDED, attempts=1, result=self._results.pop(job_id))
        await self._jobs.finalize(job_id, verdict, fence=reading.job.fence)

    def figures(self, seconds: float) -> str:
        """Return what was seen, as JSON."""
        stranded = sum(took > STRANDED_SEC * 1000 for took in self._latencies)
        return json.dumps(
            {
                "latencies_ms": self._latencies,
                "seconds": seconds,
                "cpu_seconds": self._cpu_seconds,
                "database_seconds": self._database_seconds,
                "jobs": self._done,
                "failed": self._failed,
                "stranded": stranded,
            }
        )


def _until(warm_up_sec: float, seconds: float) -> Iterator[bool]:
    start = time.perf_counter() + warm_up_sec
    while (now := time.perf_counter()) < start + seconds:
        yield now >= start


async def _timed(dsn: str, producers: int, warm_up_sec: float, seconds: float) -> str:
    async with AsyncExitStack() as stack:
        chain = Chain(stack, dsn, producers)
        await chain.open()
        await chain.announce(round(AHEAD_PER_SEC * (warm_up_sec + seconds)))
        await chain.run(_until(warm_up_sec, seconds), workers=1, poll_sec=POLL_SEC)
        return chain.figures(seconds)


async def _counted(dsn: str, producers: int, jobs: int) -> str:
    async with AsyncExitStack() as stack:
        chain = Chain(stack, dsn, producers)
        await chain.open()
        await chain.announce(jobs)
        began = time.perf_counter()
        await chain.run(iter([True] * jobs), workers=RACING_WORKERS, poll_sec=RARE_POLL_SEC)
        return chain.figures(time.perf_counter() - began)


def main() -> None:
    """Run one of the two."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dsn")
    parser.add_argument("producers", type=int)
    parser.add_argument("period", type=float, nargs="*")
    parser.add_argument("--jobs", type=int)
    given = parser.parse_args()
    work = (
        _timed(given.dsn, given.producers, *given.period)
        if given.jobs is None
        else _counted(given.dsn, given.producers, given.jobs)
    )
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        print(runner.run(work))


if __name__ == "__main__":
    main()
