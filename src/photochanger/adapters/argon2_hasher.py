"""Password hashing with argon2id."""

import asyncio
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Final

from argon2 import PasswordHasher as Argon2
from argon2.exceptions import Argon2Error, InvalidHashError

from photochanger.application.ports.auth import PasswordHasher

AT_ONCE = 2

NICENESS: Final = 10
"""How far the hashing steps back behind whoever else wants the processor: photos first."""

# OWASP Password Storage Cheat Sheet: argon2id with 19 MiB of memory, two iterations and one lane.
_MEMORY_KIB = 19 * 1024
_ITERATIONS = 2
_LANES = 1


class Argon2PasswordHasher(PasswordHasher):
    """argon2id in threads, `AT_ONCE` at once: each takes 19 MiB and tens of milliseconds of a core."""

    def __init__(self) -> None:
        self._argon2 = Argon2(time_cost=_ITERATIONS, memory_cost=_MEMORY_KIB, parallelism=_LANES)
        self._threads = ThreadPoolExecutor(AT_ONCE, "argon2", initializer=_step_back)

    async def hash(self, password: str) -> str:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, self._argon2.hash, _encoded(password))

    async def verify(self, password: str, password_hash: str) -> bool:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, self._matches, password, password_hash)

    def _matches(self, password: str, password_hash: str) -> bool:
        try:
            return self._argon2.verify(password_hash, _encoded(password))
        except (Argon2Error, InvalidHashError, UnicodeError):  # the last for a hash that is not ASCII
            return False


def _encoded(password: str) -> bytes:
    return password.encode("utf-8", "surrogatepass")


def _step_back() -> None:
    if sys.platform != "linux":
        return  # elsewhere threads have no niceness of their own, as they have here: sched(7)
    with suppress(OSError):  # where that is forbidden, hashing is as urgent as everything else
        present = os.getpriority(os.PRIO_PROCESS, 0)
        os.setpriority(os.PRIO_PROCESS, 0, max(present, NICENESS))
