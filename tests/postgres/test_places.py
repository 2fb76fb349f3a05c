"""Places over several processes: nobody waits for a poll, and nobody who is stopped holds up the others."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace

import psycopg
import pytest

from photochanger.adapters.postgres import (
    PostgresJobRepository,
    PostgresSettingsRepository,
    PostgresSignals,
    PostgresSlotRepository,
    create_pool,
)
from photochanger.adapters.postgres.claim_lock import _LOCK
from photochanger.adapters.system_clock import SystemClock
from photochanger.application.configuration import CurrentConfiguration
from photochanger.application.ports import JobReading, Place
from photochanger.application.provider_places import TakePlace
from photochanger.application.signal_hub import SignalHub
from photochanger.application.worker import Worker
from photochanger.domain.concurrency import ConcurrencyLimits
from photochanger.domain.errors import DatabaseUnavailable
from photochanger.domain.job import JobId
from photochanger.testing.harness import A_SLOT, ANOTHER_SLOT, HOUR, SECOND, Records, an_entry
from photochanger.testing.job_places import claimed, end, held, move, submitted

pytestmark = pytest.mark.anyio

_NEVER_SEC = 600.0
"""A poll that no test lives to see."""
_AT_ONCE_SEC = 5.0
"""Far more than a signal takes, and far less than that."""


@dataclass
class Process:
    """What a process of its own would have: a pool, signals, a configuration, and a worker."""

    jobs: PostgresJobRepository
    signals: PostgresSignals
    configuration: CurrentConfiguration
    started: "asyncio.Queue[JobReading]"

    async def next(self) -> JobId:
        """Return the next job that its worker has begun."""
        async with asyncio.timeout(_AT_ONCE_SEC):
            return (await self.started.get()).job.job_id

    def take_place(self) -> TakePlace:
        """Return what waits for places, in this process."""
        return TakePlace(
            jobs=self.jobs, signals=self.signals, configuration=self.configuration, clock=SystemClock()
        )


@asynccontextmanager
async def process(dsn: str, *, room: int) -> AsyncIterator[Process]:
    """Run such a process; its worker begins jobs, and never ends one."""
    hub, started = SignalHub(), asyncio.Queue[JobReading]()
    signals = PostgresSignals(dsn, hub)
    async with create_pool(dsn, min_size=1, max_size=4, timeout_sec=30) as pool:
        configuration = CurrentConfiguration(
            slots=PostgresSlotRepository(pool, hub),
            settings=PostgresSettingsRepository(pool, hub),
            signals=signals,
            clock=SystemClock(),
        )
        jobs = PostgresJobRepository(pool, hub)

        async def run(reading: JobReading) -> None:
            started.put_nowait(reading)
            await asyncio.Event().wait()

        worker = Worker(
            jobs=jobs,
            signals=signals,
            configuration=configuration,
            run=run,
            concurrency=room,
            lease=HOUR,
            poll_sec=_NEVER_SEC,
        )
        await signals.start()
        working = asyncio.create_task(worker.serve())
        try:
            yield Process(jobs, signals, configuration, started)
        finally:
            worker.stop()
            await working
            await signals.stop()


@pytest.fixture
async def limited(records: Records) -> AsyncIterator[Records]:
    """One job at a time at each slot and at each of the providers p and q."""
    before = await records.settings.get()
    limits = replace(before.limits, per_slot=1, per_provider={"p": 1, "q": 1})
    await records.settings.save(replace(before, limits=limits), entry=an_entry())
    yield records
    version = (await records.settings.get()).version
    await records.settings.save(replace(before, version=version), entry=an_entry())


async def _cancel(records: Records, job_id: JobId) -> None:
    await records.jobs.cancel(job_id, entry=an_entry())


async def _release(records: Records, job_id: JobId) -> None:
    await records.jobs.release(job_id, fence=1)


@pytest.mark.parametrize("ending", [end, _cancel])
async def test_an_idle_worker_hears_of_a_job_that_ended_elsewhere(
    limited: Records, worker_database: str, ending: Callable[[Records, JobId], Awaitable[None]]
) -> None:
    """Whoever ended it may have no worker at all."""
    first = await held(limited, "p")
    async with process(worker_database, room=4) as idle:
        [second, third] = await submitted(limited, "p", "p")
        await ending(limited, first.job.job_id)
        assert await idle.next() == second
        await ending(limited, second)
        assert await idle.next() == third


async def test_an_idle_worker_hears_of_a_place_at_another_slot(
    limited: Records, worker_database: str
) -> None:
    """One end frees two places, for two jobs; whoever ended the job has room for one of them."""
    async with AsyncExitStack() as stack:
        first = await held(limited, "p")
        [same_slot] = await submitted(limited, "q")
        [same_provider] = await submitted(limited, "p", slot_id=ANOTHER_SLOT)
        full, idle = [await stack.enter_async_context(process(worker_database, room=1)) for _ in range(2)]
        await end(limited, first.job.job_id)
        assert {await full.next(), await idle.next()} == {same_slot, same_provider}


async def test_an_idle_worker_hears_of_a_job_that_was_handed_back(
    limited: Records, worker_database: str
) -> None:
    first = await held(limited, "p")
    async with process(worker_database, room=4) as idle:
        await submitted(limited, "p")
        await limited.jobs.release(first.job.job_id, fence=1)
        assert await idle.next() == first.job.job_id


async def test_an_idle_worker_hears_of_a_job_that_goes_to_another_provider(
    limited: Records, worker_database: str
) -> None:
    first = await held(limited, "p")
    async with process(worker_database, room=4) as idle:
        [second] = await submitted(limited, "p", slot_id=ANOTHER_SLOT)
        assert await move(limited, first, "q") is Place.TAKEN
        assert await idle.next() == second


async def test_a_limit_that_is_raised_holds_at_once(limited: Records, worker_database: str) -> None:
    await held(limited, "p")
    async with process(worker_database, room=4) as idle:
        [second] = await submitted(limited, "r")
        settings = await limited.settings.get()
        raised = replace(settings, limits=replace(settings.limits, per_slot=2))
        await limited.settings.save(raised, entry=an_entry())
        assert await idle.next() == second


@pytest.mark.parametrize("ending", [end, _cancel, _release])
async def test_who_waits_at_a_provider_hears_that_it_is_his_turn(
    limited: Records, worker_database: str, ending: Callable[[Records, JobId], Awaitable[None]]
) -> None:
    first, moving = await held(limited, "q"), await held(limited, "p")
    async with process(worker_database, room=0) as elsewhere:
        waiting = asyncio.create_task(elsewhere.take_place()(moving.job, "q", within_sec=30))
        await asyncio.sleep(0.1)
        assert not waiting.done()
        await ending(limited, first.job.job_id)
        async with asyncio.timeout(_AT_ONCE_SEC):
            assert await waiting


async def test_a_lapsed_lease_that_somebody_is_at_still_holds_its_place(
    records: Records, worker_database: str
) -> None:
    """He may be renewing it at this moment."""
    limits = ConcurrencyLimits(slots={A_SLOT: 1})
    await submitted(records, "p", "p")
    [first] = await records.jobs.claim(limit=1, lease=SECOND, limits=limits)
    await records.time_passes(2 * SECOND)
    with psycopg.connect(worker_database) as other:
        other.execute("SELECT FROM job WHERE job_id = %s FOR UPDATE", [first.job.job_id])
        assert await claimed(records, limits) == []
        other.rollback()
    assert await claimed(records, limits) == [first.job.job_id]


async def test_a_locked_job_keeps_nobody_from_claiming_one_behind_it(
    records: Records, worker_database: str
) -> None:
    first, second = await submitted(records, "p", "p")
    with psycopg.connect(worker_database) as other:
        other.execute("SELECT FROM job WHERE job_id = %s FOR UPDATE", [first])
        async with asyncio.timeout(_AT_ONCE_SEC):
            assert await claimed(records, ConcurrencyLimits(), limit=1) == [second]
        other.rollback()


async def test_claims_are_made_one_after_the_other(
    records: Records, worker_database: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever comes while a claim is made waits for it, and sees what it did; not for ever."""
    [job_id] = await submitted(records, "p")
    with psycopg.connect(worker_database) as other:
        other.execute(_LOCK.rstrip(b";"))
        waiting = asyncio.create_task(records.jobs.claim(limit=1, lease=HOUR))
        await asyncio.sleep(0.2)
        assert not waiting.done()
        other.rollback()
        assert [reading.job.job_id for reading in await waiting] == [job_id]
        other.execute(_LOCK.rstrip(b";"))
        with pytest.raises(DatabaseUnavailable):
            await records.jobs.claim(limit=1, lease=HOUR)
    assert await claimed(records, ConcurrencyLimits()) == []
    assert not caplog.records, "the pool found every connection as it has to be"
