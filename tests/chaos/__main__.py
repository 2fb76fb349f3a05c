"""Torment PhotoChanger with everything that can go wrong, and see that nothing is lost, doubled or late.

Two servers and two workers on one PostgreSQL and one media store are sent photos by booths while guests look
at results and an administrator cancels jobs and switches a slot off and on. Meanwhile processes are killed,
halted, asked to end, and get wrong clocks; PostgreSQL is restarted; the store and the provider fail. In the
end a checker compares what every client was told with the database, the store, the provider's own count of
its calls, and the logs.

The same seed makes the same choices, though not the same moments: those belong to the machine as well. The
whole history is kept where something was violated. Exit status: 0 all invariants held, 1 one did not.
"""

import argparse
import asyncio
import json
import os
import secrets
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.chaos.driver import FAKETIME, Plan, run
from tests.chaos.report import as_markdown
from tests.chaos.schedule import KINDS

_LONG_SEC = 600.0


def main() -> int:
    """Run as the command line says."""
    options = _parser().parse_args()
    chosen = options.faults.split(",") if options.faults else []
    if unknown := set(chosen) - set(KINDS):
        _tell(f"No such faults: {', '.join(sorted(unknown))}")
        return 2
    faults, missing = available(chosen)
    if missing and os.environ.get("CI") == "true":
        _tell("In CI nothing may be missing that was chosen.")
        return 1
    plan = _plan(options, faults)
    _tell(f"seed {plan.seed}")
    folder = Path(tempfile.mkdtemp(prefix="photochanger-chaos-"))
    try:
        report = asyncio.run(run(plan, folder, tell=_tell))
    except pytest.skip.Exception as skipped:
        _tell(f"Cannot be done here: {skipped}")
        return 1
    _print(as_markdown(report))
    if options.json:
        options.json.write_text(json.dumps(report.document(), indent=2) + "\n")
    if report.violations or options.keep:
        _tell(f"History, logs, database and media are in {folder}")
    else:
        shutil.rmtree(folder)
    return 1 if report.violations else 0


def available(chosen: Sequence[str]) -> tuple[Sequence[str], Sequence[str]]:
    """Return which of the chosen faults this machine can make, and which it cannot; tell of the latter."""
    missing = ["clock"] if "clock" in chosen and not FAKETIME else []
    for fault in missing:
        _tell(f"SKIPPED: {fault}, for which libfaketime is missing (Debian: libfaketime)")
    return [fault for fault in chosen if fault not in missing], missing


def _plan(options: argparse.Namespace, faults: Sequence[str]) -> Plan:
    seconds = options.minutes * 60 if options.minutes else options.seconds
    return Plan(
        seed=options.seed,
        faults=faults,
        seconds=seconds,
        kills=options.kills,
        store=options.store,
        serves=options.serves,
        workers=options.workers,
        jobs_at_once=options.jobs_at_once,
        booths=options.booths,
        pause_sec=options.pause_ms / 1000,
        forked=options.forked,
        spared=seconds >= _LONG_SEC and not options.kills,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.chaos",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--faults", default=",".join(KINDS), help=f"which, with commas; default all: {','.join(KINDS)}")
    add("--seed", type=int, default=secrets.randbelow(10**6), help="of all choices (default any; it is told)")
    add("--seconds", type=float, default=30.0, help="how long (default 30)")
    add("--minutes", type=float, help="how long; from ten minutes on, one server and one worker are spared")
    add(
        "--kills", type=int, default=0, help="kill as often as that, as fast as can be, however long it takes"
    )
    add("--store", choices=["folder", "s3"], default="folder", help="where media are (default folder)")
    add("--serves", type=int, default=2, help="servers, which do jobs as well (default 2)")
    add("--workers", type=int, default=2, help="workers (default 2)")
    add("--jobs-at-once", type=int, default=4, help="jobs that each process does at once (default 4)")
    add("--booths", type=int, default=12, help="how many send photos at once (default 12)")
    add("--pause-ms", type=int, default=100, help="a booth's pause between photos, on average (default 100)")
    add("--forked", action="store_true", help="start processes as forks of one: in a fifth of the time")
    add("--keep", action="store_true", help="keep history, logs, database and media whatever is found")
    add("--json", type=Path, metavar="FILE", help="write the report there too")
    return parser


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)  # noqa: T201 - that is what it is for


def _print(text: str) -> None:
    print(text)  # noqa: T201 - that is what it is for


if __name__ == "__main__":
    sys.exit(main())
