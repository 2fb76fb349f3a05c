"""Measure the sections that are asked for, or all of them: five minutes, with --quick one."""

import argparse
import os
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks.asgi_servers.apps import FILE_VARIABLE
from benchmarks.asgi_servers.hold import CASES, QUICK_CASES, measure_hold
from benchmarks.asgi_servers.hostile import measure_hostile
from benchmarks.asgi_servers.lifecycle import measure_process
from benchmarks.asgi_servers.load import FILE_BYTES, Figures, measure_download, measure_memory, measure_upload
from benchmarks.asgi_servers.processes import NEEDS, installed
from benchmarks.asgi_servers.report import cell, interleaved, machine, ratio, show, show_by_candidate
from benchmarks.asgi_servers.serve import GRANIAN, HYPERCORN, UVICORN, UVICORN_H11
from benchmarks.harness import keep_to_load_core


@dataclass(frozen=True, slots=True)
class Plan:
    """What to measure, and at what length."""

    names: list[str]
    rounds: int
    quick: bool

    @property
    def seconds(self) -> float:
        """How long each load lasts."""
        return 0.6 if self.quick else 1.5

    @property
    def mallocs(self) -> dict[str, bool]:
        """The ways in which glibc's allocator is set."""
        return {"tuned": True} if self.quick else {"as shipped": False, "tuned": True}


def _upload(plan: Plan) -> None:
    rows = []
    for label, malloc in plan.mallocs.items():
        measure = partial(measure_upload, seconds=plan.seconds, malloc=malloc)
        found = interleaved(plan.names, plan.rounds, measure)
        rows += [
            [name, label, *_speed(runs, found[UVICORN]), cell(runs, "failed")] for name, runs in found.items()
        ]
    header = ["server", "malloc", "MB/s", "× first row", "CPU ms per upload", "failed"]
    show("Upload, 10 MB, 16 connections, multipart to an unlinked file", header, rows)


def _memory(plan: Plan) -> None:
    rows = []
    for label, malloc in plan.mallocs.items():
        found = interleaved(plan.names, plan.rounds, partial(measure_memory, malloc=malloc))
        rows += [
            [name, label, cell(runs, "idle"), cell(runs, "peak"), cell(runs, "each", 2), cell(runs, "failed")]
            for name, runs in found.items()
        ]
    header = ["server", "malloc", "idle", "peak", "per upload", "failed"]
    show("16 uploads of 50 MB at once (memory of all processes, MiB)", header, rows)


def _hold(plan: Plan) -> None:
    cases = QUICK_CASES if plan.quick else CASES
    found = interleaved(plan.names, plan.rounds, partial(measure_hold, cases=cases))
    rows = []
    for case in cases:
        for name, rounds in found.items():
            runs = [each[case.label] for each in rounds]
            figures = [cell(runs, figure, 2) for figure in ("p50", "p99", "max", "min", "wake_min")]
            rows.append([case.label, name, *figures, cell(runs, "wrong"), cell(runs, "kib", 1)])
    header = ["case", "server", "p50", "p99", "max", "earliest at client", "earliest wake in the app"]
    show("504 at T: lateness in ms", [*header, "not 504", "KiB per held"], rows)


def _download(plan: Plan) -> None:
    found = interleaved(plan.names, plan.rounds, partial(measure_download, seconds=plan.seconds))
    rows = [
        [name, *_speed(runs, found[UVICORN]), cell(runs, "grew", 1), cell(runs, "failed")]
        for name, runs in found.items()
    ]
    header = ["server", "MB/s", "× first row", "CPU ms per file", "memory + MiB", "failed"]
    show("Download, 3 MB in 256 KB reads, 16 connections", header, rows)


def _hostile(plan: Plan) -> None:
    patience, tries = (4, 2) if plan.quick else (40, 5)
    show_by_candidate("Hostile HTTP", measure_hostile(plan.names, patience=patience, tries=tries))


def _process(plan: Plan) -> None:
    show_by_candidate("Process model", measure_process(plan.names))


def _speed(runs: list[Figures], base: list[Figures]) -> list[str]:
    return [cell(runs, "mb_s"), ratio(runs, base, "mb_s"), cell(runs, "cpu_ms", 1)]


SECTIONS = {
    "upload": _upload,
    "memory": _memory,
    "hold": _hold,
    "download": _download,
    "hostile": _hostile,
    "process": _process,
}


def main() -> None:
    """Print the tables as Markdown."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.asgi_servers", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one short round of everything")
    parser.add_argument("--rounds", type=int, help="interleaved rounds (default 3, with --quick 1)")
    parser.add_argument("--hypercorn", action="store_true", help="measure hypercorn as well")
    parser.add_argument("--only", help=f"comma-separated: {', '.join(SECTIONS)}")
    arguments = parser.parse_args()
    wanted = arguments.only.split(",") if arguments.only else list(SECTIONS)
    if unknown := set(wanted) - set(SECTIONS):
        parser.error(f"there is no {', '.join(sorted(unknown))}; there are {', '.join(SECTIONS)}")
    if not sys.platform.startswith("linux"):
        parser.error("needs Linux: it reads /proc")
    plan = Plan(
        _installed(arguments.hypercorn), arguments.rounds or (1 if arguments.quick else 3), arguments.quick
    )
    print(f"{machine()}\n\n{plan.rounds} interleaved round(s); cells: median (lowest–highest).", flush=True)
    began = time.monotonic()
    keep_to_load_core()
    _allow_many_connections()
    with _picture():
        for section in wanted:
            SECTIONS[section](plan)
    print(f"\nTook {time.monotonic() - began:.0f} s.")


def _installed(hypercorn: bool) -> list[str]:
    names = [UVICORN, UVICORN_H11, GRANIAN, *([HYPERCORN] if hypercorn else [])]
    for name in names:
        if not installed(name):
            print(f"Without {name}; to measure it: pip install {NEEDS[name]}", file=sys.stderr)
    return [name for name in names if installed(name)]


def _allow_many_connections() -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    wanted = 16384 if hard == resource.RLIM_INFINITY else min(16384, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


@contextmanager
def _picture() -> Iterator[None]:
    with tempfile.TemporaryDirectory(prefix="asgi-servers-") as folder:
        picture = Path(folder, "result.jpg")
        picture.write_bytes(os.urandom(FILE_BYTES))
        os.environ[FILE_VARIABLE] = str(picture)
        yield


if __name__ == "__main__":
    main()
