"""Signals inside one process: all that a single process needs, and what cross-process signals end in."""

import asyncio
from collections.abc import Collection, Iterator
from contextlib import contextmanager

from photochanger.application.ports.signals import Signals, Subscription, Topic


class _EventSubscription(Subscription):
    def __init__(self) -> None:
        self._arrived = asyncio.Event()

    def notify(self) -> None:
        self._arrived.set()

    async def wait(self, timeout: float) -> bool:
        if not self._arrived.is_set():
            if timeout <= 0:
                return False  # at once: who only asks has not to wait for a turn of the event loop
            try:
                async with asyncio.timeout(timeout):
                    await self._arrived.wait()
            except TimeoutError:
                if not self._arrived.is_set():
                    return False
        self._arrived.clear()
        return True


class SignalHub(Signals):
    """A complete in-process implementation of `Signals`.

    Belongs to one event loop: all methods are called from its thread.
    """

    def __init__(self) -> None:
        self._subscriptions: dict[tuple[Topic, str | None], set[_EventSubscription]] = {}

    @contextmanager
    def subscribe(self, topic: Topic, subject: str = "") -> Iterator[Subscription]:
        """Return a subscription to `topic` about `subject`; it ends with the context."""
        with self._subscribed([(topic, subject)]) as subscription:
            yield subscription

    @contextmanager
    def watch(self, *topics: Topic) -> Iterator[Subscription]:
        """Return a subscription to all of these topics, whatever the subject; it ends with the context."""
        with self._subscribed([(topic, None) for topic in topics]) as subscription:
            yield subscription

    @contextmanager
    def _subscribed(self, keys: Collection[tuple[Topic, str | None]]) -> Iterator[Subscription]:
        """Subscribe to topics with their subjects; None is any subject."""
        subscription = _EventSubscription()
        for key in keys:
            self._subscriptions.setdefault(key, set()).add(subscription)
        try:
            yield subscription
        finally:
            for key in keys:
                remaining = self._subscriptions[key]
                remaining.discard(subscription)
                if not remaining:
                    del self._subscriptions[key]

    def announce(self, topic: Topic, subject: str = "") -> None:
        """Wake everyone who waits for `topic` about `subject`."""
        for key in ((topic, subject), (topic, None)):
            for subscription in self._subscriptions.get(key, ()):
                subscription.notify()

    def announce_everything(self) -> None:
        """Wake everyone: signals may have been missed."""
        for subscriptions in self._subscriptions.values():
            for subscription in subscriptions:
                subscription.notify()
