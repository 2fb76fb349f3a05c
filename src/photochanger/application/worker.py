"""The worker: claims jobs as they come and does a bounded number of them at once."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Any, TypeAlias

from photochanger.application.ports.signals import Signals, Subscription, Topic
from photochanger.application.ports.storage import JobReading, JobRepository
from photochanger.application.process_job import LEASE
from photochanger.domain.errors import Unavailable

POLL_SEC = 1.0
"""How often the worker looks for itself: for lost signals, and for jobs whose worker has died."""

JobRunner: TypeAlias = Callable[[JobReading], Awaitable[None]]


class Worker:
    """Takes jobs in the order of their submission, and never more than it has room for.

    Each job runs in a task of its own, so that nothing of it outlives it. An error of one job, or of the
    database, does not end the worker.
    """

    def __init__(
        self,
        *,
        jobs: JobRepository,
        signals: Signals,
        run: JobRunner,
        concurrency: int,
        lease: timedelta = LEASE,
        poll_sec: float = POLL_SEC,
    ) -> None:
        self._jobs = jobs
        self._signals = signals
        self._run = run
        self._concurrency = concurrency
        self._lease = lease
        self._poll_sec = poll_sec
        self._running: set[asyncio.Task[None]] = set()
        self._stopping = asyncio.Event()
        self._grace_sec = 0.0

    @property
    def running(self) -> int:
        """How many jobs are under way here."""
        return len(self._running)

    async def serve(self) -> None:
        """Work until `stop` is called; then finish what is under way, for as long as that allows.

        What is not finished by then is handed back, to be claimed by others at once.
        """
        stopped = asyncio.create_task(self._stopping.wait())
        try:
            with self._signals.subscribe(Topic.JOB_PENDING) as pending:
                while not stopped.done():
                    await self._turn(pending, stopped)
            if self._running:
                await asyncio.wait(self._running, timeout=self._grace_sec)
        finally:
            await cancel_and_wait(stopped, *self._running)

    def stop(self, *, grace_sec: float = 0.0) -> None:
        """Claim no more jobs, and let `serve` end, after `grace_sec` seconds or when no job is under way."""
        self._grace_sec = max(0.0, grace_sec)
        self._stopping.set()

    async def _turn(self, pending: Subscription, stopped: asyncio.Task[Any]) -> None:
        """Claim what there is room for; then wait for room, or for a signal, or for the end."""
        room = self._concurrency - len(self._running)
        claimed = await self._claim(room) if room else []
        for reading in claimed:
            task = asyncio.create_task(self._guarded(reading))
            self._running.add(task)
            task.add_done_callback(self._running.discard)
        if len(claimed) < room:
            signal = asyncio.create_task(pending.wait(self._poll_sec))
            await asyncio.wait({signal, stopped}, return_when=asyncio.FIRST_COMPLETED)
            await cancel_and_wait(signal)
        else:
            await asyncio.wait({*self._running, stopped}, return_when=asyncio.FIRST_COMPLETED)

    async def _claim(self, room: int) -> Sequence[JobReading]:
        try:
            return await self._jobs.claim(limit=room, lease=self._lease)
        except Unavailable:
            return ()

    async def _guarded(self, reading: JobReading) -> None:
        with suppress(Exception):  # whoever wired `run` has logged it; the next job must not suffer
            await self._run(reading)


async def cancel_and_wait(*tasks: asyncio.Task[Any]) -> None:
    """Cancel the tasks and wait until they have ended, whatever they end with."""
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks)
