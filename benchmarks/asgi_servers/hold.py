"""Requests held to their deadline: how late the 504 comes, and what each costs in memory."""

import contextlib
import selectors
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from benchmarks.asgi_servers.client import connect
from benchmarks.asgi_servers.load import Figures
from benchmarks.asgi_servers.processes import Running, python, running
from benchmarks.asgi_servers.serve import ROOT
from benchmarks.harness import LOAD_CORE, percentile


@dataclass(frozen=True, slots=True)
class Case:
    """`count` requests, begun evenly over `spread` seconds, each to be answered after `seconds`."""

    label: str
    count: int
    seconds: float
    spread: float
    with_uploads: bool = False


CASES = (
    Case("100 held", 100, 1.5, 1.0),
    Case("1 000 held", 1000, 3.0, 2.0),
    Case("1 000 held, 10 MB uploads c=4", 1000, 3.0, 2.0, with_uploads=True),
)
QUICK_CASES = (Case("100 held", 100, 1.0, 0.5), Case("1 000 held", 1000, 2.0, 1.0))


def measure_hold(name: str, cases: tuple[Case, ...]) -> dict[str, Figures]:
    """Return the figures of each case, by its label."""
    with running(name) as server:
        _Load(server, Case("first requests", 5, 0.1, 0.1)).run()  # their costs are not a held request's
        return {case.label: _measure(server, case) for case in cases}


def _measure(server: Running, case: Case) -> Figures:
    with _uploads(server, case):
        load = _Load(server, case)
        load.run()
    figures: Figures = {"wrong": case.count - len(load.late_ms)}
    if load.late_ms:
        figures |= {
            "p50": percentile(load.late_ms, 0.5),
            "p99": percentile(load.late_ms, 0.99),
            "max": max(load.late_ms),
            "min": min(load.late_ms),
            "wake_min": min(load.wake_ms),
        }
    if not case.with_uploads and load.kib_each:
        figures["kib"] = load.kib_each
    return figures


@contextlib.contextmanager
def _uploads(server: Running, case: Case) -> Iterator[None]:
    if not case.with_uploads:
        yield
        return
    command = python("load", server.port, case.seconds + case.spread, core=LOAD_CORE)
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)
    time.sleep(0.5)
    try:
        yield
        if process.wait(timeout=60):
            raise RuntimeError(f"{server.name}: uploads failed while requests were held")
    finally:
        process.kill()
        process.wait()


@dataclass
class _Load:
    server: Running
    case: Case
    late_ms: list[float] = field(default_factory=list)
    wake_ms: list[float] = field(default_factory=list)
    kib_each: float = 0.0

    def run(self) -> None:
        """Send, sample the memory while all are held, take the answers."""
        case = self.case
        idle = self.server.memory()
        sockets = [connect(self.server.port) for _ in range(case.count)]
        waiting = selectors.DefaultSelector()
        began = time.monotonic()
        sent = answered = 0
        while answered < case.count and time.monotonic() < began + case.spread + case.seconds + 20:
            while sent < case.count and time.monotonic() >= began + case.spread * sent / case.count:
                self._send(sockets[sent], waiting)
                sent += 1
            halfway = time.monotonic() >= began + (case.spread + case.seconds) / 2
            if halfway and not self.kib_each and sent == case.count and not answered:
                self.kib_each = (self.server.memory() - idle) * 1024 / case.count
            for key, _ in waiting.select(0.0005 if sent < case.count else 0.02):
                waiting.unregister(key.fileobj)
                self._take(*key.data)
                answered += 1
        for each in sockets:
            each.close()
        waiting.close()

    def _send(self, connection: socket.socket, waiting: selectors.BaseSelector) -> None:
        body = b"x" * 1024
        connection.setblocking(False)
        waiting.register(connection, selectors.EVENT_READ, data=(connection, time.monotonic()))
        connection.send(
            b"POST /hold?t=%.3f HTTP/1.1\r\nHost: x\r\nContent-Length: 1024\r\n\r\n" % self.case.seconds
            + body
        )

    def _take(self, connection: socket.socket, sent_at: float) -> None:
        now = time.monotonic()
        try:
            raw = connection.recv(65536)
        except OSError:
            return
        if b" 504 " in raw[:16] and b"x-wake-us: " in raw:
            self.late_ms.append((now - sent_at - self.case.seconds) * 1000)
            wake = raw.partition(b"x-wake-us: ")[2].partition(b"\r\n")[0]
            self.wake_ms.append(int(wake) / 1000)
