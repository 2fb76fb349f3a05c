"""The installation's id, and whether it has marked media, in memory."""

import secrets

from photochanger.application.ports.media import Installation


class MemoryInstallation(Installation):
    """An id that is made with the object, and ends with it."""

    def __init__(self) -> None:
        self._id = secrets.token_hex(16)
        self._has_marked_media = False

    async def get_id(self) -> str:
        """Return the id."""
        return self._id

    async def has_marked_media(self) -> bool:
        """Return whether a media store was ever marked."""
        return self._has_marked_media

    async def media_marked(self) -> None:
        """Remember that one was marked."""
        self._has_marked_media = True
