"""Gemini's image models: which there are, and what each of them takes.

As of November 2026, from ai.google.dev/gemini-api/docs/models, …/image-generation and …/deprecations. Models
change faster than releases: an id that is not known here is sent as it is, with everything that was asked.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

AUTO: Final = "auto"
"""Leave it to the model."""

SIZES: Final = ("512", "1K", "2K", "4K")
_USUAL_SIZES: Final = ("1K", "2K", "4K")

_USUAL_RATIOS: Final = ("1:1", "2:3", "3:2", "3:4", "4:3", "4:5", "5:4", "9:16", "16:9", "21:9")
RATIOS: Final = (*_USUAL_RATIOS, "1:4", "4:1", "1:8", "8:1")

THINKING_LEVELS: Final = ("minimal", "medium", "high")


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """What a model takes; no `thinking_levels` means that it must not be told how long to think."""

    sizes: tuple[str, ...] = SIZES
    ratios: tuple[str, ...] = RATIOS
    thinking_levels: tuple[str, ...] = THINKING_LEVELS

    def size(self, wanted: str) -> str:
        """Return the size it has that is nearest to `wanted`; the smaller of two."""
        return min(self.sizes, key=lambda size: abs(SIZES.index(size) - SIZES.index(wanted)))

    def ratio(self, wanted: str) -> str | None:
        """Return the aspect ratio it has that is nearest to `wanted`; None where that is left to it."""
        if wanted == AUTO:
            return None
        return min(self.ratios, key=lambda ratio: abs(_logarithm(ratio) - _logarithm(wanted)))

    def thinking_level(self, wanted: str) -> str | None:
        """Return the level it has that is nearest to `wanted`, the quicker of two; None to send none."""
        if wanted == AUTO or not self.thinking_levels:
            return None
        place = THINKING_LEVELS.index
        return min(self.thinking_levels, key=lambda level: abs(place(level) - place(wanted)))


def _logarithm(ratio: str) -> float:
    width, height = map(int, ratio.split(":"))
    return math.log(width / height)


BEST: Final = "gemini-nano-banana-2.1"
FINEST: Final = "gemini-3-pro-image"
CHEAPEST: Final = "gemini-3.1-flash-lite-image"

PREFERRED: Final = (BEST, CHEAPEST, FINEST)
"""The models to try in turn: the dearest and slowest, with some 23 s for a picture, comes last."""

KNOWN: Final[Mapping[str, Model]] = MappingProxyType(
    {
        BEST: Model(sizes=_USUAL_SIZES),
        FINEST: Model(sizes=_USUAL_SIZES, ratios=_USUAL_RATIOS, thinking_levels=()),
        CHEAPEST: Model(sizes=("1K",), thinking_levels=("minimal", "high")),
        # To be shut down "not before 29 October 2026"; nobody has reported yet that it was.
        "gemini-3.1-flash-image": Model(thinking_levels=("minimal", "high")),
    }
)

_UNKNOWN: Final = Model()

RETIRED: Final[Mapping[str, str]] = MappingProxyType(
    {
        "gemini-2.5-flash-image": f"was shut down on 2 October 2026; use {BEST}",
        "gemini-2.5-flash-image-preview": f"was shut down on 2 October 2026; use {BEST}",
        "gemini-3-pro-image-preview": f"was shut down on 25 June 2026; use {FINEST}",
        "gemini-3.1-flash-image-preview": f"was shut down on 25 June 2026; use {BEST}",
    }
)


def model(name: str) -> Model:
    """Return what the model called `name` takes; everything, where that is not known."""
    return KNOWN.get(name, _UNKNOWN)
