"""The password check, the configuration cache, results, the sweep and the worker."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta

import pytest

from photochanger.adapters.memory import FastPasswordHasherForTests, ManualClock
from photochanger.application.configuration import MAX_AGE_SEC, CurrentConfiguration
from photochanger.application.ingest_password import CheckIngestPassword
from photochanger.application.ports import Claimed, JobReading
from photochanger.application.worker import JobRunner, Worker
from photochanger.domain.concurrency import ConcurrencyLimits
from photochanger.domain.errors import (
    DatabaseUnavailable,
    InvalidPassword,
    JobNotFound,
    ResultExpired,
    ResultNotFound,
)
from photochanger.domain.job import JobId, JobState
from photochanger.domain.media import MediaKind
from photochanger.domain.settings import Settings
from photochanger.domain.slot import Slot
from tests.unit.application.house import SLOT, House, hang

pytestmark = pytest.mark.anyio


@pytest.fixture
async def house() -> House:
    house = House()
    await house.set_up()
    return house


class CountingHasher(FastPasswordHasherForTests):
    """Counts how often a password was really verified."""

    verified = 0

    async def verify(self, password: str, password_hash: str) -> bool:
        self.verified += 1
        return await super().verify(password, password_hash)


class TestPassword:
    """The check of the ingest password."""

    async def protected(self, house: House, general: str | None, own: str | None) -> tuple[Slot, Settings]:
        settings, slot = Settings(), await house.storage.slots.get(SLOT)
        if general:
            hashed = await house.hasher.hash(general)
            settings = replace(settings, ingest=replace(settings.ingest, password_hash=hashed))
        if own:
            slot = replace(slot, ingest_password_hash=await house.hasher.hash(own))
        return slot, settings

    @pytest.mark.parametrize(
        ("general", "own", "given", "accepted"),
        [
            ("general-1", None, "general-1", True),
            ("general-1", None, "general-2", False),
            ("general-1", None, "general-1 ", False),
            ("general-1", None, "General-1", False),
            ("general-1", None, None, False),
            ("general-1", None, "", False),
            ("general-1", "own-pass", "own-pass", True),
            ("general-1", "own-pass", "general-1", False),
            (None, None, "anything", False),
            ("x" * 128, None, "x" * 129, False),
        ],
    )
    async def test_the_slots_own_password_counts_or_else_the_general_one(
        self, house: House, general: str | None, own: str | None, given: str | None, accepted: bool
    ) -> None:
        slot, settings = await self.protected(house, general, own)
        check = CheckIngestPassword(house.hasher)

        if accepted:
            await check(given, slot, settings)
        else:
            with pytest.raises(InvalidPassword):
                await check(given, slot, settings)

    async def test_a_password_that_was_right_is_hashed_once(self, house: House) -> None:
        slot, settings = await self.protected(house, "general-1", None)
        hasher = CountingHasher()
        check = CheckIngestPassword(hasher)

        for _ in range(5):
            await check("general-1", slot, settings)

        assert hasher.verified == 1

    async def test_photos_that_come_at_once_share_one_hashing(self, house: House) -> None:
        slot, settings = await self.protected(house, "general-1", None)
        hasher = CountingHasher()
        check = CheckIngestPassword(hasher)

        right = [check("general-1", slot, settings) for _ in range(20)]
        wrong = [check("general-2", slot, settings) for _ in range(20)]
        outcomes = await asyncio.gather(*right, *wrong, return_exceptions=True)

        assert outcomes[:20] == [None] * 20
        assert {type(outcome) for outcome in outcomes[20:]} == {InvalidPassword}
        assert hasher.verified == 2

    async def test_a_changed_password_is_in_force_at_once(self, house: House) -> None:
        check = CheckIngestPassword(house.hasher)
        slot, before = await self.protected(house, "general-1", None)
        await check("general-1", slot, before)
        slot, after = await self.protected(house, "general-2", None)

        with pytest.raises(InvalidPassword):
            await check("general-1", slot, after)
        await check("general-2", slot, after)


class TestConfiguration:
    """The cache of slots and settings."""

    async def test_a_change_is_seen_at_once_by_its_signal(self) -> None:
        house = House(ManualClock())
        assert not (await house.configuration.get()).slot(SLOT).configuration.is_active

        await house.set_up()

        assert (await house.configuration.get()).slot(SLOT).configuration.is_active

    async def test_a_change_whose_signal_was_lost_is_seen_within_a_second(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        clock = ManualClock()
        house = House(clock)
        await house.configuration.get()
        monkeypatch.setattr(house.storage.records.hub, "announce", lambda *_: None)
        await house.set_up()
        assert not (await house.configuration.get()).slot(SLOT).configuration.is_active

        clock.advance(timedelta(seconds=MAX_AGE_SEC))

        assert (await house.configuration.get()).slot(SLOT).configuration.is_active

    async def test_who_waits_for_a_reading_that_fails_is_told_then_and_not_one_after_the_other(
        self, house: House, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        readings, may_fail = [], asyncio.Event()

        async def refuse() -> None:
            readings.append(True)
            await may_fail.wait()
            raise DatabaseUnavailable

        monkeypatch.setattr(house.storage.slots, "list", refuse)
        configuration = CurrentConfiguration(
            slots=house.storage.slots,
            settings=house.storage.settings,
            signals=house.storage.signals,
            clock=house.clock,
        )
        asking = [asyncio.create_task(configuration.get()) for _ in range(5)]
        await asyncio.wait(asking, timeout=0)
        may_fail.set()

        outcomes = await asyncio.gather(*asking, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == 5 * [DatabaseUnavailable]
        assert len(readings) == 1
        with pytest.raises(DatabaseUnavailable):
            await configuration.get()
        assert len(readings) == 2, "who comes later asks again"

    async def test_a_photo_costs_no_query(self, house: House, monkeypatch: pytest.MonkeyPatch) -> None:
        await house.configuration.get()

        async def refuse() -> None:
            raise DatabaseUnavailable

        monkeypatch.setattr(house.storage.settings, "get", refuse)
        await house.submit_photo.admit(SLOT, arrived_at=0)


class TestResults:
    """Looking at jobs and results, at the boundaries of their time."""

    async def completed(self) -> tuple[House, ManualClock, str]:
        clock = ManualClock()
        house = House(clock)
        await house.set_up()
        job = (await house.submit()).reading.job
        await house.process_job(await house.claim())
        return house, clock, job.job_id

    async def test_a_result_is_there_a_microsecond_before_its_end_and_gone_at_it(self) -> None:
        house, clock, job_id = await self.completed()

        clock.advance(timedelta(hours=72) - timedelta(microseconds=1))
        for kind in (MediaKind.RESULT, MediaKind.PREVIEW):
            assert (await house.open_result(job_id, kind)).time_left == timedelta(microseconds=1)
        await house.read_job(job_id)
        clock.advance(timedelta(microseconds=1))

        for kind in (MediaKind.RESULT, MediaKind.PREVIEW):
            with pytest.raises(ResultExpired):
                await house.open_result(job_id, kind)
        with pytest.raises(JobNotFound):
            await house.read_job(job_id)

    async def test_an_expired_result_is_swept_away_and_stays_expired(self) -> None:
        house, clock, job_id = await self.completed()
        clock.advance(timedelta(hours=72))

        await house.sweep()

        assert (await house.files(), house.living_rows()) == ([], [])
        with pytest.raises(ResultExpired):
            await house.open_result(job_id)

    async def test_a_job_without_a_result_has_none(self, house: House) -> None:
        submitted = await house.submit()
        with pytest.raises(ResultNotFound):
            await house.open_result(submitted.reading.job.job_id)

    @pytest.mark.parametrize("job_id", ["0" * 32, "", "../../etc/passwd", "A" * 32])
    async def test_what_never_was_is_not_found(self, house: House, job_id: str) -> None:
        with pytest.raises(ResultNotFound):
            await house.open_result(job_id)
        with pytest.raises(JobNotFound):
            await house.read_job(job_id)


@asynccontextmanager
async def working(house: House, run: JobRunner, *, concurrency: int = 2) -> AsyncIterator[Worker]:
    worker = Worker(
        jobs=house.jobs,
        signals=house.storage.signals,
        configuration=house.configuration,
        run=run,
        concurrency=concurrency,
        poll_sec=0.02,
    )
    task = asyncio.create_task(worker.serve())
    try:
        yield worker
    finally:
        worker.stop()
        await asyncio.wait_for(task, 2)


class TestWorker:
    """Claiming and running jobs."""

    async def outcome(self, house: House, job_id: str) -> JobReading:
        reading = await house.read_job(job_id)
        return await house.await_outcome(reading.job.job_id, deadline=house.clock.monotonic() + 5)

    async def test_it_does_jobs_as_they_come(self, house: House) -> None:
        async with working(house, house.process_job):
            for _ in range(5):
                job_id = (await house.submit()).reading.job.job_id
                assert (await self.outcome(house, job_id)).job.state is JobState.COMPLETED

    async def test_it_does_no_more_at_once_than_it_has_room_for_and_in_order(self, house: House) -> None:
        running, most, order = 0, 0, []
        full, release = asyncio.Event(), asyncio.Event()

        async def run(reading: JobReading) -> None:
            nonlocal running, most
            running, most = running + 1, max(most, running + 1)
            order.append(reading.job.job_id)
            if running == 3:
                full.set()
            await release.wait()
            running -= 1
            await house.process_job(reading)

        submitted = [(await house.submit()).reading.job.job_id for _ in range(7)]
        async with working(house, run, concurrency=3):
            await full.wait()
            release.set()
            for job_id in submitted:
                await self.outcome(house, job_id)

        assert (most, order) == (3, submitted)

    async def test_room_that_is_made_while_it_claims_is_used_at_once(
        self, house: House, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """One job ends, and the other while the next one is being claimed: then there is room for two."""
        claim, begun = house.jobs.claim, asyncio.Queue[JobReading]()
        ends: dict[JobId, asyncio.Event] = defaultdict(asyncio.Event)

        async def run(reading: JobReading) -> None:
            begun.put_nowait(reading)
            await ends[reading.job.job_id].wait()

        async def claim_while_the_other_ends(
            *, limit: int, lease: timedelta, limits: ConcurrencyLimits
        ) -> Claimed:
            monkeypatch.setattr(house.jobs, "claim", claim)
            ends[ids[1]].set()
            await asyncio.wait(worker._running)
            return await claim(limit=limit, lease=lease, limits=limits)

        ids = [(await house.submit()).reading.job.job_id for _ in range(4)]
        async with working(house, run, concurrency=2) as worker:
            assert [(await begun.get()).job.job_id for _ in range(2)] == ids[:2]
            monkeypatch.setattr(house.jobs, "claim", claim_while_the_other_ends)
            ends[ids[0]].set()
            async with asyncio.timeout(5):
                assert [(await begun.get()).job.job_id for _ in range(2)] == ids[2:]
            for job_id in ids[2:]:
                ends[job_id].set()

    async def test_a_job_that_crashes_does_not_end_it(self, house: House) -> None:
        crashes = 1

        async def run(reading: JobReading) -> None:
            nonlocal crashes
            if crashes:
                crashes -= 1
                raise ZeroDivisionError
            await house.process_job(reading)

        await house.submit()
        async with working(house, run):
            job_id = (await house.submit()).reading.job.job_id
            assert (await self.outcome(house, job_id)).job.state is JobState.COMPLETED

    async def test_a_database_that_is_away_does_not_end_it(
        self, house: House, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        claim, away = house.jobs.claim, asyncio.Event()

        async def refuse_once(*, limit: int, lease: timedelta, limits: ConcurrencyLimits) -> Claimed:
            if not away.is_set():
                away.set()
                raise DatabaseUnavailable
            return await claim(limit=limit, lease=lease, limits=limits)

        monkeypatch.setattr(house.jobs, "claim", refuse_once)
        job_id = (await house.submit()).reading.job.job_id
        async with working(house, house.process_job):
            assert (await self.outcome(house, job_id)).job.state is JobState.COMPLETED

    async def test_when_it_stops_it_hands_back_what_it_has_not_finished(self, house: House) -> None:
        house.provider.behaviour = hang
        submitted = await house.submit()
        async with working(house, house.process_job):
            await house.provider.called.wait()

        assert (await house.state_of(submitted)).job.state is JobState.PENDING

    async def test_a_job_whose_worker_died_is_taken_over(self) -> None:
        clock = ManualClock()
        house = House(clock)
        await house.set_up()
        await house.submit()
        dead = await house.claim()

        clock.advance(timedelta(seconds=4))
        taken_over = await house.claim()

        assert taken_over.job.job_id == dead.job.job_id
        assert taken_over.job.fence == dead.job.fence + 1
