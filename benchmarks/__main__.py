"""Run the measurements that are named, or all of them."""

import argparse
import importlib
import platform
import sys
import time

NAMES = ("overhead", "lateness", "memory")
LONG_NAMES = ("outage", "statistics", "logins", "downloads", "sweeping", "claims", "overload")
"""Only measured when they are named."""


def main() -> None:
    """Print each measurement's figures as Markdown."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        help=f"of {', '.join(NAMES)} (these by default), {', '.join(LONG_NAMES)}",
    )
    names = parser.parse_args().names or NAMES
    if unknown := set(names) - {*NAMES, *LONG_NAMES}:
        parser.error(
            f"there is no {', '.join(sorted(unknown))}; there are {', '.join((*NAMES, *LONG_NAMES))}"
        )
    print(f"Python {platform.python_version()}, {platform.system()} {platform.machine()}\n")
    for name in names:
        began = time.monotonic()
        print(importlib.import_module(f"benchmarks.{name}").run())
        print(f"\n({name}: {time.monotonic() - began:.0f} s)\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
