"""The job queue against procrastinate, PgQueuer and graphile-worker (goal G5).

Eight producers at once, each adding a job when the one before is over, for all on the same PostgreSQL with
`fsync` on, each in a database of its own that is new in every round. For the peers a job is over when a
worker begins it: insert, then pick-up. For us it is over when the waiter has been woken: insert, claim,
completion with a picture and a preview, wake-up. That is two transactions more, so the comparison is harder
for us. Each queue has one process with producers and worker, on core 0; PostgreSQL is on core 1.

Needs `python -m benchmarks install-peers`. `--stranded 100000` counts, besides, jobs that nobody was woken
for.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from benchmarks import peers
from benchmarks.harness import (
    SERVER_CORE,
    Spread,
    cpu_seconds,
    installation,
    keep_to_load_core,
    percentile,
    pinned,
    postgres_pid,
    url_of,
)
from benchmarks.report import OURS, Contestant, Figure, Goal, Report, Rounds, say
from photochanger.adapters.embedded_postgres import EmbeddedPostgres
from photochanger.adapters.postgres import migrate

PRODUCERS: Final = 8
WARM_UP_SEC: Final = 1.0
_DATABASE: Final = "one_round"

RATE = Figure(key="rate", label="jobs a second", less_is_better=False)
P50 = Figure(key="p50", label="latency, p50 ms")
P99 = Figure(key="p99", label="latency, p99 ms")
WORST = Figure(key="worst", label="latency, most ms")
CPU = Figure(key="cpu", label="CPU ms a job, of producers and worker")
DATABASE_CPU = Figure(key="database_cpu", label="CPU ms a job, of PostgreSQL")
FAILED = Figure(key="failed", label="failed")


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add what can be chosen of this comparison."""
    parser.add_argument("--seconds", type=float, default=8.0, help="of each queue in each round; default 8")
    parser.add_argument("--stranded", type=int, metavar="JOBS", help="count stranded ones of so many jobs")
    parser.add_argument("--without-peers", action="store_true", help="measure ours only")


def run(options: argparse.Namespace) -> Report:
    """Measure, and return the report."""
    seconds = min(options.seconds, 2.0) if options.quick else options.seconds
    contestants = _contestants(options.peers, with_peers=not options.without_peers)
    rounds = Rounds()
    notes: list[str] = []
    with installation() as data_dir:
        keep_to_load_core()  # and PostgreSQL with us, which we start
        with EmbeddedPostgres(data_dir) as dsn:
            for number in range(options.rounds):
                for contestant in contestants[:: 1 if number % 2 == 0 else -1]:
                    say(f"round {number + 1} of {options.rounds}: {contestant.name}")
                    period = [str(PRODUCERS), str(WARM_UP_SEC), str(seconds)]
                    rounds.add(contestant.name, **_figures(_one(dsn, contestant.name, options.peers, period)))
            if options.stranded:
                notes.append(_stranded(dsn, options))
    return Report(
        name="queue",
        title=f"Job queues, {PRODUCERS} producers at once",
        how=f"Insert to pick-up for the peers, insert to waiter woken for us; {options.rounds} interleaved "
        f"rounds of {seconds:g} s each after {WARM_UP_SEC:g} s, PostgreSQL 18 with fsync; queue on core 0, "
        "PostgreSQL on core 1.",
        contestants=contestants,
        figures=[RATE, P50, P99, WORST, CPU, DATABASE_CPU, FAILED],
        plotted=["rate", "p50", "p99", "cpu", "database_cpu"],
        rounds=rounds,
        goals=_goals(rounds, [each.name for each in contestants[:-1]]),
        notes=notes,
    )


