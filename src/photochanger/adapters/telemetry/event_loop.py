"""The event loop's lag: how long everything else in the process has to wait for its turn."""

import asyncio
from collections.abc import Callable
from typing import NoReturn


async def watch_event_loop(record: Callable[[float], None], *, interval_sec: float = 0.25) -> NoReturn:
    """Call `record` every `interval_sec` with the seconds by which the timer was late, until cancelled."""
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + interval_sec
        await asyncio.sleep(interval_sec)
        record(max(0.0, loop.time() - due))
