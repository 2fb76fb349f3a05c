"""The life of a process that serves: what runs in the background, and in which order all of it ends."""

import asyncio
import gc
import secrets
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from functools import partial
from socket import socket
from typing import Any

import structlog

from photochanger.adapters.telemetry.event_loop import watch_event_loop
from photochanger.adapters.telemetry.metrics import Level
from photochanger.application.ports.signals import Topic
from photochanger.domain.errors import PhotoChangerError
from photochanger.domain.retention import MAX_SYNC_RESPONSE_SEC
from photochanger.domain.settings import CleanupSettings
from photochanger.entrypoints.container import Container
from photochanger.entrypoints.first_start import InitialCredentials
from photochanger.entrypoints.http.app import create_app
from photochanger.entrypoints.http.server import GRACE_SEC, make_server
from photochanger.entrypoints.opening import opened
from photochanger.entrypoints.settings import Environment

_LOGGER = structlog.stdlib.get_logger("photochanger")

EXPIRE_EVERY_SEC = 2.0
"""How long after its deadline a job that nobody holds may be unfinished."""

SHOW_EVERY_SEC = 10.0
"""How old the quotas, and the levels of the queue and of the media, may be in the metrics."""

ADD_UP_EVERY_SEC = 60.0
"""How often it is looked whether an hour is over, so that its jobs can be added up."""

HOURS_AT_ONCE = 6
"""So many hours are added up in one statement, where a database has many: they take it some 50 ms."""

TELL_OF_WORKERS_EVERY_SEC = 5.0
"""How often a process that does jobs says how many it can do at once."""

WORKERS_COUNT_FOR = timedelta(seconds=15)
"""And for how long that counts, where it is killed."""

_ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
"""The last comes when the terminal is closed."""

FINISHING_SEC = 2.0
"""How much longer than the longest job the end of a process may take."""

OnReady = Callable[[Container], Awaitable[None]]
OnServing = Callable[[Container, InitialCredentials | None], Awaitable[None]]


async def run_server(
    environment: Environment, listening: socket, *, with_worker: bool, on_ready: OnServing
) -> None:
    """Serve HTTP on the socket, and do jobs, until the process is asked to end.

    The end is in order: others are told that this process is not ready, for as long as they need to notice;
    then no more photos are taken, held requests are answered, jobs under way are finished or handed back, and
    everything closes. A second request to end waits for nothing. A start that is asked to end is given up.
    """
    async with _asked_to_end() as ending, opened(environment) as container, _background(container) as group:
        credentials = await container.first_start()()
        container.credentials_file().check()
        container.tokens()  # made now, so that a key that cannot be used ends the start
        worker = container.worker() if with_worker else None
        working = group.create_task(worker.serve()) if worker else None
        if worker:
            group.create_task(_tell_of_workers(container, ending.asked))
        server = make_server(create_app(container))
        set_aside_what_stays()
        serving = group.create_task(server.serve(sockets=[listening]))
        await on_ready(container, credentials)
        await ending.wait()
        container.readiness().shut_down()
        patience_ends = time.monotonic() + await _longest_job_sec(container) + FINISHING_SEC
        if ending.is_drained and environment.drain_sec:
            patience_ends += environment.drain_sec
            await server.drain(listening, environment.drain_sec)
        server.should_exit = True
        await serving
        if worker and working:
            worker.stop(grace_sec=patience_ends - time.monotonic())
            await working


async def run_worker(environment: Environment, *, on_ready: OnReady) -> None:
    """Do jobs until the process is asked to end; then finish what is under way, or hand it back."""
    async with _asked_to_end() as ending, opened(environment) as container, _background(container) as group:
        worker = container.worker()
        set_aside_what_stays()
        working = group.create_task(worker.serve())
        group.create_task(_tell_of_workers(container, ending.asked))
        await on_ready(container)
        await ending.wait()
        worker.stop(grace_sec=GRACE_SEC)
        await working


async def _longest_job_sec(container: Container) -> float:
    """Return how long the jobs under way may take; where the database is away, as long as any may."""
    try:
        async with asyncio.timeout(FINISHING_SEC / 2):
            current = await container.configuration().get()
    except (PhotoChangerError, TimeoutError):
        return MAX_SYNC_RESPONSE_SEC
    active = [slot.configuration for slot in current.slots.values() if slot.configuration.is_active]
    return max(map(current.settings.sync_response_timeout_sec, active), default=0.0)


def set_aside_what_stays() -> None:
    """Have the collector of garbage never look again at what there is now.

    It stays until the process ends. Going through it, as every full collection would, takes some 80 ms, in
    which nothing else runs.
    """
    gc.collect()
    gc.freeze()


@asynccontextmanager
async def _background(container: Container) -> AsyncIterator[asyncio.TaskGroup]:
    """Sweep, count and watch the loop during the context; a part that dies ends all of it, with its error."""
    _warn_of_media(container)
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(_expire_regularly(container)),
                group.create_task(_clean_up_regularly(container)),
                group.create_task(_show_regularly(container.show_quotas(), "the quotas")),
                group.create_task(_show_regularly(container.show_present(), "the queue's length")),
                group.create_task(_add_up_regularly(container)),
                group.create_task(watch_event_loop(container.metrics().loop_lagged)),
            ]
            yield group
            for task in tasks:
                task.cancel()
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from errors  # the first is what ended the others


def _warn_of_media(container: Container) -> None:
    if container.environment().media_bucket is not None and not container.media_bucket().is_conditional:
        _LOGGER.warning("the media bucket's service passes over If-None-Match: a name is looked up before")


