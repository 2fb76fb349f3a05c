"""Run the measurements that are named, or all of them.

`python -m benchmarks NAME --help` tells more of those that compare us with others.
"""

import argparse
import importlib
import platform
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from benchmarks import peers
from benchmarks.report import RESULTS, Report

NAMES = ("overhead", "lateness", "memory")
LONG_NAMES = ("outage", "statistics", "logins", "downloads", "sweeping", "claims", "overload")
"""Only measured when they are named."""
COMPARISONS = ("queue", "gateway", "upload", "held", "growth", "preview", "large", "capacity")
"""Each is a command of its own, with options; it writes its figures into files."""
INSTALL = "install-peers"
ROUNDS = 5
LIMIT_MIN = 30


def main() -> None:
    """Print each measurement's figures as Markdown."""
    given = sys.argv[1:]
    try:
        if given[:1] == [INSTALL]:
            _install(given[1:])
        elif given and given[0] in COMPARISONS:
            _compare(given[0], given[1:])
        else:
            _measure(given)
    except peers.MissingPeerError as error:
        sys.exit(str(error))


def _measure(given: Sequence[str]) -> None:
    names = ", ".join(NAMES)
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=__doc__,
        epilog=f"Comparisons, one at a time and with options of their own: {', '.join(COMPARISONS)}. "
        f"What they compare us with is installed by: {INSTALL}.",
    )
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"of {names} (these by default), {', '.join(LONG_NAMES)}"
    )
    chosen = parser.parse_args(given).names or NAMES
    if unknown := set(chosen) - {*NAMES, *LONG_NAMES}:
        known = ", ".join((*NAMES, *LONG_NAMES))
        parser.error(
            f"there is no {', '.join(sorted(unknown))}; there are {known}, "
            f"and one at a time {', '.join((*COMPARISONS, INSTALL))}"
        )
    print(f"Python {platform.python_version()}, {platform.system()} {platform.machine()}\n")
    for name in chosen:
        began = time.monotonic()
        print(importlib.import_module(f"benchmarks.{name}").run())
        print(f"\n({name}: {time.monotonic() - began:.0f} s)\n")
        sys.stdout.flush()


def _compare(name: str, given: Sequence[str]) -> None:
    module = importlib.import_module(f"benchmarks.{name}")
    parser = argparse.ArgumentParser(
        prog=f"python -m benchmarks {name}",
        description=module.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--quick", action="store_true", help="one short round, to see that it works; writes no files"
    )
    rounds = getattr(module, "ROUNDS", ROUNDS)
    parser.add_argument("--rounds", type=int, help=f"interleaved rounds; default {rounds}")
    parser.add_argument(
        "--to", type=Path, help="folder for the .md, .json and .svg; default benchmarks/results"
    )
    _peers_option(parser)
    module.arguments(parser)
    options = parser.parse_args(given)
    options.rounds = options.rounds or (1 if options.quick else rounds)
    _end_after(LIMIT_MIN)
    began = time.monotonic()
    report: Report = module.run(options)
    print(report.markdown())
    print(f"\n({name}: {time.monotonic() - began:.0f} s)")
    if options.to or not options.quick:
        report.write(options.to or RESULTS)


def _install(given: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(
        prog=f"python -m benchmarks {INSTALL}",
        description="Install the peers, pinned with hashes, each into an environment of its own. "
        "About 600 MB; graphile-worker needs npm and Node 20. nginx and djpeg come from the system "
        "(Debian: nginx, libjpeg-turbo-progs).",
    )
    _peers_option(parser)
    peers.install(parser.parse_args(given).peers)


def _peers_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--peers",
        "--folder",
        type=Path,
        default=peers.default_folder(),
        help="where the peers are installed; default ~/.cache/photochanger-benchmarks",
    )


def _end_after(minutes: int) -> None:
    """End the process, and in order what it has started, when something hangs."""

    def give_up(_number: int, _frame: FrameType | None) -> None:
        raise TimeoutError(f"it has not ended within {minutes} minutes")

    def end(_number: int, _frame: FrameType | None) -> None:
        sys.exit(128 + signal.SIGTERM)

    signal.signal(signal.SIGTERM, end)  # by default nothing that was started would be ended
    signal.signal(signal.SIGALRM, give_up)
    signal.alarm(minutes * 60)


if __name__ == "__main__":
    main()
