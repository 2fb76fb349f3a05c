"""Restarting the processes behind a proxy one after the other, while booths go on sending photos."""

import asyncio
import signal
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from aiohttp import ClientError

from photochanger.domain.errors import PhotoChangerError
from photochanger.entrypoints.cli.booth import Delivery, Refusal, send_photo
from photochanger.entrypoints.cli.processes import ServeProcess
from tests.nginx import nginx_before
from tests.system.installation import PASSWORD, SLOT, Installation, free_port

DRAIN_SEC: Final = 5
"""As the configuration for nginx says."""

BOOTHS: Final = 8


@dataclass(kw_only=True)
class Rolled:
    """What the booths saw: how often which outcome, how long each answer took, and the ends of processes."""

    outcomes: Counter[str] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    restarts: int = 0
    exit_statuses: list[int] = field(default_factory=list)
    exit_sec: list[float] = field(default_factory=list)
    proxy_errors: str = ""


class RollingRestart:
    """Two processes behind nginx. Restarts them in turn until the booths have sent all their photos."""

    def __init__(self, installation: Installation, photo: Path, folder: Path) -> None:
        self._installation = installation
        self._photo = photo
        self._folder = folder
        self._ports = [free_port(), free_port()]
        self._port = free_port()
        self.rolled = Rolled()

    async def run(self, *, photos: int, restarts: int) -> Rolled:
        """Send at least so many photos, during at least so many restarts."""
        servers = await asyncio.gather(*(asyncio.to_thread(self._start, port) for port in self._ports))
        with nginx_before(self._ports, port=self._port, folder=self._folder) as log:
            restarting = asyncio.create_task(self._restart(servers, restarts))
            async with asyncio.TaskGroup() as booths:
                for _ in range(BOOTHS):
                    booths.create_task(self._send_photos(photos, restarting))
            await restarting
            self.rolled.proxy_errors = log.read_text()
        return self.rolled

    def _start(self, port: int) -> ServeProcess:
        server = self._installation.start_server(
            "--port", str(port), variables={"DRAIN_SEC": str(DRAIN_SEC), "TRUSTED_PROXIES": "127.0.0.1"}
        )
        server.base_url = f"http://127.0.0.1:{port}"
        server.wait_until_ready()
        return server

    async def _restart(self, servers: Sequence[ServeProcess], times: int) -> None:
        """Restart them in turn, as a supervisor does: the next one when this one is ready again."""
        running = list(servers)
        for number in range(times):
            which = number % len(running)
            began = time.monotonic()
            running[which].send_signal(signal.SIGTERM)
            self.rolled.exit_statuses.append(await asyncio.to_thread(running[which].wait))
            self.rolled.exit_sec.append(time.monotonic() - began)
            running[which] = await asyncio.to_thread(self._start, self._ports[which])
            self.rolled.restarts += 1

    async def _send_photos(self, photos: int, restarting: "asyncio.Task[None]") -> None:
        while self.rolled.outcomes.total() < photos or not restarting.done():
            began = time.monotonic()
            self.rolled.outcomes[await self._send()] += 1
            self.rolled.seconds.append(time.monotonic() - began)

    async def _send(self) -> str:
        url = f"http://127.0.0.1:{self._port}/ingest/{SLOT}"
        try:
            sent = await send_photo(url, PASSWORD, self._photo, timeout_sec=70, on_progress=lambda _: None)
        except Refusal as refusal:
            return f"{refusal.status} {refusal.error.code}"
        except (OSError, PhotoChangerError, asyncio.IncompleteReadError, ClientError) as error:
            return type(error).__name__
        assert isinstance(sent, Delivery)
        return "delivered"
