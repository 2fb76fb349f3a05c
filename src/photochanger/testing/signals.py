"""The contract of `Signals`."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from typing import TypeAlias

import pytest

from photochanger.application.ports.signals import Signals, Topic
from photochanger.testing.harness import AsyncContract

Announce: TypeAlias = Callable[[Topic, str], Awaitable[None]]

_LONG = 5.0
_SHORT = 0.05


class SignalsContract(AsyncContract):
    """Every sentence of `Signals` and `Subscription`; override the fixtures `signals` and `announce`."""

    @pytest.fixture
    def signals(self) -> Signals:
        """Return the signals to test, ready to be used."""
        raise NotImplementedError("override the fixture `signals`")

    @pytest.fixture
    def announce(self) -> Announce:
        """Return a coroutine function that announces a topic and subject to `signals`, in order."""
        raise NotImplementedError("override the fixture `announce`")

    async def _settle(self, signals: Signals, announce: Announce) -> None:
        """Wait until everything announced so far has arrived."""
        with signals.subscribe(Topic.JOB_FINALIZED, "marker") as marker:
            await announce(Topic.JOB_FINALIZED, "marker")
            assert await marker.wait(_LONG)

    async def test_a_wait_ends_when_a_signal_arrives(self, signals: Signals, announce: Announce) -> None:
        with signals.subscribe(Topic.JOB_FINALIZED, "a") as subscription:
            waiting = asyncio.create_task(subscription.wait(_LONG))
            await asyncio.sleep(_SHORT)
            assert not waiting.done()
            await announce(Topic.JOB_FINALIZED, "a")
            assert await waiting

    async def test_a_wait_lasts_as_long_as_it_was_told(self, signals: Signals) -> None:
        with signals.subscribe(Topic.JOB_PENDING) as subscription:
            begun = time.monotonic()
            assert not await subscription.wait(_SHORT)
            assert _SHORT * 0.9 <= time.monotonic() - begun < _SHORT + 1

    async def test_a_wait_of_no_time_ends_at_once(self, signals: Signals) -> None:
        with signals.subscribe(Topic.JOB_PENDING) as subscription:
            assert not await subscription.wait(0)

    async def test_a_signal_since_the_subscription_began_is_not_lost(
        self, signals: Signals, announce: Announce
    ) -> None:
        with signals.subscribe(Topic.JOB_PENDING) as subscription:
            await announce(Topic.JOB_PENDING, "")
            await self._settle(signals, announce)
            assert await subscription.wait(0)

    async def test_a_signal_between_two_waits_is_not_lost(self, signals: Signals, announce: Announce) -> None:
        with signals.subscribe(Topic.JOB_PENDING) as subscription:
            for _ in range(3):
                await announce(Topic.JOB_PENDING, "")
                assert await subscription.wait(_LONG)
            assert not await subscription.wait(_SHORT)

    async def test_several_signals_count_as_one(self, signals: Signals, announce: Announce) -> None:
        with signals.subscribe(Topic.JOB_PENDING) as subscription:
            for _ in range(3):
                await announce(Topic.JOB_PENDING, "")
            await self._settle(signals, announce)
            assert await subscription.wait(0)
            assert not await subscription.wait(_SHORT)

    async def test_signals_about_something_else_wake_nobody(
        self, signals: Signals, announce: Announce
    ) -> None:
        with signals.subscribe(Topic.JOB_FINALIZED, "a") as subscription:
            await announce(Topic.JOB_FINALIZED, "b")
            await announce(Topic.JOB_PENDING, "")
            await announce(Topic.CONFIGURATION_CHANGED, "")
            await self._settle(signals, announce)
            assert not await subscription.wait(0)

    async def test_who_watches_topics_hears_of_every_subject(
        self, signals: Signals, announce: Announce
    ) -> None:
        with signals.watch(Topic.JOB_FINALIZED, Topic.JOB_PENDING) as subscription:
            for topic, subject in [(Topic.JOB_FINALIZED, "a"), (Topic.JOB_FINALIZED, "b")]:
                await announce(topic, subject)
                assert await subscription.wait(_LONG)
            await announce(Topic.JOB_PENDING, "")
            assert await subscription.wait(_LONG)
        with signals.watch(Topic.JOB_PENDING) as other, signals.watch(Topic.JOB_FINALIZED) as all_ends:
            await announce(Topic.CONFIGURATION_CHANGED, "")
            await announce(Topic.JOB_FINALIZED, "a")
            assert await all_ends.wait(_LONG)
            assert not await other.wait(0)
        await announce(Topic.JOB_FINALIZED, "a")
        await self._settle(signals, announce)
        assert not await all_ends.wait(0)

    async def test_every_subscription_gets_every_signal(self, signals: Signals, announce: Announce) -> None:
        with ExitStack() as stack:
            subscriptions = [
                stack.enter_context(signals.subscribe(Topic.JOB_FINALIZED, "a")) for _ in range(20)
            ]
            for _ in range(2):
                await announce(Topic.JOB_FINALIZED, "a")
                assert all(await asyncio.gather(*(each.wait(_LONG) for each in subscriptions)))

    async def test_a_signal_before_the_subscription_is_not_for_it(
        self, signals: Signals, announce: Announce
    ) -> None:
        await announce(Topic.JOB_FINALIZED, "a")
        await self._settle(signals, announce)
        with signals.subscribe(Topic.JOB_FINALIZED, "a") as subscription:
            assert not await subscription.wait(_SHORT)

    async def test_a_subscription_ends_with_its_context(self, signals: Signals, announce: Announce) -> None:
        with signals.subscribe(Topic.JOB_PENDING) as ended, signals.subscribe(Topic.JOB_PENDING) as other:
            pass
        with signals.subscribe(Topic.JOB_PENDING) as alive:
            await announce(Topic.JOB_PENDING, "")
            assert await alive.wait(_LONG)
        assert not await ended.wait(0)
        assert not await other.wait(0)

    async def test_cancelling_a_wait_loses_no_signal(self, signals: Signals, announce: Announce) -> None:
        with signals.subscribe(Topic.JOB_PENDING) as subscription:
            waiting = asyncio.create_task(subscription.wait(_LONG))
            await asyncio.sleep(0)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            await announce(Topic.JOB_PENDING, "")
            assert await subscription.wait(_LONG)
