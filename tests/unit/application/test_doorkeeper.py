"""The door for photos: who is refused, at what cost, and what is left of it."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from photochanger.application.check_slot import CheckSlot
from photochanger.application.doorkeeper import PATIENCE_SEC, TRAFFIC_FRESH_SEC, Doorkeeper
from photochanger.application.ports import IngestGate, Passage
from photochanger.application.try_slot import TrySlot
from photochanger.domain.errors import DatabaseUnavailable, Overloaded, RateLimited, SlotBusy
from photochanger.domain.job import JobEvent
from photochanger.domain.media import MediaId
from photochanger.domain.rate import Rate
from photochanger.domain.settings import Settings
from photochanger.domain.slot import SlotId
from photochanger.domain.waiting import Pace, Traffic
from photochanger.testing.harness import an_entry, failure, new_id
from tests.unit.application.house import PHOTO, SLOT, House
from tests.unit.application.virtual_time import VirtualClock, run

TTL = timedelta(minutes=1)


class CountingGate(IngestGate):
    """A gate that counts what it is asked, and can be as slow or as broken as a database."""

    def __init__(self, gate: IngestGate) -> None:
        self._gate = gate
        self.calls: list[str] = []
        self.takes_sec = 0.0
        self.is_down = False
        self.at_once = self.most_at_once = 0

    async def _called(self, name: str) -> None:
        self.calls.append(name)
        self.at_once += 1
        self.most_at_once = max(self.at_once, self.most_at_once)
        try:
            await asyncio.sleep(self.takes_sec)
        finally:
            self.at_once -= 1
        if self.is_down:
            raise DatabaseUnavailable

    async def enter(
        self, media_id: MediaId, *, slot_id: SlotId, ttl: timedelta, rate: Rate | None
    ) -> Passage:
        await self._called("enter")
        return await self._gate.enter(media_id, slot_id=slot_id, ttl=ttl, rate=rate)

    async def leave(self, media_id: MediaId, *, rate: Rate | None) -> None:
        await self._called("leave")
        await self._gate.leave(media_id, rate=rate)

    async def traffic(self) -> Traffic:
        await self._called("traffic")
        return await self._gate.traffic()

    async def paces(self) -> Sequence[Pace]:
        await self._called("paces")
        return await self._gate.paces()

    async def tell_of_workers(self, process_id: str, *, places: int, ttl: timedelta) -> None:
        await self._gate.tell_of_workers(process_id, places=places, ttl=ttl)


class Door:
    """A house in virtual time whose gate is counted."""

    def __init__(self) -> None:
        self.house = House(VirtualClock())
        self.gate = CountingGate(self.house.storage.gate)
        self.keeper = self.another()

    def another(self) -> Doorkeeper:
        """Return the doorkeeper of another process; photos are taken in by it from now on."""
        keeper = Doorkeeper(gate=self.gate, clock=self.house.clock)
        self.house.submit_photo._doorkeeper = keeper
        return keeper

    async def set_up(self, *, took_sec: float | None = None, **room: Any) -> None:
        """Switch the slot on with room for so much; its last jobs took so long."""
        await self.house.set_up()
        if took_sec is not None:
            for _ in range(10):
                await self.house.submit()
                reading = await self.house.claim()
                job = reading.job
                await self.house.jobs.renew(job.job_id, fence=job.fence, lease=TTL)
                await asyncio.sleep(took_sec)
                verdict = failure(JobEvent.PROVIDER_FAILED)
                assert await self.house.jobs.finalize(job.job_id, verdict, fence=job.fence)
        await self.house.make_room(**room)
        await asyncio.sleep(2)  # so that the settings are in force, and nothing remembered is fresh
        self.gate.calls.clear()

    async def fill(self) -> int:
        """Send photos until one is refused; return how many were taken."""
        for taken in range(50):
            if await self.try_in() is not None:
                return taken
        raise AssertionError("nobody is refused")

    async def try_in(self) -> float | None:
        """Send a photo; return None where it is taken, else when to come again, in seconds."""
        try:
            await self.house.submit()
        except (RateLimited, SlotBusy, Overloaded) as refusal:
            return refusal.retry_after_sec
        return None


def test_a_photo_that_need_not_wait_costs_one_statement() -> None:
    async def scenario() -> list[str]:
        door = Door()
        await door.set_up(took_sec=3)
        assert await door.try_in() is None
        return door.gate.calls

    assert run(scenario()) == ["enter"]


def test_the_rate_is_kept_and_who_comes_after_the_wait_is_taken() -> None:
    async def scenario() -> None:
        door = Door()
        await door.set_up(rps=2, burst=3)
        assert [await door.try_in() for _ in range(3)] == [None] * 3
        assert await door.try_in() == pytest.approx(0.5)
        await asyncio.sleep(0.501)
        assert [await door.try_in() for _ in range(2)] == [None, pytest.approx(0.5, abs=0.01)]

    run(scenario())


def test_while_the_rate_lets_nobody_in_nobody_is_asked() -> None:
    async def scenario() -> list[str]:
        door = Door()
        await door.set_up(rps=1, burst=1)
        for _ in range(50):
            await door.try_in()
        return door.gate.calls

    assert run(scenario()) == ["enter"]


def test_another_process_is_told_by_the_gate_and_remembers_it() -> None:
    async def scenario() -> list[str]:
        door = Door()
        await door.set_up(rps=1, burst=1)
        await door.try_in()
        door.another()
        waits = [await door.try_in() for _ in range(5)]
        assert waits == [pytest.approx(1)] * 5
        return door.gate.calls

    assert run(scenario()) == ["enter", "enter"]


def test_a_new_rate_holds_at_once_whatever_is_remembered() -> None:
    async def scenario() -> None:
        door = Door()
        await door.set_up(rps=0.1, burst=1)
        await door.try_in()
        assert await door.try_in() == pytest.approx(10)
        await door.house.make_room(rps=10, burst=5)
        assert await door.try_in() == pytest.approx(0.1)
        await asyncio.sleep(0.11)
        assert await door.try_in() is None

    run(scenario())


def test_where_the_slot_cannot_do_it_in_time_it_is_busy_and_says_until_when() -> None:
    async def scenario() -> None:
        door = Door()
        await door.set_up(took_sec=10, per_slot=1)
        assert 2 <= await door.fill() <= 48 / 10
        wait_sec = await door.try_in()
        assert wait_sec is not None
        assert 0 < wait_sec <= 30
        with pytest.raises(SlotBusy):
            await door.house.submit()

    run(scenario())


@pytest.mark.parametrize("line", ["provider", "workers"])
def test_where_the_provider_or_the_workers_cannot_it_is_overloaded(line: str) -> None:
    async def scenario() -> None:
        door = Door()
        await door.set_up(took_sec=10)
        if line == "provider":
            settings = await door.house.storage.settings.get()
            limits = replace(settings.limits, per_provider={"painter": 1})
            await door.house.storage.settings.save(replace(settings, limits=limits), entry=an_entry("test"))
        else:
            await door.gate.tell_of_workers("one", places=1, ttl=TTL)
        await door.fill()
        with pytest.raises(Overloaded):
            await door.house.submit()

    run(scenario())


def test_a_flood_is_refused_without_statements_and_without_traces() -> None:
    async def scenario() -> None:
        door = Door()
        await door.set_up(took_sec=10, per_slot=1, rps=1_000, burst=1_000)
        await door.fill()
        rows, tat = len(door.house.storage.records.media), door.house.storage.records.tat
        door.gate.calls.clear()
        for _ in range(100):
            assert await door.try_in() is not None
            await asyncio.sleep(TRAFFIC_FRESH_SEC / 10)
        assert door.gate.calls.count("enter") == 0
        assert len(door.gate.calls) <= 100 / 10 + 3 + 3  # looks at the traffic; paces; rounding
        assert (len(door.house.storage.records.media), door.house.storage.records.tat) == (rows, tat)

    run(scenario())


def test_who_is_refused_at_the_gate_gives_the_rates_room_back() -> None:
    async def scenario() -> None:
        door = Door()
        await door.set_up(took_sec=10, per_slot=1, rps=0.01, burst=100)
        await door.fill()
        tat = door.house.storage.records.tat
        keeper = door.another()  # knows nothing, so it finds out at the gate
        admission = await door.house.submit_photo.admit(SLOT, arrived_at=door.house.clock.monotonic())
        with pytest.raises(SlotBusy):
            await keeper.let_in(MediaId(new_id()), admission, ttl=TTL)
        assert door.gate.calls[-2:] == ["paces", "leave"]
        assert door.house.storage.records.tat == tat
        assert (await door.gate.traffic()).slots[SLOT].on_the_way == 0

    run(scenario())


def test_as_soon_as_there_is_room_again_a_photo_is_taken() -> None:
    async def scenario() -> None:
        door = Door()
        await door.set_up(took_sec=10, per_slot=1)
        await door.fill()
        for job in list(door.house.storage.records.unfinished()):
            await door.house.jobs.cancel(job.job_id, entry=an_entry("test"))
        await asyncio.sleep(TRAFFIC_FRESH_SEC)
        assert await door.try_in() is None

    run(scenario())


def test_who_is_refused_is_told_a_time_of_its_own() -> None:
    async def scenario() -> list[float | None]:
        door = Door()
        await door.set_up(took_sec=10, per_slot=2)
        await door.fill()
        return [await door.try_in() for _ in range(3)]

    first, second, third = run(scenario())
    assert first is not None
    assert [second, third] == [pytest.approx(first + 5, abs=0.5), pytest.approx(first + 10, abs=1)]


def test_no_more_wait_than_may() -> None:
    async def scenario() -> int:
        door = Door()
        await door.set_up()
        settings = await door.house.storage.settings.get()
        limits = replace(settings.limits, max_waiting=3)
        await door.house.storage.settings.save(replace(settings, limits=limits), entry=an_entry("test"))
        taken = await door.fill()
        with pytest.raises(Overloaded) as refused:
            await door.house.submit()
        assert refused.value.retry_after_sec is not None
        return taken

    assert run(scenario()) == 3


def test_who_would_find_no_room_behind_those_at_the_gate_is_not_kept_waiting() -> None:
    async def scenario() -> None:
        door = Door()
        await door.set_up(took_sec=10, per_slot=1)
        assert await door.try_in() is None
        await door.house.claim()
        door.gate.takes_sec = 0.2
        entering = [asyncio.create_task(door.try_in()) for _ in range(10)]
        await asyncio.sleep(0.3)
        asked_at = door.house.clock.monotonic()
        assert await door.try_in() is not None
        assert door.house.clock.monotonic() - asked_at < 0.5, "as a reading takes, and not as those before"
        assert None in await asyncio.gather(*entering)

    run(scenario())


def test_while_the_traffic_is_read_anew_only_who_asked_for_it_waits() -> None:
    async def scenario() -> tuple[int, int]:
        door = Door()
        await door.set_up(took_sec=10, per_slot=1)
        await door.fill()
        door.gate.takes_sec = 0.9 * TRAFFIC_FRESH_SEC
        await asyncio.sleep(TRAFFIC_FRESH_SEC)
        door.gate.calls.clear()

        async def waits() -> bool:
            asked_at = door.house.clock.monotonic()
            assert await door.try_in() is not None
            return door.house.clock.monotonic() > asked_at

        asking = []
        for _ in range(100):
            asking.append(asyncio.create_task(waits()))
            await asyncio.sleep(TRAFFIC_FRESH_SEC / 10)
        return sum(await asyncio.gather(*asking)), len(door.gate.calls)

    waited, statements = run(scenario())
    assert 0 < waited <= statements < 20


def test_photos_that_come_at_once_are_each_judged_by_those_before() -> None:
    async def scenario() -> None:
        door = Door()
        await door.set_up(took_sec=10, per_slot=1)
        door.gate.takes_sec = 0.005
        outcomes = await asyncio.gather(*(door.try_in() for _ in range(30)))
        assert 2 <= outcomes.count(None) <= 48 / 10
        assert door.gate.calls.count("enter") == outcomes.count(None), "who need not ask does not"
        assert door.gate.most_at_once <= 2  # one enters, one that was refused leaves

    run(scenario())


def test_while_the_database_is_silent_nobody_waits_for_longer_than_for_a_connection() -> None:
    async def scenario() -> float:
        door = Door()
        await door.set_up()
        door.gate.takes_sec, door.gate.is_down = PATIENCE_SEC, True
        began = door.house.clock.monotonic()
        outcomes = await asyncio.gather(*(door.try_in() for _ in range(10)), return_exceptions=True)
        assert all(isinstance(outcome, DatabaseUnavailable) for outcome in outcomes)
        return door.house.clock.monotonic() - began

    assert run(scenario()) <= PATIENCE_SEC


def test_who_has_waited_for_the_settings_waits_no_longer_at_the_gate_for_that() -> None:
    async def scenario() -> float:
        door = Door()
        await door.set_up()
        admission = await door.house.submit_photo.admit(SLOT, arrived_at=door.house.clock.monotonic())
        admission = replace(admission, waited_sec=PATIENCE_SEC - 1)
        door.gate.takes_sec = 2 * PATIENCE_SEC
        began = door.house.clock.monotonic()
        with pytest.raises(DatabaseUnavailable):
            async with door.house.submit_photo.receive(admission):
                pytest.fail("was let in")
        return door.house.clock.monotonic() - began

    assert run(scenario()) == pytest.approx(1)


def test_whose_patience_ends_at_the_gate_takes_nobody_with_him() -> None:
    async def scenario() -> None:
        door = Door()
        await door.set_up()
        door.gate.takes_sec = 0.1
        many = asyncio.gather(*(door.try_in() for _ in range(60)), return_exceptions=True)
        await asyncio.sleep(PATIENCE_SEC - 1)

        later = await asyncio.gather(*(door.try_in() for _ in range(8)), return_exceptions=True)

        gave_up = sum(isinstance(outcome, DatabaseUnavailable) for outcome in await many)
        assert gave_up > 0
        assert later == [None] * 8

    run(scenario())


def test_who_gave_up_at_the_gate_leaves_it_to_others() -> None:
    async def scenario() -> None:
        door = Door()
        await door.set_up()
        door.gate.takes_sec = 2 * PATIENCE_SEC
        with pytest.raises(DatabaseUnavailable):
            await door.house.submit()
        door.gate.takes_sec = 0.0
        await asyncio.sleep(1)
        assert await door.try_in() is None

    run(scenario())


def test_the_door_counts_how_long_the_settings_took() -> None:
    async def scenario() -> None:
        door = Door()
        await door.set_up()
        settings = door.house.storage.settings
        get = settings.get

        async def slowly() -> Settings:
            await asyncio.sleep(1.5)
            return await get()

        settings.get = slowly  # type: ignore[method-assign]
        admission = await door.house.submit_photo.admit(SLOT, arrived_at=door.house.clock.monotonic())
        assert admission.waited_sec == pytest.approx(1.5)

    run(scenario())


def test_a_photo_is_let_in_only_when_its_sender_is_known() -> None:
    async def scenario() -> None:
        door = Door()
        await door.set_up(rps=0.01, burst=1)
        admission = await door.house.submit_photo.admit(SLOT, arrived_at=door.house.clock.monotonic())
        for _ in range(3):  # of strangers, who never say the password
            with pytest.raises(ZeroDivisionError):  # noqa: PT012
                async with door.house.submit_photo.receive(admission, is_trusted=False) as upload:
                    await upload.write(PHOTO)
                    assert (await door.gate.traffic()).slots == {}
                    raise ZeroDivisionError
        async with door.house.submit_photo.receive(admission, is_trusted=False) as upload:
            await upload.write(PHOTO)
            submitted = await door.house.submit_photo.submit(upload)
        assert (await door.gate.traffic()).slots[SLOT].waiting == 1
        assert submitted.reading.job.payload_id == upload.media_id
        with pytest.raises(RateLimited):
            await door.house.submit()

    run(scenario())


def test_who_is_known_too_late_and_is_one_too_many_leaves_nothing() -> None:
    async def scenario() -> None:
        door = Door()
        await door.set_up(rps=0.01, burst=1)
        admission = await door.house.submit_photo.admit(SLOT, arrived_at=door.house.clock.monotonic())
        await door.try_in()
        with pytest.raises(RateLimited):  # noqa: PT012
            async with door.house.submit_photo.receive(admission, is_trusted=False) as upload:
                await upload.write(PHOTO)
                await door.house.submit_photo.submit(upload)
        await door.house.sweep()
        assert door.house.living_rows() == ["payload"]  # of the one that was taken

    run(scenario())


def test_a_test_run_is_not_held_back_by_the_rate_but_by_the_wait() -> None:
    async def scenario() -> None:
        door = Door()
        await door.set_up(took_sec=10, per_slot=1, rps=0.001, burst=1)
        trying = TrySlot(
            configuration=door.house.configuration,
            doorkeeper=door.keeper,
            check_slot=CheckSlot(catalogue={}, templates=door.house.storage.templates),
        )
        taken = 0
        with pytest.raises(SlotBusy):  # noqa: PT012
            for _ in range(50):
                admission = await trying.admit(SLOT, arrived_at=door.house.clock.monotonic())
                async with door.house.submit_photo.receive(admission) as upload:
                    await upload.write(PHOTO)
                    await door.house.submit_photo.submit(upload)
                    taken += 1
        assert taken >= 2

    run(scenario())
