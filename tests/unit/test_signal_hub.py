"""The signal hub beyond its contract."""

import asyncio

import pytest

from photochanger.application.ports import Topic
from photochanger.application.signal_hub import SignalHub

pytestmark = pytest.mark.anyio


async def test_ended_subscriptions_leave_nothing_behind() -> None:
    hub = SignalHub()
    for number in range(100):
        with hub.subscribe(Topic.JOB_FINALIZED, str(number)), hub.subscribe(Topic.JOB_FINALIZED, str(number)):
            pass
    assert hub._subscriptions == {}


async def test_everyone_can_be_woken_at_once() -> None:
    hub = SignalHub()
    with hub.subscribe(Topic.JOB_PENDING) as one, hub.subscribe(Topic.JOB_FINALIZED, "a") as two:
        hub.announce_everything()
        assert await one.wait(0)
        assert await two.wait(0)


async def test_a_thousand_waiters_are_woken_promptly() -> None:
    hub = SignalHub()

    async def wait(number: int) -> bool:
        with hub.subscribe(Topic.JOB_FINALIZED, str(number)) as subscription:
            return await subscription.wait(5)

    waiting = [asyncio.create_task(wait(number)) for number in range(1_000)]
    await asyncio.sleep(0)
    for number in range(1_000):
        hub.announce(Topic.JOB_FINALIZED, str(number))
    assert all(await asyncio.wait_for(asyncio.gather(*waiting), 2))


async def test_who_only_asks_is_told_without_a_turn_of_the_event_loop() -> None:
    hub = SignalHub()
    turns: list[int] = []
    asyncio.get_running_loop().call_soon(turns.append, 1)
    with hub.subscribe(Topic.JOB_PENDING) as subscription:
        assert not await subscription.wait(0)
        hub.announce(Topic.JOB_PENDING)
        assert await subscription.wait(0)
    assert turns == []