def _contestants(folder: Path, *, with_peers: bool) -> Sequence[Contestant]:
    ours = Contestant(name=OURS, what="insert, claim, completion, waiter woken; worker of eight jobs at once")
    if not with_peers:
        return [ours]
    peers.python_of(folder, "queues")  # or there is no comparison
    known = [
        Contestant(
            name="procrastinate",
            what=f"{peers.pinned_version('queues', 'procrastinate')}, psycopg, worker of eight jobs at once",
        ),
        Contestant(
            name="PgQueuer",
            what=f"{peers.pinned_version('queues', 'pgqueuer')}, asyncpg, batches of ten (its default)",
        ),
    ]
    if peers.has_node_peer(folder, "graphile"):
        what = "0.17.3 on Node, eight jobs at once, no local queue (its default)"
        known.append(Contestant(name="graphile-worker", what=what))
    return [*known, ours]


def _one(dsn: str, name: str, folder: Path, period: Sequence[str]) -> dict[str, Any]:
    with _new_database(dsn) as database:
        where = conninfo_to_dict(database)
        if name == OURS:
            migrate(database)
            command = [sys.executable, "-m", "benchmarks.chain", database, *period]
        elif name == "graphile-worker":
            program = peers.node_program(folder, "graphile")
            command = ["node", str(program), str(where["host"]), _DATABASE, *period]
        else:
            python = str(peers.python_of(folder, "queues"))
            program = peers.HERE / "closed_loop.py"
            command = [python, str(program), name.lower(), url_of(database), *period]
        server = postgres_pid(Path(str(where["host"])).parent)
        before = cpu_seconds(server)
        seen = _output(command)
        # Ours says so itself: what it does ahead is not to be counted.
        return {"database_seconds": cpu_seconds(server) - before} | seen


def _output(command: Sequence[str]) -> dict[str, Any]:
    done = subprocess.run(
        [*pinned(SERVER_CORE), *command], check=False, timeout=900, capture_output=True, text=True
    )
    if done.returncode:
        raise RuntimeError(f"{command[1:3]} ended with status {done.returncode}: {done.stderr[-2000:]}")
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


@contextmanager
def _new_database(dsn: str) -> Iterator[str]:
    """Make an empty database during the context, and give its DSN."""

    def execute(statement: str) -> None:
        with psycopg.connect(dsn, autocommit=True) as connection:
            connection.execute(statement.encode())

    execute(f"CREATE DATABASE {_DATABASE}")
    try:
        yield make_conninfo(dsn, dbname=_DATABASE)
    finally:
        execute(f"DROP DATABASE {_DATABASE} WITH (FORCE)")
        execute("CHECKPOINT")


def _figures(seen: dict[str, Any]) -> dict[str, float]:
    latencies = seen["latencies_ms"]
    return {
        "rate": len(latencies) / seen["seconds"],
        "p50": percentile(latencies, 0.5),
        "p99": percentile(latencies, 0.99),
        "worst": max(latencies),
        "cpu": seen["cpu_seconds"] * 1000 / seen["jobs"],
        "database_cpu": seen["database_seconds"] * 1000 / seen["jobs"],
        "failed": seen.get("failed", 0),
    }


def _stranded(dsn: str, options: argparse.Namespace) -> str:
    say(f"{options.stranded} jobs, four workers that race for them")
    seen = _one(dsn, OURS, options.peers, [str(PRODUCERS), "--jobs", str(options.stranded)])
    return (
        f"Stranded, of {options.stranded:,} jobs that four racing workers did in {seen['seconds']:.0f} s: "
        f"{seen['stranded']}; the longest took {max(seen['latencies_ms']):.0f} ms, failed: {seen['failed']}."
    )


def _goals(rounds: Rounds, names: Sequence[str]) -> Sequence[Goal]:
    if not names:
        return []
    quick, busy = rounds.best(names, P99), rounds.best(names, RATE)
    failed = sum(sum(rounds.of(name, "failed")) for name in (*names, OURS))
    return [
        Goal(
            label=f"G5: our p99 ÷ the p99 of {quick}, the best",
            reached=rounds.ratio(OURS, quick, "p99"),
            bound=0.5,
        ),
        Goal(
            label=f"G5: our jobs a second ÷ those of {busy}, the best",
            reached=rounds.ratio(OURS, busy, "rate"),
            bound=1.3,
            at_most=False,
        ),
        Goal(label="failed", reached=Spread.of([failed]), bound=0),
    ]
