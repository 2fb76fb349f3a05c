"""The processes that are killed, and the times when nobody served because of that."""

import asyncio
import os
import shutil
import signal
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from photochanger.domain.errors import Unavailable
from photochanger.entrypoints.cli.processes import Process, ServeProcess
from tests.system.installation import Installation

OWN_GROUP: Final = ("setsid",) if shutil.which("setsid") else ()
"""Makes the process the leader of a group of its own, so that the kill hits it with all its children."""


@dataclass(slots=True)
class Outage:
    """From just before a kill until the next process took photos; times are monotonic, in seconds."""

    began: float
    ended: float | None = None


class Victim:
    """`photochanger serve`, and where wanted a `photochanger worker` beside it."""

    def __init__(self, installation: Installation, *, workers: int, separate_worker: bool) -> None:
        self._installation = installation
        self.variables: dict[str, str] = {}
        """What the processes' environment has besides."""
        self._workers = workers
        self._separate_worker = separate_worker
        self._server: ServeProcess | None = None
        self._worker: Process | None = None
        self._getting_ready: asyncio.Task[None] | None = None
        self.outages = [Outage(time.monotonic())]
        self.restarts_sec: list[float] = []

    @property
    def base_url(self) -> str:
        """Where the present server is; every restart has a port of its own."""
        return self._server.base_url if self._server else "http://127.0.0.1:9"

    @property
    def is_ready(self) -> bool:
        """Whether the server has said that it takes photos, and was not killed since."""
        return self.outages[-1].ended is not None

    def start(self) -> None:
        """Start what does not run."""
        if self._server is None:
            self._server = self._installation.start_server(
                *(["--no-worker"] if self._separate_worker else []),
                workers=self._workers,
                variables=self.variables,
                prefix=OWN_GROUP,
            )
            self._getting_ready = asyncio.create_task(self._get_ready(self._server))
        if self._worker is None and self._separate_worker:
            self._worker = self._installation.worker(
                workers=self._workers,
                variables={**self.variables, "PUBLIC_BASE_URL": self.base_url},
                prefix=OWN_GROUP,
            )

    async def _get_ready(self, server: ServeProcess) -> None:
        began = time.monotonic()
        with suppress(Unavailable):
            await asyncio.to_thread(server.wait_until_ready)
            if server is self._server:
                self.outages[-1].ended = time.monotonic()
                self.restarts_sec.append(time.monotonic() - began)

    async def ready(self, *, within_sec: float | None = None) -> bool:
        """Wait until the server takes photos, for `within_sec` at most; say whether it does."""
        if self._getting_ready is not None:
            await asyncio.wait({self._getting_ready}, timeout=within_sec)
        return self.is_ready

    async def kill(self, *, server: bool, worker: bool) -> Sequence[str]:
        """Kill with SIGKILL, and return what was found wrong: a process that had ended by itself."""
        found: list[str] = []
        if server and self._server is not None:
            if self.is_ready:
                self.outages.append(Outage(time.monotonic()))
            found += self._kill(self._server)
            self._server = None
            if self._getting_ready is not None:
                await self._getting_ready
        if worker and self._worker is not None:
            found += self._kill(self._worker)
            self._worker = None
        return found

    def _kill(self, process: Process) -> Sequence[str]:
        status = process.exit_status
        if status is not None:
            return [f"a process had ended by itself, with status {status}; see {process.log_path}"]
        if OWN_GROUP and os.getpgid(process.pid) == process.pid:
            os.killpg(process.pid, signal.SIGKILL)
        process.kill()
        return []

    def was_down(self, since: float, until: float) -> bool:
        """Say whether at some time between the two nobody served."""
        return any(outage.began <= until and (outage.ended or until) >= since for outage in self.outages)

    def served_from(self, asked_at: float) -> float | None:
        """Return when somebody served who asked at that time: then, or once the next process was ready.

        None where no process is ready yet.
        """
        for outage in reversed(self.outages):
            if outage.began <= asked_at:
                return None if outage.ended is None else max(asked_at, outage.ended)
        return asked_at

    def down_sec(self, since: float, until: float) -> float:
        """Return for how long nobody served between the two."""
        overlaps = (
            min(until, outage.ended or until) - max(since, outage.began)
            for outage in self.outages
            if outage.began <= until
        )
        return sum(max(0.0, overlap) for overlap in overlaps)
