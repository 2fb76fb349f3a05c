"""How many jobs may be under way at once."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from photochanger.domain.slot import SlotId


@dataclass(frozen=True, slots=True, kw_only=True)
class ConcurrencyLimits:
    """How many places there are at each slot and at each provider. Where a key is missing, there is no limit.

    A job has a place at its slot from the moment it is claimed, and one at the provider that it is being
    done by, until it ends, is handed back, or its worker's lease lapses.
    """

    slots: Mapping[SlotId, int] = field(default_factory=dict)
    providers: Mapping[str, int] = field(default_factory=dict)


UNLIMITED: Final = ConcurrencyLimits()
