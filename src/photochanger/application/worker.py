"""The worker: claims jobs as they come and does a bounded number of them at once."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import timedelta
from typing import Any, TypeAlias

from photochanger.application.configuration import CurrentConfiguration
from photochanger.application.ports.jobs import Claimed, JobReading, JobRepository
from photochanger.application.ports.signals import Signals, Subscription, Topic
from photochanger.application.process_job import LEASE
from photochanger.application.provider_places import FREES_PLACES
from photochanger.domain.errors import Unavailable

POLL_SEC = 1.0
"""How often the worker looks for itself: for lost signals, and for jobs whose worker has died."""

JobRunner: TypeAlias = Callable[[JobReading], Awaitable[None]]


class Worker:
    """Takes jobs in the order of their submission, and never more than it has room for, or than may be done.

    What may be done at once is said by the limits in force, over all workers of all processes. Where jobs
    wait for a place, the worker looks again as soon as any job ends or moves anywhere, or a limit changes.

    Each job runs in a task of its own, so that nothing of it outlives it. An error of one job, or of the
    database, does not end the worker.
    """

    def __init__(
        self,
        *,
        jobs: JobRepository,
        signals: Signals,
        configuration: CurrentConfiguration,
        run: JobRunner,
        concurrency: int,
        lease: timedelta = LEASE,
        poll_sec: float = POLL_SEC,
    ) -> None:
        self._jobs = jobs
        self._signals = signals
        self._configuration = configuration
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
            with (
                self._signals.watch(Topic.JOB_PENDING) as new,
                self._signals.watch(Topic.JOB_PENDING, *FREES_PLACES) as freed,
            ):
                while not stopped.done():
                    await self._turn(new, freed, stopped)
            if self._running:
                await asyncio.wait(self._running, timeout=self._grace_sec)
        finally:
            await cancel_and_wait(stopped, *self._running)

    def stop(self, *, grace_sec: float = 0.0) -> None:
        """Claim no more jobs, and let `serve` end, after `grace_sec` seconds or when no job is under way."""
        self._grace_sec = max(0.0, grace_sec)
        self._stopping.set()

    async def _turn(self, new: Subscription, freed: Subscription, stopped: asyncio.Task[Any]) -> None:
        """Claim what there is room for; then wait for room, or for a signal, or for the end."""
        room = self._concurrency - len(self._running)
        claimed = await self._claim(room) if room else Claimed()
        for reading in claimed:
            task = asyncio.create_task(self._guarded(reading))
            self._running.add(task)
            task.add_done_callback(self._running.discard)
        if len(claimed) == room:
            # Jobs may have ended while these were claimed; then there is room already.
            if len(self._running) == self._concurrency:
                await asyncio.wait({*self._running, stopped}, return_when=asyncio.FIRST_COMPLETED)
        elif not (claimed and claimed.others_wait):  # or else there may be more for the next claim
            news = freed if claimed.others_wait else new
            signal = asyncio.create_task(news.wait(self._poll_sec))
            await asyncio.wait({signal, stopped}, return_when=asyncio.FIRST_COMPLETED)
            await cancel_and_wait(signal)

    async def _claim(self, room: int) -> Claimed:
        try:
            limits = (await self._configuration.get()).limits
            return await self._jobs.claim(limit=room, lease=self._lease, limits=limits)
        except Unavailable:
            return Claimed()

    async def _guarded(self, reading: JobReading) -> None:
        with suppress(Exception):  # whoever wired `run` has logged it; the next job must not suffer
            await self._run(reading)


async def cancel_and_wait(*tasks: asyncio.Task[Any]) -> None:
    """Cancel the tasks and wait until they have ended, whatever they end with."""
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks)
