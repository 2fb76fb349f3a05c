"""Workers that are killed, or stopped for longer than their lease, and others that take over."""

import asyncio
import json
import random
import signal
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import psycopg

from photochanger.domain.job import Job, JobState
from photochanger.entrypoints.cli.processes import Process, ServeProcess
from tests.resilience.trouble import photo_to
from tests.resilience.workers import working
from tests.system.installation import SLOT, Installation, eventually

FIRST_CLAIM: Final = 1

_IN_FLIGHT: Final = timedelta(seconds=1)
"""Much less than a lease, and much more than a statement takes."""


@dataclass(kw_only=True)
class Stopped:
    """What came of jobs whose worker was stopped beyond its lease and went on then."""

    jobs: int = 0
    writes_tried: int = 0
    writes_accepted: int = 0
    calls_again: int = 0
    discrepancies: list[str] = field(default_factory=list)


class Leases:
    """A server without a worker, and workers to be ill-treated."""

    def __init__(self, installation: Installation) -> None:
        self._installation = installation
        self._server: ServeProcess

    async def set_up(self, *, delay_ms: int) -> None:
        """Set a slot up whose provider takes `delay_ms`, and start the server."""
        await self._installation.set_up(
            {"effect": "none", "delay_ms": delay_ms},
            timeout_sec=60,
            max_concurrency=1_000,  # no job waits for a place
        )
        self._server = await asyncio.to_thread(self._installation.serve, "--no-worker")

    async def takeovers(self, rounds: int) -> list[float]:
        """Kill the worker that has a job, again and again; return how long it took until another had it."""
        workers = [await working(self._installation, workers=1) for _ in range(2)]
        return [await self._takeover(workers) for _ in range(rounds)]

    async def _takeover(self, workers: list[Process]) -> float:
        sending = asyncio.create_task(photo_to(self._server, SLOT))
        busy = await eventually(lambda: self._busy(workers), within_sec=60)
        assert busy is not None
        await asyncio.sleep(random.uniform(0, 1.4))  # anywhere between two renewals
        busy.kill()
        killed_at = time.monotonic()
        await self._claimed_again()
        took = time.monotonic() - killed_at
        assert (await sending).status == 200
        workers.remove(busy)
        workers.append(await working(self._installation, workers=1))
        return took

    async def _busy(self, workers: list[Process]) -> Process | None:
        """Return the worker that has begun one more job than it has ended."""
        for worker in workers:
            events = [line["event"] for line in _lines(worker)]
            if events.count("job started") > events.count("job ended"):
                return worker
        return None

    async def _claimed_again(self) -> None:
        url = self._installation.environment.database_url or ""
        async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:

            async def is_claimed() -> bool:
                statement = "SELECT FROM job WHERE state = 'processing' AND fence > 1"
                return (await (await connection.execute(statement)).fetchone()) is not None

            await eventually(is_claimed)

    async def stop_and_go_on(self, jobs: int, *, another: bool) -> Stopped:
        """Stop a worker while it stores pictures, until its leases have lapsed; then let it go on.

        With `another` worker beside it, that one does the jobs meanwhile; without, it does them again itself.
        """
        known = {job.job_id for job in await self._installation.jobs()}
        spans = {"OTEL_TRACES_EXPORTER": "console"}
        first = await working(self._installation, workers=jobs, variables=spans)
        sending = [asyncio.create_task(photo_to(self._server, SLOT)) for _ in range(jobs)]
        await eventually(lambda: self._some_are_done(first), within_sec=60)
        first.send_signal(signal.SIGSTOP)
        stopped_at = datetime.now(UTC)
        # Others wait yet, or arrive: whoever does them has no lease but his own.
        held = [job for job in await self._new_jobs(known) if job.state is JobState.PROCESSING]
        second = self._installation.worker(workers=jobs) if another else None
        await self._lapsed(finished=another)
        tried_before = _writes(first)
        first.send_signal(signal.SIGCONT)
        assert {(await each).status for each in sending} == {200}
        for worker in filter(None, (first, second)):
            await asyncio.to_thread(worker.stop)
        tried = _writes(first) - tried_before
        return await self._judged(known, held, tried, stopped_at=stopped_at, another=another)

    async def _some_are_done(self, worker: Process) -> bool:
        return any(line["event"] == "job ended" for line in _lines(worker))

    async def _new_jobs(self, known: set[Any]) -> list[Job]:
        return [job for job in await self._installation.jobs() if job.job_id not in known]

    async def _lapsed(self, *, finished: bool) -> None:
        """Wait until no job is under a lease, or where another worker does them, until all are done."""
        url = self._installation.environment.database_url or ""
        under_way = "finalized_at IS NULL"
        leased = f"{under_way} AND lease_expires_at > clock_timestamp()"
        statement = f"SELECT FROM job WHERE {under_way if finished else leased}"
        async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:

            async def none_is() -> bool:
                return (await (await connection.execute(statement.encode())).fetchone()) is None

            await eventually(none_is, within_sec=60)

    async def _judged(
        self, known: set[Any], held: list[Job], tried: int, *, stopped_at: datetime, another: bool
    ) -> Stopped:
        after = {job.job_id: job for job in await self._new_jobs(known)}
        # What the worker had sent before it was stopped is written a moment later, under its lease.
        ended = [
            job
            for job in (after[each.job_id] for each in held)
            if job.finalized_at and job.finalized_at > stopped_at + _IN_FLIGHT
        ]

        async def nothing_left() -> bool:
            return not await self._installation.leftovers()

        await eventually(nothing_left, within_sec=90)
        again = sum(job.fence - FIRST_CLAIM for job in ended)
        return Stopped(
            jobs=len(ended),
            writes_tried=tried if another else max(0, tried - again),
            writes_accepted=sum(job.fence == FIRST_CLAIM for job in ended),
            calls_again=again,
            discrepancies=await self._installation.discrepancies(),
        )


def _lines(worker: Process) -> list[dict[str, Any]]:
    text = worker.log_path.read_text()
    lines = [line for line in text.splitlines() if line.startswith('{"') and line.endswith("}")]
    return [json.loads(line) for line in lines]


def _writes(worker: Process) -> int:
    text = worker.log_path.read_text()
    return sum(text.count(f'"name": "JobRepository.{write}"') for write in ("finalize", "renew"))


def figures(parts: list[Stopped]) -> Stopped:
    """Return the sum of several rounds."""
    return Stopped(
        jobs=sum(part.jobs for part in parts),
        writes_tried=sum(part.writes_tried for part in parts),
        writes_accepted=sum(part.writes_accepted for part in parts),
        calls_again=sum(part.calls_again for part in parts),
        discrepancies=[each for part in parts for each in part.discrepancies],
    )
