"""PhotoChanger with a defect put in, for the checker to find: `python -m tests.chaos.broken DEFECT …`.

What follows the defect's name is the command that would have been run: `python -m photochanger serve …`.
"""

import sys
from collections.abc import Callable, Collection, Mapping
from datetime import timedelta
from typing import Any, Final

import structlog

from photochanger.adapters.filesystem import FilesystemMediaStore
from photochanger.adapters.postgres.jobs import PostgresJobRepository
from photochanger.application.await_outcome import AwaitOutcome
from photochanger.application.login import LogIn
from photochanger.application.ports.jobs import Claimed, JobReading
from photochanger.domain.concurrency import ConcurrencyLimits
from photochanger.entrypoints.cli import main as photochanger


def short_leases() -> None:
    """Let a worker lose its jobs after a moment, although it is alive."""
    claim = PostgresJobRepository.claim

    async def hasty(self: Any, *, limit: int, lease: timedelta, limits: ConcurrencyLimits) -> Claimed:
        return await claim(self, limit=limit, lease=lease / 40, limits=limits)

    async def idle(self: Any, *arguments: Any, **options: Any) -> bool:
        return True

    PostgresJobRepository.claim = hasty  # type: ignore[assignment, method-assign]
    PostgresJobRepository.renew = idle  # type: ignore[method-assign]


def early_time_outs() -> None:
    """Give up on jobs half a second after they came."""
    wait = AwaitOutcome.__call__

    async def impatient(self: Any, job_id: Any, *, deadline: float, **more: Any) -> JobReading:
        return await wait(self, job_id, deadline=deadline - 19.5, **more)

    AwaitOutcome.__call__ = impatient  # type: ignore[method-assign]


def kept_files() -> None:
    """Say that files were deleted, and keep them."""

    async def pretend(self: Any, keys: Collection[str]) -> frozenset[str]:
        return frozenset(keys)

    FilesystemMediaStore.delete = pretend  # type: ignore[method-assign]


def talkative_logs() -> None:
    """Log who logs in with which password."""
    log_in = LogIn.__call__

    async def talk(self: Any, *arguments: Any, **options: Any) -> Any:
        structlog.get_logger().warning("a login", told=[*map(str, arguments), *map(str, options.values())])
        return await log_in(self, *arguments, **options)

    LogIn.__call__ = talk  # type: ignore[method-assign]


DEFECTS: Final[Mapping[str, Callable[[], None]]] = {
    each.__name__: each for each in (short_leases, early_time_outs, kept_files, talkative_logs)
}


if __name__ == "__main__":
    DEFECTS[sys.argv[1]]()
    sys.argv = ["photochanger", *sys.argv[sys.argv.index("photochanger") + 1 :]]
    photochanger()
