"""The port to what decides whether a photo may come in: the rate, and what is going on."""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, Protocol

from photochanger.domain.media import MediaId
from photochanger.domain.rate import Rate
from photochanger.domain.slot import SlotId
from photochanger.domain.waiting import Pace, Traffic

PACE_JOBS: Final = 100
"""A slot's pace is that of its last so many jobs."""

PACES_LOOK_AT_JOBS: Final = 1_000
"""As far as they are among the last so many of all slots."""

SLOW_SHARE: Final = 0.98
"""So many of them did not take longer than `Pace.slow_sec`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Passage:
    """What became of a photo at the gate.

    `wait_sec` is how long the rate lets nobody in from now on; nought where the next may come at once.
    `traffic` is what was going on before it.
    """

    has_entered: bool
    wait_sec: float
    traffic: Traffic


class IngestGate(Protocol):
    """What all processes together let in, and what they have let in that is not done."""

    @abstractmethod
    async def enter(
        self, media_id: MediaId, *, slot_id: SlotId, ttl: timedelta, rate: Rate | None
    ) -> Passage:
        """Let a photo in if the rate does, and record that its payload is about to be written for the slot.

        The rate is judged by `Rate.arrive` with the store's clock, at the moment of the change: no number of
        concurrent callers, in however many processes, gets beyond it. None lets everybody in, and does not
        count. Where the photo is not let in, nothing is recorded.

        The record is that of `MediaRegistry.intend`. A pending payload that was announced for no slot becomes
        the slot's, and keeps its times. Raises `ValueError`, and records nothing, where the id is known
        otherwise.

        Others that enter at the same instant may be missing from the traffic.
        """

    @abstractmethod
    async def leave(self, media_id: MediaId, *, rate: Rate | None) -> None:
        """Take back what `enter` did with this rate: another may come instead, and the file is condemned."""

    @abstractmethod
    async def traffic(self) -> Traffic:
        """Return what is going on now.

        That is, of each slot, the pending payloads whose time is not over, and the jobs that are not final
        and whose deadline has not come; and the places of all workers that have told of themselves. Payloads
        of no slot are not counted.
        """

    @abstractmethod
    async def paces(self) -> Sequence[Pace]:
        """Return how long the last jobs of each slot took with each provider, those of tests left out.

        Of the last `PACES_LOOK_AT_JOBS` that have ended, those count that a worker had, and of each slot the
        last `PACE_JOBS`; each to the provider of its slot's call at the time.
        """

    @abstractmethod
    async def tell_of_workers(self, process_id: str, *, places: int, ttl: timedelta) -> None:
        """Record how many jobs a process can do at once. It counts for `ttl`; nought ends it at once."""
