"""What a comparison reports: figures of every round, goals, and the files that hold them."""

import datetime
import json
import os
import platform
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from benchmarks.chart import Bar, Panel, chart
from benchmarks.harness import Spread, table

OURS: Final = "PhotoChanger"
RESULTS: Final = Path(__file__).parent / "results"


def say(text: str) -> None:
    """Tell on standard error how far the measurement is."""
    print(f"  … {text}", file=sys.stderr, flush=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Contestant:
    """One of those that are compared: what exactly it is, and how it was run."""

    name: str
    what: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """Something that was measured, with its unit."""

    key: str
    label: str
    less_is_better: bool = True


class Rounds:
    """The values of every figure that every contestant reached, round by round."""

    def __init__(self) -> None:
        self._values: dict[tuple[str, str], list[float]] = {}

    def add(self, name: str, **values: float) -> None:
        """Take figures of a contestant in a round, by their keys."""
        for key, value in values.items():
            self._values.setdefault((name, key), []).append(value)

    def of(self, name: str, key: str) -> Sequence[float]:
        """Return the values of one figure; none where it was not measured."""
        return self._values.get((name, key), ())

    def spread(self, name: str, key: str) -> Spread:
        """Return the median of a figure, and between what it lay."""
        return Spread.of(self.of(name, key))

    def ratio(self, name: str, other: str, key: str, *, of_other: str | None = None) -> Spread:
        """Return the ratios of two contestants' figures, each of one round."""
        pairs = zip(self.of(name, key), self.of(other, of_other or key), strict=True)
        return Spread.of([mine / theirs for mine, theirs in pairs])

    def best(self, names: Sequence[str], figure: Figure) -> str:
        """Return whose median is the best."""
        known = [name for name in names if self.of(name, figure.key)]
        choose = min if figure.less_is_better else max
        return choose(known, key=lambda name: self.spread(name, figure.key).median)


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """A bound that was set before, and what was reached of it, by the median."""

    label: str
    reached: Spread
    bound: float
    at_most: bool = True
    unit: str = ""

    @property
    def is_reached(self) -> bool:
        """Whether the median keeps the bound."""
        median = self.reached.median
        return median <= self.bound if self.at_most else median >= self.bound

    def row(self) -> Sequence[object]:
        """Return the goal as a row of a table."""
        sign = "≤" if self.at_most else "≥"
        verdict = "reached" if self.is_reached else "**not reached**"
        return [self.label, f"{sign} {self.bound:g}{self.unit}", f"{self.reached}{self.unit}", verdict]


@dataclass(kw_only=True)
class Report:
    """A whole comparison: Markdown for people, JSON for programs, SVG for a glance."""

    name: str
    title: str
    how: str
    """How it was measured, and what is unfair to whom: one paragraph."""
    contestants: Sequence[Contestant]
    figures: Sequence[Figure]
    rounds: Rounds
    goals: Sequence[Goal] = ()
    notes: Sequence[str] = ()
    plotted: Sequence[str] = ()
    """The keys of the figures that are drawn; empty: all."""
    load_average: Sequence[float] = field(default_factory=os.getloadavg)
    """The machine's, of the last one, five and fifteen minutes."""

    def markdown(self) -> str:
        """Return everything as Markdown."""
        names = [each.name for each in self.contestants]
        rows = [[figure.label, *(self._cell(name, figure) for name in names)] for figure in self.figures]
        parts = [
            f"### {self.title}",
            self.how,
            table(["", *names], rows),
            "\n".join(f"- {each.name}: {each.what}" for each in self.contestants),
        ]
        if self.goals:
            parts.append(table(["goal", "bound", "here", ""], [goal.row() for goal in self.goals]))
        if self.notes:
            parts.append("\n".join(f"- {note}" for note in self.notes))
        parts.append(self._circumstances())
        return "\n\n".join(parts)

    def _cell(self, name: str, figure: Figure) -> str:
        values = self.rounds.of(name, figure.key)
        return str(Spread.of(values)) if values else "–"

    def _circumstances(self) -> str:
        load = ", ".join(f"{value:.1f}" for value in self.load_average)
        return (
            f"{_today()}; Python {platform.python_version()}, {platform.system()}, {os.cpu_count()} cores; "
            f"load average at the end {load}."
        )

    def document(self) -> Mapping[str, object]:
        """Return everything, every round's value too, for JSON."""
        return {
            "name": self.name,
            "title": self.title,
            "how": self.how,
            "measured": _today(),
            "python": platform.python_version(),
            "system": platform.system(),
            "cores": os.cpu_count(),
            "load_average": [round(value, 2) for value in self.load_average],
            "contestants": [{"name": each.name, "what": each.what} for each in self.contestants],
            "figures": [
                {
                    "key": figure.key,
                    "label": figure.label,
                    "less_is_better": figure.less_is_better,
                    "rounds": {
                        each.name: list(values)
                        for each in self.contestants
                        if (values := self.rounds.of(each.name, figure.key))
                    },
                }
                for figure in self.figures
            ],
            "goals": [
                {
                    "label": goal.label,
                    "bound": goal.bound,
                    "at_most": goal.at_most,
                    "unit": goal.unit.strip(),
                    "median": goal.reached.median,
                    "least": goal.reached.least,
                    "most": goal.reached.most,
                    "reached": goal.is_reached,
                }
                for goal in self.goals
            ],
            "notes": list(self.notes),
        }

    def plot(self) -> str:
        """Return the figures as bars, an SVG document."""
        drawn = [figure for figure in self.figures if not self.plotted or figure.key in self.plotted]
        return chart(self.title, [panel for figure in drawn if (panel := self._panel(figure)).bars])

    def _panel(self, figure: Figure) -> Panel:
        bars = [
            Bar(label=each.name, spread=Spread.of(values), is_ours=each.name.startswith(OURS))
            for each in self.contestants
            if (values := self.rounds.of(each.name, figure.key))
        ]
        better = "less is better" if figure.less_is_better else "more is better"
        return Panel(title=figure.label, note=better, bars=bars)

    def write(self, folder: Path) -> None:
        """Write the three files into `folder`."""
        folder.mkdir(parents=True, exist_ok=True)
        document = json.dumps(self.document(), indent=1, ensure_ascii=False)
        for suffix, text in (("md", self.markdown()), ("json", document), ("svg", self.plot())):
            (folder / f"{self.name}.{suffix}").write_text(text.rstrip() + "\n", encoding="utf-8")


def _today() -> str:
    return datetime.datetime.now(datetime.UTC).date().isoformat()
