"""The port to the records as a whole: whose turn it is to sweep, what has to go, what contradicts itself."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Protocol

from photochanger.domain.consistency import Discrepancy
from photochanger.domain.media import MediaKind


@dataclass(frozen=True, slots=True, kw_only=True)
class LastSweep:
    """How long ago a sweeper last finished a round, and last compared; None where none ever did."""

    swept_ago: timedelta | None = None
    compared_ago: timedelta | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Forgotten:
    """How many records were removed, their time as tombstones being over."""

    jobs: int = 0
    files: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """What a sweep would find to do at this moment; `files` are those to be deleted, by their kind."""

    jobs: int = 0
    files: Mapping[MediaKind, int] = field(default_factory=dict)
    size_bytes: int = 0
    forgotten: Forgotten = field(default_factory=Forgotten)


class Housekeeping(Protocol):
    """The records as a whole. Time is that of the store's clock."""

    @abstractmethod
    async def take_turn(self, holder: str, *, lease: timedelta) -> bool:
        """Make it `holder`'s turn to sweep, from now for as long as `lease`; False while it is another's.

        The holder takes its turn again to keep it. Of concurrent callers, one gets it.
        """

    @abstractmethod
    async def end_turn(self, holder: str, *, swept: bool, compared: bool = False) -> None:
        """Give the turn back, and record that the round was finished (`swept`), and what it `compared`.

        Changes nothing where it is not `holder`'s turn any more.
        """

    @abstractmethod
    async def last_sweep(self) -> LastSweep:
        """Return how long ago a round was last finished, by whoever."""

    @abstractmethod
    async def due(self, *, history: timedelta) -> Due:
        """Count what a sweep would find to do now, and change nothing; `history` is as for `forget`."""

    @abstractmethod
    async def forget(self, *, history: timedelta, limit: int) -> Forgotten:
        """Remove records of what was over `history` ago: up to `limit` jobs, and up to `limit` files.

        Jobs are over when they are final; one that the statistics have not added up yet stays. Files are
        over when they are deleted, and are removed by the age of their announcement. The oldest go first.
        What was added up stays, and the Idempotency-Keys of removed jobs are free again.
        """

    @abstractmethod
    async def discrepancies(self, *, limit: int) -> Sequence[Discrepancy]:
        """Return up to `limit` contradictions of each kind between records, as of one moment.

        These are all that can be told without the media store (`photochanger.domain.consistency`).
        """
