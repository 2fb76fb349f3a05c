"""The candidates as processes: started, measured, and ended by their ids."""

import contextlib
import importlib.util
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks.asgi_servers.client import talk
from benchmarks.asgi_servers.serve import GRANIAN, HOST, HYPERCORN, ROOT, UVICORN, UVICORN_H11
from benchmarks.harness import SERVER_CORE, pinned
from photochanger.entrypoints.cli.malloc import SETTINGS

NEEDS = {UVICORN: "httptools", UVICORN_H11: "h11", GRANIAN: "granian", HYPERCORN: "hypercorn"}
"""The package that each candidate needs; only the first is a requirement of PhotoChanger."""


def installed(name: str) -> bool:
    """Return whether the candidate can be started."""
    return importlib.util.find_spec(NEEDS[name]) is not None


def python(module: str, *arguments: object, core: str = SERVER_CORE) -> list[str]:
    """Return the command that runs a module of this package on the core."""
    name = f"benchmarks.asgi_servers.{module}"
    return [*pinned(core), sys.executable, "-m", name, *map(str, arguments)]


@dataclass(frozen=True, slots=True)
class Running:
    """A candidate that answers, with all its processes."""

    name: str
    process: subprocess.Popen[bytes]
    port: int
    start_seconds: float
    family: Sequence[psutil.Process]

    def memory(self) -> float:
        """Return the resident memory of all processes, in MiB."""
        return sum(float(each.memory_info().rss) for each in self.family) / (1 << 20)

    def peak_memory(self) -> float:
        """Return the sum of the highest resident memory of each process so far, in MiB."""
        return sum(_high_water_kib(each.pid) for each in self.family) / 1024

    def cpu_seconds(self) -> float:
        """Return the processor time that all processes have taken."""
        times = [each.cpu_times() for each in self.family]
        return float(sum(each.user + each.system for each in times))

    def left(self) -> int:
        """Return how many of the processes still live."""
        return sum(_lives(each) for each in self.family)


@contextlib.contextmanager
def running(name: str, *, malloc: bool = True, workers: int = 1) -> Iterator[Running]:
    """Run the candidate during the context; with `malloc`, glibc's allocator as `serve` sets it."""
    port = free_port()
    environment = {key: value for key, value in os.environ.items() if not key.startswith("MALLOC_")}
    began = time.monotonic()
    process = subprocess.Popen(
        python("serve", name, port, workers),
        cwd=ROOT,
        env=environment | (dict(SETTINGS) if malloc else {}),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    family = [psutil.Process(process.pid)]
    try:
        _wait_until_it_answers(name, process, port)
        took = time.monotonic() - began
        family += family[0].children(recursive=True)
        yield Running(name, process, port, took, family)
    finally:
        _end(process, family)


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def _wait_until_it_answers(name: str, process: subprocess.Popen[bytes], port: int) -> None:
    give_up = time.monotonic() + 20
    while time.monotonic() < give_up and process.poll() is None:
        with contextlib.suppress(OSError):
            if talk(port, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", wait=1).startswith("200"):
                return
        time.sleep(0.02)
    raise RuntimeError(f"{name} did not start")


def _end(process: subprocess.Popen[bytes], family: Sequence[psutil.Process]) -> None:
    late = []
    with contextlib.suppress(psutil.NoSuchProcess):
        late = family[0].children(recursive=True)
    for each in {*family, *late}:
        with contextlib.suppress(psutil.NoSuchProcess):
            each.kill()
    process.wait()


def _lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _high_water_kib(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1])
    raise LookupError(f"/proc/{pid}/status has no VmHWM")
