"""A process that claims: a real worker, whose jobs are calls of the provider that the race watches.

    python -m tests.claims.claimer DSN PORT

A job is one line to the provider, `call JOB SLOT PROVIDER`, and one line back. One job in ten then moves to
the next provider and calls that too, as for a fallback. When a job has ended, its line is written to the
standard output.
"""

import asyncio
import json
import sys
import time
import uuid
from datetime import timedelta

from photochanger.adapters.postgres import (
    PostgresJobRepository,
    PostgresSettingsRepository,
    PostgresSignals,
    PostgresSlotRepository,
    create_pool,
)
from photochanger.adapters.system_clock import SystemClock
from photochanger.application.configuration import CurrentConfiguration
from photochanger.application.ports import Claimed, JobReading, JobRepository, Signals, Verdict
from photochanger.application.provider_places import TakePlace
from photochanger.application.signal_hub import SignalHub
from photochanger.application.worker import Worker
from photochanger.domain.concurrency import UNLIMITED, ConcurrencyLimits
from photochanger.domain.job import Job, JobEvent

PROVIDERS = ("p", "q", "r")
FALLBACK_EVERY = 10
CONCURRENCY = 4


def falls_back(job_id: str) -> bool:
    """Say whether the job goes on to the next provider."""
    return int(job_id, 16) % FALLBACK_EVERY == 0


def fallback_of(provider: str) -> str:
    """Return the next provider."""
    return PROVIDERS[(PROVIDERS.index(provider) + 1) % len(PROVIDERS)]


class _Claims(PostgresJobRepository):
    """The repository, which remembers with which claim a job came."""

    claim_of: dict[str, str]

    async def claim(self, *, limit: int, lease: timedelta, limits: ConcurrencyLimits = UNLIMITED) -> Claimed:
        claimed = await super().claim(limit=limit, lease=lease, limits=limits)
        self.claim_of |= dict.fromkeys((reading.job.job_id for reading in claimed), uuid.uuid4().hex)
        return claimed


class _Caller:
    """Does jobs: calls, perhaps moves and calls again, and ends them."""

    def __init__(self, jobs: JobRepository, take_place: TakePlace, port: int) -> None:
        self._jobs, self._take_place, self._port = jobs, take_place, port

    async def __call__(self, reading: JobReading) -> None:
        job, provider = reading.job, reading.job.configuration.call.provider
        await self._call(job, provider)
        if falls_back(job.job_id):
            while not await self._take_place(job, fallback_of(provider), within_sec=60):
                continue
            await self._call(job, fallback_of(provider))
        verdict = Verdict(event=JobEvent.PROVIDER_FAILED, attempts=1, failure_reason="provider_error")
        assert await self._jobs.finalize(job.job_id, verdict, fence=job.fence) is not None
        assert isinstance(self._jobs, _Claims)
        assert job.started_at is not None
        line = {
            "job_id": job.job_id,
            "claim": self._jobs.claim_of.pop(job.job_id),
            "started_at": job.started_at.timestamp(),
            "ended_at": time.time(),
        }
        sys.stdout.write(json.dumps(line) + "\n")
        sys.stdout.flush()

    async def _call(self, job: Job, provider: str) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        writer.write(f"{job.job_id} {job.slot_id} {provider}\n".encode())
        await reader.readline()
        writer.close()
        await writer.wait_closed()


async def _claim(dsn: str, port: int) -> None:
    hub, clock = SignalHub(), SystemClock()
    async with create_pool(dsn, max_size=6, timeout_sec=60) as pool:
        signals = PostgresSignals(dsn, hub, pool)
        await signals.start()
        jobs = _Claims(pool, hub)
        jobs.claim_of = {}
        worker = _worker(
            jobs,
            signals,
            CurrentConfiguration(
                slots=PostgresSlotRepository(pool, hub),
                settings=PostgresSettingsRepository(pool, hub),
                signals=signals,
                clock=clock,
            ),
            clock,
            port,
        )
        working = asyncio.create_task(worker.serve())
        await asyncio.to_thread(sys.stdin.read)
        worker.stop()
        await working
    await signals.stop()


def _worker(
    jobs: _Claims, signals: Signals, configuration: CurrentConfiguration, clock: SystemClock, port: int
) -> Worker:
    take_place = TakePlace(jobs=jobs, signals=signals, configuration=configuration, clock=clock)
    return Worker(
        jobs=jobs,
        signals=signals,
        configuration=configuration,
        run=_Caller(jobs, take_place, port),
        concurrency=CONCURRENCY,
        lease=timedelta(minutes=10),  # nobody dies here, and nobody renews
    )


if __name__ == "__main__":
    asyncio.run(_claim(sys.argv[1], int(sys.argv[2])))
