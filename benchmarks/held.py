"""Requests held until their deadline: how late the 504 comes, and how much memory each takes (goal G6).

A thousand requests wait for a job that nobody does, while photos of 10 MB come over four connections to
another slot; and four thousand wait alone. They arrive over twenty seconds, so that their deadlines do not
fall into one instant. Beside ours is a bare endpoint on the same server, which takes the same form and
sleeps: what it is late by is the machine's and the server's share, in the same run. The time runs from
before the first byte of a request is sent, so the way there and back is in it.

The server is on core 0; requests, uploads and PostgreSQL are on core 1.
"""

import argparse
import asyncio
import resource
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.harness import (
    LOAD_CORE,
    Connection,
    Spread,
    bare,
    configure,
    ingest_request,
    installation,
    keep_to_load_core,
    load,
    percentile,
    pinned,
    resident_mib,
    running,
)
from benchmarks.report import OURS, Contestant, Figure, Goal, Report, Rounds, say
from photochanger.adapters.embedded_postgres import EmbeddedPostgres
from photochanger.domain.retention import MIN_SYNC_RESPONSE_SEC
from photochanger.domain.slot import SLOT_IDS
from photochanger.entrypoints.cli.malloc import SETTINGS as MALLOC
from photochanger.testing.photos import camera_jpeg

ROUNDS = 2
BARE_PORT, PORT = 8351, 8352
BARE: Final = "bare endpoint"
ARRIVING_SEC, DEADLINE_SEC = 20.0, 25
UPLOADS: Final = 4
_FILES: Final = 20_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """How many requests are held at once, and whether photos come meanwhile."""

    held: int
    uploads: bool

    @property
    def key(self) -> str:
        """What its figures' keys begin with."""
        return f"{self.held}_{'busy' if self.uploads else 'alone'}"

    @property
    def label(self) -> str:
        """What it is called in tables."""
        return f"{self.held} held" + (", uploads running" if self.uploads else "")


