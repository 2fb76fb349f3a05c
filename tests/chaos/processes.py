"""The processes that suffer: servers and workers, each in a place that is filled again and again."""

import asyncio
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

import psutil

from photochanger.entrypoints.cli.processes import HOST
from tests.chaos.history import History
from tests.chaos.provider import key_of
from tests.chaos.zygote import Zygote
from tests.crash.victim import OWN_GROUP
from tests.system.installation import Installation, free_port

_READY: Final = {"serve": b" is ready at ", "worker": b" jobs at once."}
_LOOK_SEC: Final = 0.05
_LOOK_CLOSELY_SEC: Final = 0.005
_STARVING_SEC: Final = 0.02
_RESTART_SEC: Final = 0.5
"""After so long an init system would start what has ended by itself."""
_PROBE_SEC: Final = 2.0
_START_PATIENCE_SEC: Final = 60.0
_END_PATIENCE_SEC: Final = 80.0


class Running(Protocol):
    """A process, however it was started."""

    log_path: Path

    @property
    def pid(self) -> int:
        """Its id."""

    @property
    def exit_status(self) -> int | None:
        """What it ended with, negative for a signal; None while it runs."""

    def send_signal(self, number: signal.Signals) -> None:
        """Send it a signal."""


@dataclass(eq=False)
class Place:
    """A server or a worker; who fills it changes with every start."""

    role: str
    number: int
    starts: int = 0
    process: Running | None = None
    base_url: str = ""
    is_ready: bool = False
    dismissed: set[int] = field(default_factory=set)
    """The starts whose process somebody has asked to end, or is about to kill."""
    busy: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held by whoever does something to it that takes time."""

    @property
    def name(self) -> str:
        """The place."""
        return f"{self.role}-{self.number}"

    @property
    def incarnation(self) -> str:
        """The place and which start it was: `serve-1.4`."""
        return f"{self.name}.{self.starts}"


class Fleet:
    """All servers and workers of one installation. Every start, readiness and end is in the history."""

    def __init__(
        self,
        installation: Installation,
        history: History,
        *,
        serves: int,
        workers: int,
        jobs_at_once: int,
        variables: Mapping[str, str],
        zygote: Zygote | None = None,
        prefix: Sequence[str] = OWN_GROUP,
    ) -> None:
        self._installation = installation
        self._history = history
        self._jobs_at_once = jobs_at_once
        self._variables = dict(variables)
        self._zygote = zygote
        self._prefix = prefix
        self.places = [
            *(Place("serve", number) for number in range(serves)),
            *(Place("worker", number) for number in range(workers)),
        ]
        self.logs: dict[str, Path] = {}
        """What each process has written, by its incarnation."""
        self._waited: dict[str, tuple[float, float]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self.is_over = False

    @property
    def servers(self) -> Sequence[Place]:
        """The servers that take photos, and were neither killed nor asked to end since."""
        return [place for place in self.places if place.role == "serve" and place.is_ready]

    async def start(self, place: Place, variables: Mapping[str, str] | None = None) -> None:
        """Start a process there, and return at once; `wait_until_ready` waits."""
        place.starts += 1
        place.is_ready = False
        await self._start(place, dict(variables or {}))
        assert place.process is not None
        self.logs[place.incarnation] = place.process.log_path
        self._history.tell(place.incarnation, "started", pid=place.process.pid, **(variables or {}))
        watching = asyncio.create_task(self._watch(place, place.process, place.starts))
        self._tasks.add(watching)
        watching.add_done_callback(self._tasks.discard)

    async def _start(self, place: Place, variables: dict[str, str]) -> None:
        is_special = bool(variables)
        variables = {**self._variables, "GEMINI_API_KEY": key_of(place.incarnation), **variables}
        if self._zygote is not None and not is_special:
            await self._fork(place, self._zygote, variables)
        elif place.role == "serve":
            server = self._installation.start_server(
                workers=self._jobs_at_once, variables=variables, prefix=self._prefix
            )
            place.process, place.base_url = server, server.base_url
        else:
            place.process = self._installation.worker(
                workers=self._jobs_at_once, variables=variables, prefix=self._prefix
            )

    async def _fork(self, place: Place, zygote: Zygote, variables: Mapping[str, str]) -> None:
        port = free_port()
        arguments = [place.role, "--data-dir", str(self._installation.folder)]
        arguments += ["--workers", str(self._jobs_at_once)]
        if place.role == "serve":
            arguments += ["--host", HOST, "--port", str(port)]
        base_url = f"http://{HOST}:{port}"
        log = self._installation.folder / f"{place.incarnation}.log"
        place.process = await zygote.child(
            arguments,
            {"LOG_FORMAT": "json", **self._installation.variables, "PUBLIC_BASE_URL": base_url, **variables},
            log,
        )
        place.base_url = base_url

    async def _watch(self, place: Place, process: Running, start: int) -> None:
        """See it get ready, and see it end; where nobody has asked for the end, start another."""
        incarnation = place.incarnation
        began = self._history.now
        is_ready = False
        while process.exit_status is None:
            is_ready = is_ready or await self._takes_work(place, process)
            if is_ready and not place.is_ready and start not in place.dismissed:
                place.is_ready = True
                self._history.tell(incarnation, "ready", after_sec=round(self._history.now - began, 3))
            await asyncio.sleep(_LOOK_SEC)
        expected = start in place.dismissed
        self._history.tell(incarnation, "ended", status=process.exit_status, expected=expected)
        if expected or self.is_over:
            return
        place.is_ready = False
        await asyncio.sleep(_RESTART_SEC)
        if start not in place.dismissed:
            await self.start(place)

    async def _takes_work(self, place: Place, process: Running) -> bool:
        """Say whether it has said that it is ready; a server is asked as well, as a balancer asks."""
        if _READY[place.role] not in process.log_path.read_bytes():
            return False
        if place.role == "worker":
            return True
        try:
            reader, writer = await asyncio.open_connection(HOST, int(place.base_url.rpartition(":")[2]))
        except OSError:
            return False
        try:
            async with asyncio.timeout(_PROBE_SEC):
                writer.write(b"GET /readyz HTTP/1.1\r\nHost: chaos\r\nConnection: close\r\n\r\n")
                return b" 200 " in await reader.readline()
        except (OSError, TimeoutError):
            return False
        finally:
            writer.close()

    async def wait_until_ready(self, place: Place) -> None:
        """Wait until whoever is there takes photos or jobs; raises `TimeoutError` after a minute."""
        async with asyncio.timeout(_START_PATIENCE_SEC):
            while True:
                if place.is_ready:
                    return
                await asyncio.sleep(_LOOK_SEC)

    async def kill(self, place: Place) -> None:
        """Kill it with SIGKILL, and return once it is gone. Who kills starts it again."""
        process = place.process
        assert process is not None
        place.is_ready = False
        place.dismissed.add(place.starts)
        process.send_signal(signal.SIGKILL)
        await self._ended(process)

    async def end(self, place: Place) -> int | None:
        """Ask it to end with SIGTERM, and return what it ended with; None where it does not within 80 s."""
        process = place.process
        assert process is not None
        place.is_ready = False
        place.dismissed.add(place.starts)
        process.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(_END_PATIENCE_SEC):
                await self._ended(process)
        except TimeoutError:
            return None
        return process.exit_status

    async def _ended(self, process: Running) -> None:
        while True:
            if process.exit_status is not None:
                return
            await asyncio.sleep(_LOOK_CLOSELY_SEC)

    def look_who_starves(self) -> None:
        """Note of every process for how long its main thread has waited for a processor since the last look.

        Linux counts that: the second number of `/proc/<pid>/schedstat` (Documentation/scheduler/sched-stats).
        """
        for place in self.places:
            if place.process is None or place.process.exit_status is not None:
                continue
            try:
                waited = int(Path(f"/proc/{place.process.pid}/schedstat").read_text().split()[1]) / 1e9
            except (OSError, IndexError):
                continue
            since = self._waited.get(place.incarnation, (self._history.now, 0.0))
            self._waited[place.incarnation] = (self._history.now, waited)
            if waited - since[1] > _STARVING_SEC:
                self._history.tell(
                    place.incarnation,
                    "starved",
                    since=round(since[0], 3),
                    for_sec=round(waited - since[1], 3),
                )

    def sample(self) -> None:
        """Note the memory and the descriptors of every process that is ready."""
        for place in self.places:
            if not place.is_ready or place.process is None:
                continue
            try:
                seen = psutil.Process(place.process.pid)
                memory, descriptors = seen.memory_info().rss / 1e6, seen.num_fds()
            except psutil.Error:
                continue
            self._history.tell(place.incarnation, "sample", rss_mb=round(memory, 2), fds=descriptors)

    async def stop(self) -> Mapping[str, int | None]:
        """Ask all to end, and return what each ended with."""
        self.is_over = True
        statuses = await asyncio.gather(*(self.end(place) for place in self.places))
        for task in self._tasks:  # what has not ended by now is killed, and is in the statuses
            task.cancel()
        return {place.incarnation: status for place, status in zip(self.places, statuses, strict=True)}

    def kill_all(self) -> None:
        """Leave no process behind, whatever has happened."""
        self.is_over = True
        for place in self.places:
            if place.process is not None and place.process.exit_status is None:
                place.process.send_signal(signal.SIGKILL)
