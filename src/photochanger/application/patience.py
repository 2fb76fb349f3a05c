"""Outliving a database that is away: a job that was accepted is not lost by it."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from photochanger.domain.errors import DatabaseUnavailable

RETRY_PAUSE_SEC = 0.1

_T = TypeVar("_T")


async def until_answered(ask: Callable[[], Awaitable[_T]]) -> _T:
    """Ask the database until it answers, for as long as the caller's deadline allows, which cancels it.

    Each time `ask` is called anew; an earlier one may have come through, and only its answer be lost.
    """
    while True:
        try:
            return await ask()
        except DatabaseUnavailable:
            await asyncio.sleep(RETRY_PAUSE_SEC)
