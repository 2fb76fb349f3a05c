"""The port to password hashing."""

from abc import abstractmethod
from typing import Protocol


class PasswordHasher(Protocol):
    """Hashes passwords, and checks them against their hashes.

    Both are slow on purpose. They run off the event loop, and only a bounded number runs at once; further
    calls wait.
    """

    @abstractmethod
    async def hash(self, password: str) -> str:
        """Return a salted hash of `password`; two calls with the same password return different hashes.

        The hash is text that names its own algorithm and parameters. It never contains the password.
        """

    @abstractmethod
    async def verify(self, password: str, password_hash: str) -> bool:
        """Say whether `password` is the one behind `password_hash`.

        Compares exactly what was given: no case folding, no Unicode normalisation, no trimming. A broken
        hash is not an error: it matches no password.
        """
