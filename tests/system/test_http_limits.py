"""What a booth sees of the limits: who is refused, when, and with what."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace

import pytest

from photochanger.domain.permissions import Permission
from photochanger.domain.slot import SlotId
from photochanger.domain.waiting import Pace
from photochanger.testing.harness import an_entry
from tests.system.http_server import (
    PASSWORD,
    SLOT,
    Answer,
    Connection,
    System,
    exchange,
    form,
    get,
    log_in_as,
    part,
    photo_form,
    picture,
    post,
    running,
    until,
)

pytestmark = pytest.mark.anyio

_RESTING = post(b"", headers={"Expect": "100-continue", "Content-Length": "20000000"})
"""The head of a request whose client sends no body before it is asked to."""


@pytest.fixture
def system() -> System:
    return System()


@pytest.fixture
async def port(system: System) -> AsyncIterator[int]:
    async with running(system) as port:
        yield port


async def allow(
    system: System, *, rps: float = 10_000, burst: int = 100_000, max_waiting: int = 5_000
) -> None:
    """Change the limits."""
    settings = await system.storage.settings.get()
    changed = replace(
        settings,
        ingest=replace(settings.ingest, rate_limit_rps=rps, rate_limit_burst=burst),
        limits=replace(settings.limits, per_slot=1, max_waiting=max_waiting),
    )
    await system.storage.settings.save(changed, entry=an_entry("test"))


async def send(port: int, *, path: str = f"/ingest/{SLOT}", password: str | None = PASSWORD) -> Answer:
    return await exchange(port, post(photo_form(picture(), password), path))


def refused(answer: Answer, status: int, code: str, *, at_most_sec: int) -> bool:
    """Say whether an answer is this refusal, in both places where it says when to come again."""
    problem = json.loads(answer.body)
    told = int(answer["retry-after"])
    return (answer.status, problem["code"], problem["retry_after_sec"]) == (
        status,
        code,
        told,
    ) and 1 <= told <= at_most_sec


class TestTheRate:
    async def test_who_comes_too_fast_is_told_when_to_come(self, system: System, port: int) -> None:
        await allow(system, rps=0.1, burst=2)
        assert [(await send(port)).status for _ in range(2)] == [200, 200]
        assert refused(await send(port), 429, "rate_limited", at_most_sec=10)

    async def test_it_is_told_in_its_language(self, system: System, port: int) -> None:
        await allow(system, rps=0.1, burst=1)
        await send(port)
        answer = await exchange(port, post(photo_form(picture()), headers={"Accept-Language": "ru"}))
        assert json.loads(answer.body)["title"] == "Фотографии поступают слишком часто"

    async def test_a_client_that_expects_100_continue_is_refused_instead(
        self, system: System, port: int
    ) -> None:
        await allow(system, rps=0.1, burst=1)
        await send(port)
        async with Connection.to(port) as client:
            await client.send(_RESTING)
            answer = await client.answer()
            assert refused(answer, 429, "rate_limited", at_most_sec=10)
            assert answer["connection"] == "close"

    async def test_strangers_do_not_use_it_up(self, system: System, port: int) -> None:
        await allow(system, rps=0.01, burst=1)
        photo = part("fileToUpload", picture(), file_name="a.jpg", content_type="image/jpeg")
        wrong = part("password", b"wrong-password")
        bodies = [photo_form(picture(), "wrong-password"), form(photo, wrong), form(photo)]
        for body in bodies * 2:
            assert (await exchange(port, post(body))).status == 401
        in_head = post(photo_form(picture()), headers={"X-Ingest-Password": "wrong-password"})
        assert (await exchange(port, in_head)).status == 401
        assert (await send(port)).status == 200

    @pytest.mark.parametrize("slot", ["slot-016", "slot-002"])
    async def test_slots_that_take_no_photos_do_not_use_it_up(
        self, system: System, port: int, slot: str
    ) -> None:
        await allow(system, rps=0.01, burst=1)
        assert (await send(port, path=f"/ingest/{slot}")).status == 404
        assert (await send(port)).status == 200

    async def test_a_password_after_the_photo_is_early_enough(self, system: System, port: int) -> None:
        await allow(system, rps=0.01, burst=1)
        photo = part("fileToUpload", picture(), file_name="a.jpg", content_type="image/jpeg")
        body = form(photo, part("password", PASSWORD.encode()))
        assert (await exchange(port, post(body))).status == 200
        assert refused(await exchange(port, post(body)), 429, "rate_limited", at_most_sec=100)

    async def test_a_test_run_does_not_count(self, system: System, port: int) -> None:
        await allow(system, rps=0.01, burst=1)
        token = await log_in_as(system, port, [Permission.SLOTS_WRITE])
        request = post(
            photo_form(picture()),
            f"/api/slots/{SLOT}/test-run",
            headers={"Authorization": f"Bearer {token}"},
        )
        assert [(await exchange(port, request)).status for _ in range(2)] == [200, 200]
        assert (await send(port)).status == 200


class TestTheQueue:
    @pytest.fixture(autouse=True)
    async def slow(self, system: System, port: int, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[None]:
        """Have a photo take eight seconds of the slot's twenty, and another one be under way."""

        async def paces() -> Sequence[Pace]:
            return [Pace(slot_id=SLOT, provider="rehearsal", jobs=100, mean_sec=8.0, slow_sec=8.0)]

        monkeypatch.setattr(system.storage.gate, "paces", paces)
        await system.set_slot(params={"outcome": "hang"})
        await allow(system)
        holding = [asyncio.create_task(send(port)) for _ in range(2)]

        async def both_are_there() -> bool:
            slots = (await system.storage.gate.traffic()).slots
            return SLOT in slots and slots[SLOT].waiting + slots[SLOT].in_service == 2

        await until(both_are_there)
        yield
        for task in holding:
            task.cancel()
        await asyncio.gather(*holding, return_exceptions=True)

    async def test_who_could_not_be_served_in_time_is_told_so_at_once(self, port: int) -> None:
        assert refused(await send(port), 429, "slot_busy", at_most_sec=20)

    async def test_instead_of_100_continue(self, port: int) -> None:
        async with Connection.to(port) as client:
            await client.send(_RESTING)
            assert refused(await client.answer(), 429, "slot_busy", at_most_sec=20)

    async def test_other_slots_take_photos(self, system: System, port: int) -> None:
        await system.set_slot(SlotId("slot-002"))
        assert (await send(port, path="/ingest/slot-002")).status == 200

    async def test_a_test_run_is_refused_as_a_photo_is(self, system: System, port: int) -> None:
        token = await log_in_as(system, port, [Permission.SLOTS_WRITE])
        request = post(
            photo_form(picture()),
            f"/api/slots/{SLOT}/test-run",
            headers={"Authorization": f"Bearer {token}"},
        )
        assert refused(await exchange(port, request), 429, "slot_busy", at_most_sec=20)

    async def test_where_too_many_wait_it_is_overloaded(self, system: System, port: int) -> None:
        await system.set_slot(params={"outcome": "hang"}, time_out_sec=1_000)
        await allow(system, max_waiting=1)
        assert refused(await send(port), 503, "overloaded", at_most_sec=20)

    async def test_refusals_are_counted_by_their_code(self, port: int) -> None:
        await send(port)
        metrics = (await exchange(port, get("/metrics"))).body.decode()
        assert 'photochanger_ingest_duration_seconds_count{outcome="slot_busy"} 1.0' in metrics

    async def test_nothing_is_stored_of_who_is_refused(self, system: System, port: int) -> None:
        before = dict(system.storage.records.media)
        await send(port)
        assert system.storage.records.media == before
