"""Whether this process can take a photo now."""

import asyncio
from collections.abc import Sequence

from photochanger.application.ports import MediaStore, SettingsRepository
from photochanger.domain.errors import PhotoChangerError

PATIENCE_SEC = 2.0


class Readiness:
    """Tells the load balancer whether to send photos here: not while shutting down, nor without stores."""

    def __init__(self, *, settings: SettingsRepository, store: MediaStore) -> None:
        self._settings = settings
        self._store = store
        self._shutting_down = False

    @property
    def is_shutting_down(self) -> bool:
        """Whether the process has been asked to end."""
        return self._shutting_down

    def shut_down(self) -> None:
        """Say from now on that this process takes no more photos."""
        self._shutting_down = True

    async def problems(self) -> Sequence[str]:
        """Return what stands in the way, as the names of the parts; nothing when ready."""
        found = ["shutting_down"] if self._shutting_down else []
        try:
            async with asyncio.timeout(PATIENCE_SEC):
                await self._settings.get()
        except (PhotoChangerError, TimeoutError):
            found.append("database")
        try:
            with self._store.scratch() as file:
                file.write(b"ready")
        except (PhotoChangerError, OSError):
            found.append("media")
        return found