async def _expire_regularly(container: Container) -> None:
    """End the overdue jobs whose booth and worker are both gone, also where cleaning up is switched off."""
    sweep = container.sweep()
    while True:
        await _repeatable(sweep.expire_jobs, "overdue jobs ended")
        await asyncio.sleep(EXPIRE_EVERY_SEC)


async def _clean_up_regularly(container: Container) -> None:
    """Sweep again and again, or see that somebody else does; while it is switched off, nobody lags behind."""
    sweep, configuration = container.sweep(), container.configuration()
    swept_at = time.monotonic()
    container.metrics().watch(Level.SWEEPER_LAG, lambda: time.monotonic() - swept_at)
    cleanup = CleanupSettings()
    with container.signals().subscribe(Topic.CONFIGURATION_CHANGED) as changed:
        while True:
            with suppress(PhotoChangerError):
                cleanup = (await configuration.get()).settings.cleanup
            if cleanup.enabled:
                await _repeatable(partial(_sweep, container, cleanup), "swept")
            with suppress(PhotoChangerError):
                ago = (await sweep.last()).swept_ago if cleanup.enabled else timedelta(0)
                swept_at = swept_at if ago is None else time.monotonic() - ago.total_seconds()
            await changed.wait(cleanup.interval_sec)


async def _sweep(container: Container, cleanup: CleanupSettings) -> int:
    """Do what there is to do, and return how many things were done; somebody else may be at it."""
    swept = await container.sweep()(history=cleanup.history)
    if swept is None:
        return 0
    container.metrics().swept(swept.deleted_files, strays=swept.stray_files, lost=swept.lost_files)
    if swept.stray_files or swept.lost_files:
        _LOGGER.warning("files and records differed", strays=swept.stray_files, lost=swept.lost_files)
    if swept.not_compared:
        _LOGGER.warning("files and records cannot be compared", error=str(swept.not_compared))
    if swept.undeleted_files:
        _LOGGER.warning("files could not be deleted", count=swept.undeleted_files)
    return swept.deleted_files.total() + swept.forgotten_jobs + swept.forgotten_files


async def _show_regularly(show: Callable[[], Awaitable[None]], what: str) -> None:
    """Bring a part of the metrics up to date again and again; while it cannot be read, it stays as it was."""
    while True:
        try:
            await show()
        except PhotoChangerError as error:
            _LOGGER.warning("cannot read for the metrics now", what=what, error=str(error))
        await asyncio.sleep(SHOW_EVERY_SEC)


async def _add_up_regularly(container: Container) -> None:
    statistics = container.statistics()

    async def add_up() -> int:
        added = 0
        while hours := await statistics.roll_up(limit=HOURS_AT_ONCE):
            added += hours
        return added

    while True:
        await _repeatable(add_up, "hours added up", "cannot add hours up now")
        await asyncio.sleep(ADD_UP_EVERY_SEC)


async def _tell_of_workers(container: Container, asked_to_end: asyncio.Event) -> None:
    """Say again and again how many jobs can be done here, and at the end that none can."""
    gate, process_id = container.gate(), secrets.token_hex(16)

    async def tell(places: int) -> None:
        with suppress(PhotoChangerError):
            await gate.tell_of_workers(process_id, places=places, ttl=WORKERS_COUNT_FOR)

    while not asked_to_end.is_set():
        await tell(container.environment().workers)
        with suppress(TimeoutError):
            async with asyncio.timeout(TELL_OF_WORKERS_EVERY_SEC):
                await asked_to_end.wait()
    await tell(0)


async def _repeatable(
    do: Callable[[], Awaitable[int]], done: str, not_done: str = "cannot sweep now"
) -> bool:
    """Do a piece of tidying and say whether it could be done; what cannot is left for next time."""
    try:
        if count := await do():
            _LOGGER.info(done, count=count)
    except (PhotoChangerError, OSError) as error:
        _LOGGER.warning(not_done, error=str(error))
        return False
    return True


class _Ending:
    """What signals have asked of the process."""

    def __init__(self, main: asyncio.Task[Any]) -> None:
        self._main = main
        self.asked = asyncio.Event()
        """Set once the process is asked to end."""
        self._can_wait = False
        self.is_drained = False
        """Whether a supervisor asked, which has load balancers before it; a person waits."""

    def ask(self, number: signal.Signals) -> None:
        """Tell whoever waits; cancel what is going on where nobody does, or where it was told before."""
        if self.asked.is_set() or not self._can_wait:
            self._main.cancel()
        self.is_drained = number == signal.SIGTERM
        self.asked.set()

    async def wait(self) -> None:
        """Wait until the process is asked to end."""
        self._can_wait = True
        await self.asked.wait()

    @property
    def was_start(self) -> bool:
        """Whether the process was asked to end while it started."""
        return self.asked.is_set() and not self._can_wait


@asynccontextmanager
async def _asked_to_end() -> AsyncIterator[_Ending]:
    """Turn what ends a process into an event; the second such signal cancels what is still going on.

    So does the first during the start, which then ends without an error.
    """
    loop, main = asyncio.get_running_loop(), asyncio.current_task()
    assert main is not None  # noqa: S101 - for the type checker
    ending = _Ending(main)
    for number in _ENDING:
        loop.add_signal_handler(number, ending.ask, number)
    try:
        yield ending
    except asyncio.CancelledError:
        if not ending.was_start:
            raise
        main.uncancel()
    finally:
        for number in _ENDING:
            loop.remove_signal_handler(number)