CASES: Final = (Case(held=1000, uploads=True), Case(held=4000, uploads=False))
_FIGURES: Final[Mapping[str, str]] = {
    "p50": "late, p50 ms",
    "p99": "late, p99 ms",
    "most": "late, most ms",
    "least": "late, least ms",
    "each": "memory for each, KiB",
    "photos": "photos taken in meanwhile",
    "failed": "not 504",
}


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add what can be chosen of this comparison."""
    parser.add_argument("--held", type=int, nargs="+", help="other numbers, each held alone")


def run(options: argparse.Namespace) -> Report:
    """Measure, and return the report."""
    cases: Sequence[Case] = CASES
    deadline_sec, arriving_sec = DEADLINE_SEC, ARRIVING_SEC
    if options.held:
        cases = [Case(held=held, uploads=False) for held in options.held]
    elif options.quick:
        cases, deadline_sec, arriving_sec = [Case(held=50, uploads=True)], 10, 2.0
    resource.setrlimit(resource.RLIMIT_NOFILE, _limit_of_files())
    keep_to_load_core()
    rounds, others = Rounds(), Counter[str]()
    with installation() as data_dir, EmbeddedPostgres(data_dir), _servers(data_dir, deadline_sec) as servers:
        for number in range(options.rounds):
            for case in cases:
                for server in servers[:: 1 if number % 2 == 0 else -1]:
                    say(f"round {number + 1} of {options.rounds}: {server.name}, {case.label}")
                    figures = asyncio.run(_one(server, case, data_dir, deadline_sec, arriving_sec, others))
                    rounds.add(server.name, **{f"{case.key}_{key}": value for key, value in figures.items()})
    return Report(
        name="held",
        title="Requests held until their deadline",
        how=f"Deadline {deadline_sec} s, arrivals over {arriving_sec:g} s, photos of 89 kB; "
        f"{options.rounds} interleaved rounds. Server on core 0; requests, uploads and PostgreSQL on core 1.",
        contestants=[
            Contestant(name=BARE, what="our server and parser; sleeps until the deadline"),
            Contestant(
                name=OURS, what="`photochanger serve --no-worker`: a durable job for each, which nobody does"
            ),
        ],
        figures=[
            Figure(key=f"{case.key}_{key}", label=f"{case.label}: {label}", less_is_better=key != "photos")
            for case in cases
            for key, label in _FIGURES.items()
            if rounds.of(OURS, f"{case.key}_{key}")
        ],
        plotted=[f"{case.key}_{key}" for case in cases for key in ("p99", "most", "each")],
        rounds=rounds,
        notes=[f"Answers that were not 504, {which} × {count}" for which, count in sorted(others.items())],
        goals=[goal for case in cases for goal in _goals(rounds, case)],
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """One of the two, while it runs: what is held there, and what is uploaded meanwhile."""

    name: str
    port: int
    pid: int
    held: bytes
    upload: bytes


@contextmanager
def _servers(data_dir: Path, deadline_sec: int) -> Iterator[Sequence[Server]]:
    small = camera_jpeg(600, 400, noise=0.1)
    large = camera_jpeg(4096, 3072, quality=97, noise=0.42)
    configure(data_dir, timeout_sec=deadline_sec)
    configure(data_dir, slot_id=SLOT_IDS[1], timeout_sec=MIN_SYNC_RESPONSE_SEC)
    answer = data_dir / "answer.txt"
    answer.write_bytes(b"taken")
    with (
        bare(answer, BARE_PORT, f"hold={deadline_sec}", variables=MALLOC) as bare_pid,
        running(data_dir, PORT, options=["--no-worker"]) as ours,
    ):
        yield [
            Server(
                name=BARE,
                port=BARE_PORT,
                pid=bare_pid,
                held=ingest_request(small, path="/hold"),
                upload=ingest_request(large, path="/"),
            ),
            Server(
                name=OURS,
                port=PORT,
                pid=ours.pid,
                held=ingest_request(small),
                upload=_repeated(ingest_request(large, path=f"/ingest/{SLOT_IDS[1]}")),
            ),
        ]


def _repeated(request: bytes) -> bytes:
    """Have the photo taken in whole and made durable, and answered with the outcome of its first time.

    Else it would be held as well: there is no worker. The first time is before anything is measured.
    """
    return request.replace(b"\r\nHost:", b"\r\nIdempotency-Key: the-same-photo\r\nHost:", 1)


async def _one(
    server: Server, case: Case, folder: Path, deadline_sec: int, arriving_sec: float, others: Counter[str]
) -> Mapping[str, float]:
    await load(server.port, server.upload, connections=4, requests=16)
    idle = resident_mib(server.pid)
    uploading = _uploads(server, folder, deadline_sec + arriving_sec) if case.uploads else None
    holding = asyncio.create_task(_hold(server, case.held, deadline_sec, arriving_sec))
    await asyncio.sleep(arriving_sec + (deadline_sec - arriving_sec) / 2)  # all have come, none has ended
    each = (resident_mib(server.pid) - idle) * 1024 / case.held
    answers = await holding
    late = [lateness for _, lateness in answers]
    others.update(f"{server.name}, {case.label}: {status}" for status, _ in answers if status != 504)
    figures = {
        "p50": percentile(late, 0.5),
        "p99": percentile(late, 0.99),
        "most": max(late),
        "least": min(late),
        "failed": float(sum(status != 504 for status, _ in answers)),
    }
    if uploading is None:
        return figures | {"each": each}
    told, _ = uploading.communicate(timeout=120)
    return figures | {"photos": float(told.split()[0])}


def _uploads(server: Server, folder: Path, seconds: float) -> subprocess.Popen[bytes]:
    request = folder / "upload.request"
    request.write_bytes(server.upload)
    arguments = [str(server.port), str(request), str(UPLOADS), str(seconds)]
    # The requests, whose times are taken, go before the uploads on the core that they share.
    command = ["nice", "-n", "5", sys.executable, "-m", "benchmarks.sending", *arguments]
    return subprocess.Popen([*pinned(LOAD_CORE), *command], stdout=subprocess.PIPE)


async def _hold(server: Server, held: int, deadline_sec: int, arriving_sec: float) -> list[tuple[int, float]]:
    async def one(number: int) -> tuple[int, float]:
        await asyncio.sleep(arriving_sec * number / held)
        connection = Connection(server.port)
        try:
            answer = await connection.ask(server.held)
        except (OSError, EOFError):
            return 0, 0.0
        await connection.close()
        return answer.status, (answer.seconds - deadline_sec) * 1000

    return await asyncio.gather(*(one(number) for number in range(held)))


def _limit_of_files() -> tuple[int, int]:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return (hard if hard != resource.RLIM_INFINITY and hard < _FILES else _FILES), hard


def _goals(rounds: Rounds, case: Case) -> Iterator[Goal]:
    def ours(key: str) -> Spread:
        return rounds.spread(OURS, f"{case.key}_{key}")

    yield Goal(label=f"G6: {case.label}, late by, p99", reached=ours("p99"), bound=10, unit=" ms")
    yield Goal(label=f"G6: {case.label}, late by, most", reached=ours("most"), bound=50, unit=" ms")
    yield Goal(
        label=f"G6: {case.label}, least (never early)",
        reached=ours("least"),
        bound=0,
        at_most=False,
        unit=" ms",
    )
    if rounds.of(OURS, f"{case.key}_each"):
        yield Goal(label=f"G6: {case.label}, memory for each", reached=ours("each"), bound=16, unit=" KiB")
    yield Goal(label=f"{case.label}, not 504", reached=ours("failed"), bound=0)
