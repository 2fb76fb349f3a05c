"""Holding a request only as long as somebody holds its other end."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from litestar.types import Receive

from photochanger.application.worker import cancel_and_wait
from photochanger.entrypoints.http.errors import ClientGone

_T = TypeVar("_T")


async def while_connected(waiting: Coroutine[Any, Any, _T], receive: Receive) -> _T:
    """Return the outcome of `waiting`, or stop waiting and raise `ClientGone` when the client hangs up.

    The request's body must have been read.
    """
    outcome = asyncio.create_task(waiting)
    gone = asyncio.create_task(_hung_up(receive))
    try:
        await asyncio.wait({outcome, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not outcome.done():
            raise ClientGone
        return outcome.result()
    finally:
        await cancel_and_wait(outcome, gone)


async def _hung_up(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
