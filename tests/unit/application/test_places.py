"""Concurrency limits as the use cases see them: a worker under limits, and a fallback that has to wait."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import BinaryIO

import pytest

from photochanger.application.ports import JobReading, Place, Submitted, TransformRequest
from photochanger.application.process_job import LEASE
from photochanger.application.worker import Worker
from photochanger.domain.errors import DatabaseUnavailable, ProviderRefused
from photochanger.domain.job import JobId, JobState, ResultSource
from photochanger.domain.slot import ProviderCall, RetryPolicy
from photochanger.testing.harness import an_entry
from tests.unit.application.house import House, fails_with, hang, paint

pytestmark = pytest.mark.anyio

FALLBACK = ProviderCall(provider="sculptor", operation="paint")


@pytest.fixture
async def house() -> House:
    house = House()
    await house.set_up(retry=RetryPolicy(max_attempts=0, backoff_ms=0), fallback=FALLBACK)
    return house


async def limit(house: House, *, per_slot: int = 8, per_provider: Mapping[str, int] | None = None) -> None:
    settings = await house.storage.settings.get()
    limits = replace(settings.limits, per_slot=per_slot, per_provider=per_provider or {})
    await house.storage.settings.save(replace(settings, limits=limits), entry=an_entry())


async def test_what_is_in_force_is_the_slots_own_limit_or_else_the_general_one(house: House) -> None:
    await limit(house, per_slot=3, per_provider={"painter": 2})
    await house.set_up(max_concurrency=5)
    limits = (await house.configuration.get()).limits
    assert limits.slots == {slot_id: 5 if slot_id == "slot-001" else 3 for slot_id in limits.slots}
    assert len(limits.slots) == 15
    assert limits.providers == {"painter": 2}


class _Working:
    """A worker that never polls, and what it has begun; `end` lets a job fail."""

    def __init__(self, house: House, *, concurrency: int) -> None:
        self.house = house
        self.begun: asyncio.Queue[JobReading] = asyncio.Queue()
        self.ends: dict[JobId, asyncio.Event] = {}
        self.worker = Worker(
            jobs=house.jobs,
            signals=house.storage.signals,
            configuration=house.configuration,
            run=self._run,
            concurrency=concurrency,
            poll_sec=600,
        )

    async def _run(self, reading: JobReading) -> None:
        self.ends[reading.job.job_id] = asyncio.Event()
        self.begun.put_nowait(reading)
        await self.ends[reading.job.job_id].wait()
        await self.house.jobs.cancel(reading.job.job_id, entry=an_entry())

    async def next(self) -> JobId:
        async with asyncio.timeout(5):
            return (await self.begun.get()).job.job_id

    async def __aenter__(self) -> "_Working":
        self._task = asyncio.create_task(self.worker.serve())
        return self

    async def __aexit__(self, *_: object) -> None:
        self.worker.stop()
        await self._task


def id_of(submitted: Submitted) -> JobId:
    return submitted.reading.job.job_id


async def test_a_worker_with_room_does_no_more_of_a_slot_than_may_be_done(house: House) -> None:
    await limit(house, per_slot=2)
    ids = [id_of(await house.submit()) for _ in range(5)]
    async with _Working(house, concurrency=4) as working:
        assert [await working.next() for _ in range(2)] == ids[:2]
        for number in range(3):
            assert working.worker.running == 2
            working.ends[ids[number]].set()
            assert await working.next() == ids[number + 2]


async def test_a_limit_that_is_raised_lets_jobs_begin_without_a_poll(house: House) -> None:
    await limit(house, per_slot=1)
    ids = [id_of(await house.submit()) for _ in range(2)]
    async with _Working(house, concurrency=4) as working:
        assert await working.next() == ids[0]
        await limit(house, per_slot=2)
        assert await working.next() == ids[1]


async def test_two_workers_share_the_limit(house: House) -> None:
    """An idle one hears that a job of the other's has ended, also where that one has no room itself."""
    await limit(house, per_slot=2)
    ids = [id_of(await house.submit()) for _ in range(4)]
    async with _Working(house, concurrency=1) as one, _Working(house, concurrency=9) as other:
        assert {await one.next(), await other.next()} == set(ids[:2])
        await house.jobs.cancel(ids[0], entry=an_entry())
        assert await other.next() == ids[2]


