"""Threads for what happens beside the event loop, and steps back behind it where a core is short."""

import os
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Final

NICENESS: Final = 10
"""How far: answers at their deadline first."""


def background_threads(at_once: int, name: str) -> ThreadPoolExecutor:
    """Return threads of low priority, where the system knows such: on Linux."""
    return ThreadPoolExecutor(at_once, name, initializer=_step_back)


def _step_back() -> None:
    if sys.platform != "linux":
        return  # elsewhere threads have no niceness of their own, as they have here: sched(7)
    with suppress(OSError):  # where that is forbidden, they are as urgent as everything else
        present = os.getpriority(os.PRIO_PROCESS, 0)
        os.setpriority(os.PRIO_PROCESS, 0, max(present, NICENESS))
