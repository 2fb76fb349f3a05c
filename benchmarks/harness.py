"""What the measurements share: an installation of PhotoChanger, a load generator, and honest statistics."""

import asyncio
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import psutil
from psycopg.conninfo import conninfo_to_dict

from photochanger.adapters.argon2_hasher import Argon2PasswordHasher
from photochanger.domain.audit import Actor, AuditAction, AuditEntry
from photochanger.domain.operation import ParameterValue
from photochanger.domain.slot import MAX_CONCURRENCY, SLOT_IDS, ProviderCall, SlotId
from photochanger.entrypoints.cli.booth import form
from photochanger.entrypoints.cli.processes import ServeProcess
from photochanger.entrypoints.opening import opened
from photochanger.entrypoints.settings import Environment

PASSWORD = "benchmark-password"
BOUNDARY = "-" * 12 + "090306000104030805010400"

_SET_UP = AuditEntry(action=AuditAction.SETTINGS_CHANGED, actor=Actor(name="benchmark"))
SERVER_CORE, LOAD_CORE = "0", "1"


@dataclass(frozen=True, slots=True)
class Spread:
    """The median of several rounds, and between what it lay."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """Return the spread of the values."""
        return cls(statistics.median(values), min(values), max(values))

    def __str__(self) -> str:
        if self.least == self.most:
            return _digits(self.median)
        return f"{_digits(self.median)} ({_digits(self.least)}–{_digits(self.most)})"


def _digits(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value below which `share` (0 to 1) of the values lie."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def pinned(core: str) -> Sequence[str]:
    """Return the command prefix that keeps a process on one core, where the machine has several."""
    return ["taskset", "-c", core] if shutil.which("taskset") and (os.cpu_count() or 1) > 1 else []


@contextmanager
def installation() -> Iterator[Path]:
    """Make a data folder with a set-up database, and remove it afterwards."""
    with tempfile.TemporaryDirectory(prefix="photochanger-bench-") as folder:
        yield Path(folder)


def configure(
    data_dir: Path,
    *,
    params: Mapping[str, ParameterValue] | None = None,
    timeout_sec: int = 48,
    slot_id: SlotId = SLOT_IDS[0],
    **terms: Any,
) -> None:
    """Set a slot up, the first one, and the ingest password to `PASSWORD`; no limit can be noticed.

    It uses the rehearsal provider with `params`, unless `terms` of the configuration say otherwise.
    """
    call = ProviderCall(provider="rehearsal", operation="photo_effect", params=params or {})
    given = {"call": call, "is_active": True, "sync_response_timeout_sec": timeout_sec, "size_limit_mb": 100}
    asyncio.run(_configure(data_dir, slot_id, given | terms))


async def _configure(data_dir: Path, slot_id: SlotId, terms: Mapping[str, Any]) -> None:
    async with opened(Environment(data_dir=data_dir)) as container:
        slot = await container.slots().get(slot_id)
        configuration = replace(slot.configuration, **terms)
        await container.slots().save(replace(slot, configuration=configuration), entry=_SET_UP)
        settings = await container.settings().get()
        ingest = replace(
            settings.ingest,
            password_hash=await Argon2PasswordHasher().hash(PASSWORD),
            deduplicate=False,
            rate_limit_rps=10_000,
            rate_limit_burst=100_000,
        )
        limits = replace(settings.limits, per_slot=MAX_CONCURRENCY)
        await container.settings().save(replace(settings, ingest=ingest, limits=limits), entry=_SET_UP)


@contextmanager
def running(
    data_dir: Path,
    port: int,
    *,
    workers: int = 8,
    options: Sequence[str] = (),
    variables: Mapping[str, str] | None = None,
    prefix: Sequence[str] = (),
) -> Iterator[ServeProcess]:
    """Run the server on its core during the context; `prefix` goes before its command."""
    server = ServeProcess(
        data_dir,
        port,
        "--workers",
        str(workers),
        *options,
        log_path=data_dir / f"serve-{port}.log",
        variables=variables,
        prefix=[*pinned(SERVER_CORE), *prefix],
    )
    try:
        server.wait_until_ready()
        yield server
    finally:
        server.stop()


@contextmanager
def bare(answer: Path, port: int, *options: str, variables: Mapping[str, str] | None = None) -> Iterator[int]:
    """Run `benchmarks.bare` on the server's core during the context; give its process id."""
    command = [
        *pinned(SERVER_CORE),
        sys.executable,
        "-m",
        "benchmarks.bare",
        str(port),
        str(answer),
        *options,
    ]
    process = subprocess.Popen(command, env={**os.environ, **(variables or {})})
    try:
        wait_for(f"http://127.0.0.1:{port}/")
        yield process.pid
    finally:
        process.terminate()
        process.wait()


