"""What one photo costs, so that everybody can reckon what their booths need (docs/scaling.md).

One process that does everything, `photochanger serve`, with its media in a local folder, on one core. Photos
of 3 MB go in over kept-alive connections, and a fake Gemini answers at once with a picture as large. What is
measured is divided by the photos; the columns are how many are under way at once. `strace`, where there is
one, counts system calls in a round of its own.

Server on core 0; load, image service and PostgreSQL on core 1.
"""

import argparse
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.request import urlopen

import psutil
import psycopg

from benchmarks.gateway import CALL, UPSTREAM_PORT, image_service, slow, variables
from benchmarks.harness import (
    configure,
    cpu_seconds,
    ingest_request,
    installation,
    keep_to_load_core,
    percentile,
    postgres_pid,
    resident_mib,
    running,
)
from benchmarks.report import Contestant, Figure, Report, Rounds, say
from benchmarks.sending import Sent, send
from photochanger.adapters.embedded_postgres import EmbeddedPostgres
from photochanger.testing.photos import camera_jpeg

ROUNDS = 5
PORT: Final = 8381
WORKERS: Final = 64
AT_ONCE: Final = (1, 8)
SECONDS: Final = 8.0
WARMING_UP: Final = 40
TRACED: Final = 20
HELD, PROVIDER_SEC = 40, 10.0
"""So many at once, from a provider that takes as long as a real one."""
BOOTH_SEC: Final = 30
"""How often a busy booth sends a photo."""

FIGURES: Final = {
    "rate": "photos a second",
    "p50": "a photo takes, p50 ms",
    "cpu": "CPU of the process, ms",
    "kernel": "… of it in the kernel, ms",
    "database_cpu": "CPU of PostgreSQL, ms",
    "transactions": "transactions that write",
    "wal": "write-ahead log, KiB",
    "read": "bytes read from sockets and files, MB",
    "written": "bytes written to sockets and files, MB",
    "to_disk": "… of it to files, MB",
    "kept": "bytes kept until the result expires, MB",
    "syscalls": "system calls",
    "fsyncs": "… of them fsync",
    "to_database": "bytes to PostgreSQL, KiB",
    "from_database": "bytes from PostgreSQL, KiB",
    "held": "memory of a request whose provider is at work, KiB",
    "failed": "failed",
}


