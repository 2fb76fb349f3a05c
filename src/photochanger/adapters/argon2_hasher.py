"""Password hashing with argon2id."""

import asyncio

from argon2 import PasswordHasher as Argon2
from argon2.exceptions import Argon2Error, InvalidHashError

from photochanger.adapters.background_threads import background_threads
from photochanger.application.ports.auth import PasswordHasher

AT_ONCE = 2

# OWASP Password Storage Cheat Sheet: argon2id with 19 MiB of memory, two iterations and one lane.
_MEMORY_KIB = 19 * 1024
_ITERATIONS = 2
_LANES = 1


class Argon2PasswordHasher(PasswordHasher):
    """argon2id in threads, `AT_ONCE` at once: each takes 19 MiB and tens of milliseconds of a core."""

    def __init__(self) -> None:
        self._argon2 = Argon2(time_cost=_ITERATIONS, memory_cost=_MEMORY_KIB, parallelism=_LANES)
        self._threads = background_threads(AT_ONCE, "argon2")

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
