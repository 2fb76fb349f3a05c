"""Measure what the tests of this folder only see to: how often, how long, how late; in large numbers.

Each measurement makes its processes and its PostgreSQL, ill-treats them, and prints its figures as Markdown.
Exit status: 0 every promise was kept, 1 one was broken, and is named.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeAlias

from benchmarks.harness import percentile, table
from photochanger.testing.photos import plain_jpeg
from tests.resilience.leases import Leases, Stopped, figures
from tests.resilience.outages import Outage, failed_over, restarted
from tests.resilience.postgres import HOST, OWNER, TROUBLES, Mode, servers
from tests.resilience.rolling import RollingRestart
from tests.resilience.signals import hand_over
from tests.resilience.slow_proxy import LATENESSES, SlowProxy
from tests.resilience.trouble import Endurance, Endured, Seen
from tests.system.installation import Installation


@dataclass(kw_only=True)
class Report:
    """Figures by their names, and the promises that were broken."""

    figures: dict[str, object] = field(default_factory=dict)
    broken: list[str] = field(default_factory=list)

    def see(self, promise: str, *, kept: bool) -> None:
        """Note whether a promise was kept."""
        if not kept:
            self.broken.append(promise)


Measurement: TypeAlias = Callable[[int, Path], Coroutine[Any, Any, Report]]


@contextmanager
def an_installation(folder: Path, name: str) -> Iterator[Installation]:
    """An installation on a PostgreSQL server of its own."""
    with servers() as [server]:
        server.create()
        installation = Installation(folder / name, server.create_database(name))
        try:
            yield installation
        finally:
            installation.kill_all()


async def rolling(photos: int, folder: Path) -> Report:
    """Photos through nginx while two servers are restarted in turn."""
    photo = folder / "photo.jpg"
    photo.write_bytes(plain_jpeg())
    with an_installation(folder, "rolling") as installation:
        await installation.set_up({"effect": "none", "delay_ms": 50})
        rolled = await RollingRestart(installation, photo, folder).run(photos=photos, restarts=4)
        jobs = await installation.jobs()
    report = Report()
    report.figures |= {
        "photos, by outcome": _counted(rolled.outcomes),
        "restarts, exit statuses": f"{rolled.restarts}, {sorted(set(rolled.exit_statuses))}",
        "end of a process, s": _spread(rolled.exit_sec),
        "answer, s": _spread(rolled.seconds),
        "jobs; begun once more": f"{len(jobs)}; {sum(job.fence - 1 for job in jobs)}",
    }
    report.see("no photo fails", kept=set(rolled.outcomes) == {"delivered"})
    report.see("no job without its photo", kept=len(jobs) == rolled.outcomes.total())
    return report


async def takeover(kills: int, folder: Path) -> Report:
    """Workers that are killed while they have a job, and how long it takes until another has it."""
    with an_installation(folder, "takeover") as installation:
        leases = Leases(installation)
        await leases.set_up(delay_ms=3000)
        took = await leases.takeovers(kills)
    report = Report(figures={"kills": kills, "until another worker has the job, s": _spread(took)})
    report.see("within 5 s", kept=max(took) <= 5)
    return report


_JOBS_PER_STOP: Final = 90
"""After each stop it takes a minute until the files of its jobs are nobody's any more, and swept."""


async def stopped(jobs: int, folder: Path) -> Report:
    """Workers that are stopped beyond their leases and go on: what they write then."""
    parts: list[Stopped] = []
    with an_installation(folder, "stopped") as installation:
        leases = Leases(installation)
        await leases.set_up(delay_ms=700)
        while sum(part.jobs for part in parts) < jobs:
            parts.append(await leases.stop_and_go_on(_JOBS_PER_STOP, another=len(parts) % 2 == 0))
    total = figures(parts)
    report = Report()
    report.figures |= {
        "stops": len(parts),
        "jobs whose lease lapsed": total.jobs,
        "writes tried after that": total.writes_tried,
        "writes accepted": total.writes_accepted,
        "files and rows that differ at the end": len(total.discrepancies),
    }
    report.see("no write is accepted", kept=total.writes_accepted == 0)
    report.see("nothing is left", kept=not total.discrepancies)
    return report


