"""The check of the password that a booth sends with each photo."""

import asyncio
import hashlib
import hmac
import secrets
from collections import OrderedDict

from photochanger.application.ports.auth import PasswordHasher
from photochanger.domain.errors import InvalidPassword
from photochanger.domain.settings import MAX_PASSWORD_LENGTH, Settings
from photochanger.domain.slot import Slot

REMEMBERED = 64


class CheckIngestPassword:
    """Refuses a photo whose password is not the slot's own, or the global one where the slot has none.

    Hashing takes tens of milliseconds on purpose, and a booth sends the same password with every photo. So
    a password that was right is remembered, for the life of the process, as a digest that is keyed with a
    random key and tied to the stored hash: a changed password is checked afresh.
    Photos that come at once with one password share one hashing.
    """

    def __init__(self, hasher: PasswordHasher) -> None:
        self._hasher = hasher
        self._key = secrets.token_bytes(32)
        self._verified: OrderedDict[bytes, None] = OrderedDict()
        self._verifying: dict[bytes, asyncio.Future[bool]] = {}

    async def __call__(self, password: str | None, slot: Slot, settings: Settings) -> None:
        """Return, or raise `InvalidPassword`; a slot without any password accepts none."""
        stored = slot.ingest_password_hash or settings.ingest.password_hash
        if stored is None or not password or len(password) > MAX_PASSWORD_LENGTH:
            raise InvalidPassword
        digest = self._digest(password, stored)
        if digest in self._verified:
            self._verified.move_to_end(digest)
        elif await self._verify(digest, password, stored):
            self._remember(digest)
        else:
            raise InvalidPassword

    async def _verify(self, digest: bytes, password: str, stored: str) -> bool:
        if digest not in self._verifying:
            task = asyncio.ensure_future(self._hasher.verify(password, stored))
            self._verifying[digest] = task
            task.add_done_callback(lambda _: self._verifying.pop(digest))
        return await asyncio.shield(self._verifying[digest])

    def _digest(self, password: str, stored: str) -> bytes:
        message = stored.encode() + b"\0" + password.encode("utf-8", "surrogatepass")
        return hmac.new(self._key, message, hashlib.sha256).digest()

    def _remember(self, digest: bytes) -> None:
        self._verified[digest] = None
        if len(self._verified) > REMEMBERED:
            self._verified.popitem(last=False)
