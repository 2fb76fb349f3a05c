"""Bar charts as SVG: one panel for each figure, one bar for each contestant, a whisker from least to most."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

from benchmarks.harness import Spread

_WIDTH, _LEFT, _RIGHT = 720, 190, 120
_BAR, _GAP, _HEAD, _MARGIN = 18, 8, 34, 16
_OURS, _OTHERS, _INK, _PALE = "#2563eb", "#9ca3af", "#111827", "#6b7280"
_FONT: Final = "font-family='system-ui, sans-serif'"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """A contestant's figure."""

    label: str
    spread: Spread
    is_ours: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """A figure of all contestants, on a scale of its own that begins with zero."""

    title: str
    note: str
    bars: Sequence[Bar]

    @property
    def height(self) -> int:
        """How much room it takes, in pixels."""
        return _HEAD + len(self.bars) * (_BAR + _GAP) + _MARGIN


def chart(title: str, panels: Sequence[Panel]) -> str:
    """Return an SVG document; its text is text, so that it can be read aloud and searched."""
    height = 40 + sum(panel.height for panel in panels)
    lines = [
        f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {_WIDTH} {height}' width='{_WIDTH}' "
        f"height='{height}' role='img' {_FONT}>",
        f"<title>{escape(title)}</title>",
        f"<rect width='{_WIDTH}' height='{height}' fill='#ffffff'/>",
        _text(16, 26, title, size=15, weight="600"),
    ]
    top = 40
    for panel in panels:
        lines += _panel(panel, top)
        top += panel.height
    return "\n".join([*lines, "</svg>"])


def _panel(panel: Panel, top: int) -> Sequence[str]:
    lines = [
        _text(16, top + 20, panel.title, size=12, weight="600"),
        _text(_WIDTH - 16, top + 20, panel.note, size=11, colour=_PALE, anchor="end"),
    ]
    largest = max(bar.spread.most for bar in panel.bars) or 1.0
    for number, bar in enumerate(panel.bars):
        lines += _bar(bar, top + _HEAD + number * (_BAR + _GAP), (_WIDTH - _LEFT - _RIGHT) / largest)
    return lines


def _bar(bar: Bar, top: int, scale: float) -> Sequence[str]:
    middle = top + _BAR / 2
    median, least, most = (value * scale for value in (bar.spread.median, bar.spread.least, bar.spread.most))
    colour = _OURS if bar.is_ours else _OTHERS
    return [
        _text(_LEFT - 10, middle + 4, bar.label, size=12, anchor="end"),
        f"<rect x='{_LEFT}' y='{top}' width='{max(median, 1):.1f}' height='{_BAR}' rx='2' fill='{colour}'/>",
        f"<path d='M{_LEFT + least:.1f} {middle}H{_LEFT + most:.1f}' stroke='{_INK}' stroke-width='1.5'/>",
        _text(_LEFT + max(median, most) + 8, middle + 4, f"{bar.spread.median:.3g}", size=12),
    ]


def _text(
    x: float,
    y: float,
    text: str,
    *,
    size: int,
    weight: str = "400",
    colour: str = _INK,
    anchor: str = "start",
) -> str:
    return (
        f"<text x='{x:.1f}' y='{y:.1f}' font-size='{size}' font-weight='{weight}' fill='{colour}' "
        f"text-anchor='{anchor}'>{escape(text)}</text>"
    )