async def pickup(photos: int, folder: Path) -> Report:
    """How long a job waits for a worker: in the same process, and in another."""
    return await _handed(photos, folder, {"same process": False, "other processes": True}, None)


async def wakeups(photos: int, folder: Path) -> Report:
    """The same across processes, while the connections for signals are ended five times a second."""
    return await _handed(photos, folder, {"other processes": True}, 0.2)


async def _handed(photos: int, folder: Path, ways: Mapping[str, bool], every_sec: float | None) -> Report:
    report = Report()
    for name, across in ways.items():
        with an_installation(folder, f"handed_{int(across)}") as installation:
            handed = await hand_over(installation, photos, across=across, cut_every_sec=every_sec)
        report.figures |= {
            f"{name}: photos, by outcome": _counted(handed.load.outcomes()),
            f"{name}: wait for a worker, ms": _spread([1000 * each for each in handed.waits_sec]),
            f"{name}: answer, s": _spread([each.seconds for each in handed.load.seen]),
            f"{name}: connections for signals ended": handed.ended,
            f"{name}: jobs not final": handed.unfinished,
        }
        report.see("every photo is answered", kept=set(handed.load.outcomes()) == {"200"})
        report.see("no job is stranded", kept=handed.unfinished == 0)
    return report


async def database(held: int, folder: Path) -> Report:
    """Held requests while PostgreSQL is stopped, frozen, locked … for longer than their deadline."""
    report = Report()
    with servers() as [server]:
        server.create()
        for name, trouble in TROUBLES.items():
            url = server.create_database(f"is_{name}")
            seen = await _endured(folder / name, url, trouble(server, f"is_{name}"), held)
            _add_endured(report, name, seen)
            refused = [each.seconds for each in seen.during if each.status == 503]
            report.see(f"{name}: 503 within 3 s", kept=max(refused, default=9) <= 3)
    return report


async def slow(held: int, folder: Path) -> Report:
    """The same while its answers come late: by 0.3 s, and later than anybody waits."""
    report = Report()
    with servers() as [server]:
        server.create()
        async with SlowProxy(server.port).running() as proxy:
            for name, answers_after_sec in LATENESSES.items():
                server.create_database(name)
                url = f"postgresql://{OWNER}@{HOST}:{proxy.port}/{name}"
                seen = await _endured(folder / name, url, proxy.slow(answers_after_sec), held)
                _add_endured(report, f"{name} ({answers_after_sec:g} s)", seen)
    return report


async def _endured(
    folder: Path, database_url: str, trouble: AbstractAsyncContextManager[None], held: int
) -> Endured:
    installation = Installation(folder, database_url)
    try:
        endurance = Endurance(installation, time_out_sec=8)
        await endurance.set_up()
        return await endurance.go_through(trouble, held=held)
    finally:
        installation.kill_all()


def _add_endured(report: Report, name: str, seen: Endured) -> None:
    late, refused = seen.late_sec(), [each.seconds for each in seen.during if each.status == 503]
    report.figures |= {
        f"{name}: held; late, ms": f"{len(late)}; {_spread([1000 * each for each in late])}",
        f"{name}: photos meanwhile, by status": _counted(_statuses(seen.during)),
        f"{name}: 503 after, s": _spread(refused),
        f"{name}: live, by status": _counted(_statuses(seen.live)),
        f"{name}: ready, by status": _counted(_statuses(seen.ready)),
        f"{name}: first picture after it, s": f"{seen.back_sec:.2f}",
        f"{name}: pictures without a job; jobs without a photo": f"{seen.lost()}; {seen.doubled()}",
    }
    report.see(f"{name}: 504s", kept={each.status for each in seen.held} == {504})
    report.see(f"{name}: none early", kept=min(late) >= 0)
    report.see(f"{name}: p99 late by 250 ms at most", kept=percentile(late, 0.99) <= 0.25)
    report.see(f"{name}: back within 1 s", kept=seen.back_sec <= 1)
    report.see(f"{name}: nothing is lost or doubled", kept=seen.lost() == seen.doubled() == 0)