async def test_a_job_that_goes_on_to_its_fallback_leaves_its_provider(house: House) -> None:
    await limit(house, per_provider={"painter": 1, "sculptor": 1})
    house.provider.behaviour = fails_with(ProviderRefused())
    house.other_provider.behaviour = hang
    await house.submit()
    next_one = await house.submit()
    working = asyncio.create_task(house.process_job(await house.claim()))
    await house.other_provider.called.wait()

    [claimed] = await house.jobs.claim(limit=5, lease=LEASE, limits=(await house.configuration.get()).limits)

    assert claimed.job.job_id == id_of(next_one)
    working.cancel()
    await asyncio.wait([working])


async def test_a_fallback_whose_provider_is_full_waits_its_turn(house: House) -> None:
    await limit(house, per_provider={"sculptor": 1})
    at_fallback = await _at_the_fallback(house)
    house.provider.behaviour = fails_with(ProviderRefused())
    submitted = await house.submit()
    working = asyncio.create_task(house.process_job(await house.claim()))
    await asyncio.wait([working], timeout=0.2)
    assert len(house.failed_attempts) == 1
    assert not house.other_provider.requests

    await house.jobs.cancel(at_fallback, entry=an_entry())
    await working

    job = (await house.state_of(submitted)).job
    assert job.state is JobState.COMPLETED
    assert job.result is not None
    assert job.result.source is ResultSource.FALLBACK


async def test_a_fallback_that_gets_no_place_in_time_ends_with_the_first_fault(house: House) -> None:
    await limit(house, per_provider={"sculptor": 1})
    await _at_the_fallback(house)
    house.provider.behaviour = fails_with(ProviderRefused())
    submitted = await house.submit(time_left_sec=1.2)

    await house.process_job(await house.claim())

    job = (await house.state_of(submitted)).job
    assert (job.state, job.failure_reason) == (JobState.FAILED_PROVIDER, "provider_refused")
    assert house.other_provider.requests == []
    assert job.attempts == 1, "to wait for a place is no attempt"


async def test_an_ordinary_job_moves_nowhere(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    async def move(job_id: JobId, *, fence: int, provider: str, places: int | None) -> Place:
        raise AssertionError

    monkeypatch.setattr(house.jobs, "move", move)
    submitted = await house.submit()
    await house.process_job(await house.claim())
    assert (await house.state_of(submitted)).job.state is JobState.COMPLETED


async def test_who_waits_for_a_place_waits_for_the_database_too(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is free is not known while it is away; so nobody is called."""
    move, asked = house.jobs.move, 0

    async def away_once(job_id: JobId, *, fence: int, provider: str, places: int | None) -> Place:
        nonlocal asked
        asked += 1
        if asked == 1:
            raise DatabaseUnavailable
        return await move(job_id, fence=fence, provider=provider, places=places)

    monkeypatch.setattr(house.jobs, "move", away_once)
    house.provider.behaviour = fails_with(ProviderRefused())
    submitted = await house.submit()

    await house.process_job(await house.claim())

    assert (await house.state_of(submitted)).job.state is JobState.COMPLETED
    assert asked == 2


async def test_two_that_are_each_others_fallback_get_past_each_other(house: House) -> None:
    """Each wants the place that the other has."""
    await limit(house, per_provider={"painter": 1, "sculptor": 1})
    met = asyncio.Barrier(2)

    async def refuse_first(request: TransformRequest, into: BinaryIO) -> None:
        await met.wait()
        house.provider.behaviour = house.other_provider.behaviour = paint
        raise ProviderRefused

    house.provider.behaviour = house.other_provider.behaviour = refuse_first
    one = await house.submit()
    await house.set_up(provider="sculptor", fallback=ProviderCall(provider="painter", operation="paint"))
    other = await house.submit()

    readings = [await house.claim(), await house.claim()]
    async with asyncio.timeout(10):
        await asyncio.gather(*(house.process_job(reading) for reading in readings))

    for submitted in (one, other):
        job = (await house.state_of(submitted)).job
        assert job.result is not None
        assert job.result.source is ResultSource.FALLBACK


async def _at_the_fallback(house: House) -> JobId:
    """Return a job that somebody holds, with a place at the fallback's provider."""
    submitted = await house.submit(b"image: another")
    claimed = await house.claim()
    job = claimed.job
    assert await house.jobs.move(job.job_id, fence=1, provider="sculptor", places=1) is Place.TAKEN
    return id_of(submitted)
