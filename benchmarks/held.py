"""Requests held until their deadline: how late the 504 comes, and how much memory each takes (goal G6).

A thousand requests wait for a job that nobody does, while photos of 10 MB come over four connections to
another slot; and four thousand wait alone. They arrive one after the other, 50 and 80 a second, so that their
deadlines do not fall into one instant, and the photos can be taken in. Beside ours is a bare endpoint on the
same server, which takes the same form and sleeps: what it is late by is the machine's and the server's share,
in the same run. The time runs from before the first byte of a request is sent, so the way there and back is
in it.

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
UPLOADS: Final = 4
_FILES: Final = 20_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """How many requests are held at once, and whether photos come meanwhile."""

    held: int
    uploads: bool
    arriving_sec: float = 50.0
    deadline_sec: int = 60

    @property
    def key(self) -> str:
        """What its figures' keys begin with."""
        return f"{self.held}_{'busy' if self.uploads else 'alone'}"

    @property
    def label(self) -> str:
        """What it is called in tables."""
        return f"{self.held} held" + (", uploads running" if self.uploads else "")


CASES: Final = (
    Case(held=1000, uploads=True, arriving_sec=20.0, deadline_sec=25),
    Case(held=4000, uploads=False),
)
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
    if options.held:
        cases = [Case(held=held, uploads=False) for held in options.held]
    elif options.quick:
        cases = [Case(held=50, uploads=True, arriving_sec=2.0, deadline_sec=10)]
    resource.setrlimit(resource.RLIMIT_NOFILE, _limit_of_files())
    keep_to_load_core()
    rounds, others = Rounds(), Counter[str]()
    with installation() as data_dir, EmbeddedPostgres(data_dir):
        for number in range(options.rounds):
            for case in cases:
                with _servers(data_dir, case.deadline_sec) as servers:
                    for server in servers[:: 1 if number % 2 == 0 else -1]:
                        say(f"round {number + 1} of {options.rounds}: {server.name}, {case.label}")
                        figures = asyncio.run(_one(server, case, data_dir, others))
                        rounds.add(
                            server.name, **{f"{case.key}_{key}": value for key, value in figures.items()}
                        )
    return Report(
        name="held",
        title="Requests held until their deadline",
        how="; ".join(
            f"{case.label}: deadline {case.deadline_sec} s, arrivals over {case.arriving_sec:g} s"
            for case in cases
        )
        + f". Photos of 89 kB; {options.rounds} interleaved rounds. "
        "Server on core 0; requests, uploads and PostgreSQL on core 1.",
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


async def _one(server: Server, case: Case, folder: Path, others: Counter[str]) -> Mapping[str, float]:
    await load(server.port, server.upload, connections=4, requests=16)
    idle = resident_mib(server.pid)
    uploading = _uploads(server, folder, case.deadline_sec + case.arriving_sec) if case.uploads else None
    holding = asyncio.create_task(_hold(server, case))
    # All have come, and none has ended.
    await asyncio.sleep((case.arriving_sec + case.deadline_sec) / 2)
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


async def _hold(server: Server, case: Case) -> list[tuple[int, float]]:
    async def one(number: int) -> tuple[int, float]:
        await asyncio.sleep(case.arriving_sec * number / case.held)
        connection = Connection(server.port)
        try:
            answer = await connection.ask(server.held)
        except (OSError, EOFError):
            return 0, 0.0
        await connection.close()
        return answer.status, (answer.seconds - case.deadline_sec) * 1000

    return await asyncio.gather(*(one(number) for number in range(case.held)))


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