_RESTARTS: Final[Sequence[tuple[Mode, float]]] = (("fast", 0.0), ("immediate", 0.0), ("fast", 6.0))


async def restarts(rounds: int, folder: Path) -> Report:
    """PostgreSQL is restarted under load: fast, immediately, and after 6 s; and a standby takes over."""
    report = Report()
    with servers() as [server]:
        server.create()
        for number in range(rounds):
            for mode, down_sec in _RESTARTS:
                name = f"{mode}_{down_sec:.0f}_{number}"
                outage = await restarted(server, folder / name, name, mode=mode, down_sec=down_sec)
                _add(report, f"{mode}, down {down_sec:g} s, round {number + 1}", outage)
    for number in range(rounds):
        with servers(2) as [primary, standby]:
            primary.create()
            outage = await failed_over(primary, standby, folder / f"failover_{number}")
            _add(report, f"failover, round {number + 1}", outage)
    return report


def _add(report: Report, name: str, outage: Outage) -> None:
    report.figures[name] = (
        f"{_counted(outage.load.outcomes())}; jobs: {_counted(outage.states())}; begun again:"
        f" {outage.done_again()}; first picture after {outage.back_sec:.2f} s; lost: {outage.lost()}"
    )
    report.see(f"{name}: every job is done", kept=set(outage.states()) == {"completed"})
    report.see(f"{name}: nothing is lost", kept=outage.lost() == 0)
    report.see(f"{name}: back within 1 s", kept=outage.back_sec <= 1)


def _statuses(seen: Sequence[Seen]) -> Mapping[str, int]:
    statuses = [str(each.status) for each in seen]
    return {status: statuses.count(status) for status in sorted(set(statuses))}


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} × {name}" for name, count in sorted(counts.items()))


def _spread(values: Sequence[float]) -> str:
    if not values:
        return "none"
    figures = [min(values), percentile(values, 0.5), percentile(values, 0.99), max(values)]
    return "min {:.3g}, p50 {:.3g}, p99 {:.3g}, max {:.3g}".format(*figures)


MEASUREMENTS: Final[Mapping[str, tuple[Measurement, int]]] = {
    "rolling": (rolling, 10_000),
    "takeover": (takeover, 20),
    "stopped": (stopped, 500),
    "pickup": (pickup, 1_000),
    "wakeups": (wakeups, 3_000),
    "database": (database, 100),
    "slow": (slow, 100),
    "restarts": (restarts, 1),
}
"""What can be measured, and how often by default."""


def main() -> int:
    """Run as the command line says."""
    options = _parser().parse_args()
    measure, by_default = MEASUREMENTS[options.name]
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="pc-resilience-", ignore_cleanup_errors=True) as folder:
        report = asyncio.run(measure(options.number or by_default, Path(folder)))
    print(table(["what", "figure"], list(report.figures.items())))
    print(f"\n({options.name}: {time.monotonic() - began:.0f} s)")
    for promise in report.broken:
        print(f"broken: {promise}", file=sys.stderr)
    return 1 if report.broken else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.resilience",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("name", choices=MEASUREMENTS)
    defaults = ", ".join(f"{name} {number}" for name, (_, number) in MEASUREMENTS.items())
    parser.add_argument("--number", type=int, help=f"photos, kills, jobs, held requests, rounds: {defaults}")
    return parser


if __name__ == "__main__":
    sys.exit(main())
