"""Signals between processes: LISTEN and NOTIFY."""

import asyncio
import contextlib
import logging
from contextlib import AbstractContextManager
from typing import Final

import psycopg
from psycopg.sql import SQL, Composable, Composed, Literal

from photochanger.adapters.postgres.pool import Pool, connection_options
from photochanger.application.ports.signals import Signals, Subscription, Topic
from photochanger.application.signal_hub import SignalHub

_CHANNEL: Final = "photochanger"
_TOPICS: Final = {topic.value: topic for topic in Topic}
_FIRST_PAUSE_SEC: Final = 0.1
_LONGEST_PAUSE_SEC: Final = 2.0
_SILENCE_SEC: Final = 15.0
"""After this long without a notification the connection is asked whether it is still there."""

_log = logging.getLogger(__name__)


def notify(topic: Topic, subject: Composable) -> Composed:
    """Return the SQL expression that announces `topic` about `subject` when its transaction commits.

    It has to be in the select list of a query that returns one row per announcement.
    """
    return SQL("pg_notify({channel}, {topic} || {subject})").format(
        channel=Literal(_CHANNEL), topic=Literal(f"{topic.value}:"), subject=subject
    )


class PostgresSignals(Signals):
    """Signals from every process on the same database, through one listening connection.

    While the connection is down, signals of other processes are missed; once it is back, everyone is woken
    to look for themselves. Signals of this process never depend on it: what the statements of its `pool`
    announce, its hub has been told of directly, and nobody is to be woken twice.
    """

    def __init__(
        self,
        dsn: str,
        hub: SignalHub,
        pool: Pool | None = None,
        *,
        application_name: str = "photochanger-signals",
    ) -> None:
        self._dsn = dsn
        self._options = connection_options(dsn, application_name=application_name)
        self._hub = hub
        self._pool = pool
        self._listening = asyncio.Event()
        self._tried = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def is_listening(self) -> bool:
        """Whether signals of other processes arrive at present."""
        return self._listening.is_set()

    async def start(self) -> None:
        """Begin to listen; return once the first attempt to connect has succeeded or failed."""
        self._task = asyncio.create_task(self._keep_listening(), name="photochanger-signals")
        await self._tried.wait()

    async def stop(self) -> None:
        """Stop listening. Subscriptions stay valid, and hear of this process only."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None

    def subscribe(self, topic: Topic, subject: str = "") -> AbstractContextManager[Subscription]:
        """Return a subscription to `topic` about `subject`; it ends with the context."""
        return self._hub.subscribe(topic, subject)

    def watch(self, *topics: Topic) -> AbstractContextManager[Subscription]:
        """Return a subscription to all of these topics, whatever the subject; it ends with the context."""
        return self._hub.watch(*topics)

    def announce_locally(self, topic: Topic, subject: str = "") -> None:
        """Wake those who wait in this process, without the way through the database."""
        self._hub.announce(topic, subject)

    async def _keep_listening(self) -> None:
        pause = _FIRST_PAUSE_SEC
        while True:
            try:
                await self._listen()
            except psycopg.Error as error:
                _log.warning("the signal connection is down: %s", type(error).__name__)
            if self._listening.is_set():
                pause = _FIRST_PAUSE_SEC
            self._listening.clear()
            self._tried.set()
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_SEC)

    async def _listen(self) -> None:
        connection = await psycopg.AsyncConnection.connect(self._dsn, **self._options)
        async with connection:
            await connection.execute(SQL("LISTEN {}").format(SQL(_CHANNEL)))
            self._listening.set()
            self._tried.set()
            self._hub.announce_everything()
            while True:
                async for notification in connection.notifies(timeout=_SILENCE_SEC):
                    if self._pool is None or not self._pool.is_served_by(notification.pid):
                        self._pass_on(notification.payload)
                await connection.execute("SELECT 1")

    def _pass_on(self, payload: str) -> None:
        topic, _, subject = payload.partition(":")
        if topic in _TOPICS:
            self._hub.announce(_TOPICS[topic], subject)