def wait_for(url: str) -> None:
    """Wait until `url` answers."""
    for _ in range(200):
        try:
            urlopen(url, timeout=1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise TimeoutError("it does not answer")


def keep_to_load_core() -> None:
    """Keep this process, which makes the load, away from the server's core."""
    if (os.cpu_count() or 1) > 1:
        psutil.Process().cpu_affinity([int(LOAD_CORE)])


def ingest_request(photo: bytes, *, path: str = "/ingest/slot-001") -> bytes:
    """Return a whole ingest request, byte by byte as the booth would send it, for a kept-alive connection."""
    head, tail = form(PASSWORD, BOUNDARY)
    body = head + photo + tail
    return (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nCache-Control: no-cache\r\n"
        f"Content-Type: multipart/form-data; boundary={BOUNDARY}\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode() + body


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back, and after how long, in seconds from before the first byte was sent."""

    status: int
    size_bytes: int
    seconds: float


class Connection:
    """One kept-alive HTTP/1.1 connection that sends ready-made requests."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def ask(self, request: bytes) -> Answer:
        """Send the request and read the whole answer."""
        if self._reader is None or self._writer is None:
            self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        began = time.perf_counter()
        self._writer.write(request)
        await self._writer.drain()
        head = await self._reader.readuntil(b"\r\n\r\n")
        status, length = int(head[9:12]), _content_length(head)
        left = length
        while left:
            chunk = await self._reader.read(min(left, 1 << 20))
            if not chunk:
                raise ConnectionError("the answer was cut short")
            left -= len(chunk)
        return Answer(status, length, time.perf_counter() - began)

    async def close(self) -> None:
        """Close the connection."""
        if self._writer is not None:
            self._writer.close()
            await self._writer.wait_closed()


def _content_length(head: bytes) -> int:
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    raise ValueError("the answer has no Content-Length")


async def load(port: int, request: bytes, *, connections: int, requests: int) -> list[Answer]:
    """Send `requests` requests over `connections` connections, each one after the other's answer."""
    left = iter(range(requests))
    answers: list[Answer] = []

    async def one_connection() -> None:
        connection = Connection(port)
        answers.extend([await connection.ask(request) for _ in left])
        await connection.close()

    await asyncio.gather(*(one_connection() for _ in range(connections)))
    return answers


def resident_mib(pid: int) -> float:
    """Return the resident memory of the process, in MiB."""
    return float(psutil.Process(pid).memory_info().rss) / (1 << 20)


def cpu_seconds(pid: int) -> float:
    """Return how long the process was on a core, and all that it has started, also those that have ended."""
    process = psutil.Process(pid)
    children = process.children(recursive=True)
    own = process.cpu_times()
    seconds = float(own.user + own.system + own.children_user + own.children_system)
    for child in children:
        with suppress(psutil.NoSuchProcess):  # it has just ended, and counts in the next reading
            times = child.cpu_times()
            seconds += float(times.user + times.system)
    return seconds


def postgres_pid(data_dir: Path) -> int:
    """Return the id of the embedded PostgreSQL's first process."""
    return int((data_dir / "postgres" / "postmaster.pid").read_text().splitlines()[0])


def forget_peak(pid: int) -> None:
    """Have the kernel begin anew with the process's `peak_mib`: proc_pid_clear_refs(5)."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def peak_mib(pid: int) -> float:
    """Return the highest resident memory of the process, in MiB, as the kernel noticed it."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


async def peak_resident_mib(pid: int, during: Callable[[], Awaitable[None]]) -> float:
    """Return the highest resident memory of the process while `during` runs, in MiB, looked at every 5 ms."""
    peak = resident_mib(pid)
    work = asyncio.ensure_future(during())
    while not work.done():
        peak = max(peak, resident_mib(pid))
        await asyncio.sleep(0.005)
    await work
    return peak


def url_of(dsn: str) -> str:
    """Return a DSN of the embedded PostgreSQL as an address that every driver understands."""
    where = conninfo_to_dict(dsn)
    return f"postgresql://{where['user']}@/{where['dbname']}?host={where['host']}&port={where['port']}"


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return a Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)