_SLOW: Final = f"{HELD} at once, the provider takes {PROVIDER_SEC:g} s"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add what can be chosen of this measurement."""
    parser.add_argument(
        "--seconds", type=float, default=SECONDS, help=f"of each load in each round; default {SECONDS:g}"
    )


def run(options: argparse.Namespace) -> Report:
    """Measure, and return the report."""
    photo = camera_jpeg(2048, 1536, quality=97, noise=0.65)
    rounds, seconds = Rounds(), 1.0 if options.quick else options.seconds
    keep_to_load_core()
    with installation() as data_dir, EmbeddedPostgres(data_dir) as dsn:
        configure(data_dir, call=CALL)
        with (
            image_service(data_dir, photo, UPSTREAM_PORT),
            running(data_dir, PORT, workers=WORKERS, variables=variables()) as server,
            psycopg.connect(dsn, autocommit=True) as database,
        ):
            view = _View(server.pid, postgres_pid(data_dir), database, ingest_request(photo))
            view.send(connections=8, total=WARMING_UP)
            for number in range(options.rounds):
                for at_once in AT_ONCE:
                    say(f"round {number + 1} of {options.rounds}: {at_once} at once")
                    rounds.add(_name(at_once), **view.costs(at_once, seconds))
            if shutil.which("strace"):
                for at_once in AT_ONCE:
                    say(f"system calls: {at_once} at once")
                    rounds.add(_name(at_once), **view.calls(at_once))
            say(f"{HELD} whose provider is at work")
            rounds.add(_SLOW, held=view.held_kib())
            with slow(PROVIDER_SEC):
                rounds.add(_SLOW, **view.costs(HELD, seconds))
    return _report(rounds, len(photo), seconds, options.rounds)


def _name(at_once: int) -> str:
    return f"{at_once} at once"


@dataclass(frozen=True, slots=True)
class _Reading:
    """Counters that only grow."""

    cpu: float
    kernel: float
    database_cpu: float
    transactions: int
    wal_bytes: int
    io: Any


@dataclass(frozen=True, slots=True)
class _View:
    """A running server, and all that counts what it does."""

    pid: int
    postgres: int
    database: psycopg.Connection[Any]
    request: bytes

    def send(self, *, connections: int, **until: Any) -> Sent:
        """Send photos."""
        return send(PORT, [self.request], connections=connections, **until)

    def costs(self, at_once: int, seconds: float) -> Mapping[str, float]:
        """Return what a photo costs, by counters of the kernel and of PostgreSQL."""
        before = self._reading()
        sent = self.send(connections=at_once, seconds=seconds)
        after, photos = self._reading(), len(sent.exchanges)
        io, io_before = after.io, before.io
        return {
            "rate": sent.per_second,
            "p50": percentile(sent.milliseconds(), 0.5),
            "cpu": (after.cpu - before.cpu) * 1000 / photos,
            "kernel": (after.kernel - before.kernel) * 1000 / photos,
            "database_cpu": (after.database_cpu - before.database_cpu) * 1000 / photos,
            "transactions": (after.transactions - before.transactions) / photos,
            "wal": (after.wal_bytes - before.wal_bytes) / 1024 / photos,
            "read": (io.read_chars - io_before.read_chars) / 1e6 / photos,
            "written": (io.write_chars - io_before.write_chars) / 1e6 / photos,
            "to_disk": (io.write_bytes - io_before.write_bytes) / 1e6 / photos,
            "kept": self._kept_bytes() / 1e6,
            "failed": sent.failed(),
        }

    def _reading(self) -> _Reading:
        process = psutil.Process(self.pid)
        transactions, wal_bytes = self._ask(
            "SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint,"
            " (pg_current_wal_insert_lsn() - '0/0')::bigint"
        )
        return _Reading(
            cpu=cpu_seconds(self.pid),
            kernel=process.cpu_times().system,
            database_cpu=cpu_seconds(self.postgres),
            transactions=transactions,
            wal_bytes=wal_bytes,
            io=process.io_counters(),
        )

    def _kept_bytes(self) -> float:
        (kept,) = self._ask(
            "SELECT (sum(size_bytes) / count(*) FILTER (WHERE kind = 'result'))::float8 FROM media_object"
            " WHERE kind IN ('result', 'preview') AND state = 'stored'"
        )
        return float(kept)

    def _ask(self, question: str) -> tuple[Any, ...]:
        row = self.database.execute(question.encode()).fetchone()
        assert row is not None
        return tuple(row)

    def calls(self, at_once: int) -> Mapping[str, float]:
        """Return how many system calls a photo takes, and what goes to PostgreSQL and back by them."""
        with tempfile.TemporaryDirectory() as folder:
            trace = Path(folder) / "trace"
            with _traced(self.pid, trace):
                self.send(connections=at_once, total=TRACED)
            lines = trace.read_text(errors="replace").splitlines()
        begun = Counter(found[1] for line in lines if (found := _BEGUN.match(line)))
        size_bytes = Counter[str]()
        for line in lines:
            if found := _TRANSFERRED.search(line):
                size_bytes[found[1]] += int(found[2])
        return {
            "syscalls": begun.total() / TRACED,
            "fsyncs": begun["fsync"] / TRACED,
            "to_database": size_bytes["sendto"] / 1024 / TRACED,
            "from_database": size_bytes["recvfrom"] / 1024 / TRACED,
        }

    def held_kib(self) -> float:
        """Return the memory of each request, while all wait for the image service."""
        before, calls = resident_mib(self.pid), _calls()
        with slow(PROVIDER_SEC), _sending(self.request, HELD):
            patience_ends = time.monotonic() + PROVIDER_SEC
            while _calls() < calls + HELD:
                if time.monotonic() > patience_ends:
                    raise TimeoutError("not all of them were at the provider at once")
                time.sleep(0.05)
            return (resident_mib(self.pid) - before) * 1024 / HELD


_BEGUN: Final = re.compile(r"\d+ +(\w+)\(")
_TRANSFERRED: Final = re.compile(r"(sendto|recvfrom)\b.*\) += (\d+)$")
"""Only libpq uses these two; what goes over HTTP is read and written."""


@contextmanager
def _traced(pid: int, trace: Path) -> Iterator[None]:
    command = ["strace", "--follow-forks", "--string-limit=0", f"--attach={pid}", f"--output={trace}"]
    with subprocess.Popen(command, stderr=subprocess.PIPE) as tracing:
        assert tracing.stderr is not None
        tracing.stderr.readline()  # it says when it is there
        yield
        tracing.send_signal(signal.SIGINT)
        tracing.communicate()


@contextmanager
def _sending(request: bytes, count: int) -> Iterator[None]:
    with tempfile.NamedTemporaryFile() as file:
        file.write(request)
        file.flush()
        arguments = [str(PORT), file.name, str(count), str(PROVIDER_SEC / 8)]
        command = [sys.executable, "-m", "benchmarks.sending", *arguments]
        sending = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        yield
        sending.wait()


def _calls() -> int:
    with urlopen(f"http://127.0.0.1:{UPSTREAM_PORT}/calls") as answer:
        return int(answer.read())


def _report(rounds: Rounds, photo_bytes: int, seconds: float, count: int) -> Report:
    names = [*map(_name, AT_ONCE), _SLOW]
    size, text = photo_bytes / 1e6, photo_bytes * 4 / 3 / 1e6
    full = _name(AT_ONCE[-1])
    ours = 1000 / rounds.spread(full, "cpu").median
    database = 1000 / rounds.spread(full, "database_cpu").median
    slowly = 1000 / rounds.spread(_SLOW, "database_cpu").median
    return Report(
        name="capacity",
        title="What one photo costs",
        how=f"`photochanger serve --workers {WORKERS}` on one core, provider gemini, media in a folder; "
        f"a photo of {size:.1f} MB in and a picture as large out; {count} interleaved rounds of "
        f"{seconds:g} s. "
        "Image service, load and PostgreSQL (`fsync` on) on the other core. All but the first two rows, and "
        "the memory, are for one photo.",
        contestants=[Contestant(name=name, what="photos under way") for name in names],
        figures=[
            Figure(key=key, label=label, less_is_better=key != "rate")
            for key, label in FIGURES.items()
            if any(rounds.of(name, key) for name in names)
        ],
        plotted=["rate", "cpu", "database_cpu"],
        rounds=rounds,
        notes=[
            f"Over the network, MB a photo: {size:.1f} in and {size:.1f} out at the booth, {text:.1f} out "
            f"and {text:.1f} in at the provider.",
            f"A core of `serve` is full at {ours:.1f} photos a second: {ours * BOOTH_SEC:,.0f} booths that "
            f"send one every {BOOTH_SEC} s.",
            f"A core of PostgreSQL is full at {database:.0f} photos a second: {database * BOOTH_SEC:,.0f} "
            "of them.",
            f"With a provider that takes {PROVIDER_SEC:g} s, leases are renewed and waiters look for "
            f"themselves: a core of PostgreSQL is full at {slowly:.0f} photos a second.",
        ],
    )
