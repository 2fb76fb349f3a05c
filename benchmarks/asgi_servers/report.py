"""What was measured, as Markdown tables."""

import os
import platform
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import TypeVar

from benchmarks.asgi_servers.load import Figures
from benchmarks.harness import Spread, table

F = TypeVar("F")
PACKAGES = ("uvicorn", "httptools", "h11", "uvloop", "granian", "hypercorn", "multipart")


def interleaved(names: Sequence[str], rounds: int, measure: Callable[[str], F]) -> dict[str, list[F]]:
    """Return each candidate's rounds; every candidate runs once before any runs twice, in changing order."""
    found: dict[str, list[F]] = {name: [] for name in names}
    for number in range(rounds):
        turn = number % len(names)
        for name in [*names[turn:], *names[:turn]]:
            found[name].append(measure(name))
    return found


def cell(rounds: Sequence[Figures], figure: str, digits: int = 0) -> str:
    """Return the median of a figure, and between what it lay if there were several rounds."""
    values = [each[figure] for each in rounds if figure in each]
    if not values:
        return "–"
    spread = Spread.of(values)
    if len(values) == 1:
        return f"{spread.median:.{digits}f}"
    return f"{spread.median:.{digits}f} ({spread.least:.{digits}f}–{spread.most:.{digits}f})"


def ratio(rounds: Sequence[Figures], base: Sequence[Figures], figure: str) -> str:
    """Return the median of a figure over the base's."""
    over, under = (Spread.of([each[figure] for each in side]).median for side in (rounds, base))
    return f"{over / under:.2f}"


def show(title: str, header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a table under its title."""
    print(f"\n### {title}\n\n{table(header, rows)}", flush=True)


def show_by_candidate(title: str, observed: Mapping[str, Mapping[str, str]]) -> None:
    """Print what was observed, a column for each candidate."""
    cases = dict.fromkeys(case for rows in observed.values() for case in rows)
    columns = observed.values()
    show(title, ["", *observed], [[case, *(rows.get(case, "–") for rows in columns)] for case in cases])


def machine() -> str:
    """Return what was measured on, and with which versions."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "?")
    versions = ", ".join(f"{name} {version}" for name in PACKAGES if (version := _version(name)))
    return (
        f"{model}, {os.cpu_count()} cores, Linux {platform.release().partition('-')[0]}, "
        f"Python {platform.python_version()}, load average at start {os.getloadavg()[0]:.1f}; {versions}"
    )


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
