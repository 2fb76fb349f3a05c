"""The installation's id in memory."""

import secrets

from photochanger.application.ports.storage import Installation


class MemoryInstallation(Installation):
    """An id that is made with the object, and ends with it."""

    def __init__(self) -> None:
        self._id = secrets.token_hex(16)

    async def get_id(self) -> str:
        """Return the id."""
        return self._id
