"""A password hasher for tests."""

import hashlib
import secrets
from hmac import compare_digest
from typing import Final

from photochanger.application.ports.auth import PasswordHasher

_NAME: Final = "sha256-for-tests"


class FastPasswordHasherForTests(PasswordHasher):
    """One round of salted SHA-256: fast, and therefore unfit for real passwords."""

    async def hash(self, password: str) -> str:
        """Return a salted hash of `password`."""
        salt = secrets.token_hex(8)
        return f"${_NAME}${salt}${_digest(password, salt)}"

    async def verify(self, password: str, password_hash: str) -> bool:
        """Say whether `password` is the one behind `password_hash`."""
        match password_hash.split("$"):
            case ["", name, salt, digest] if name == _NAME:
                return compare_digest(_digest(password, salt).encode(), digest.encode())
            case _:
                return False


def _digest(password: str, salt: str) -> str:
    return hashlib.sha256(f"{salt}{password}".encode("utf-8", "surrogatepass")).hexdigest()
