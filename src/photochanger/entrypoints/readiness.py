"""Whether this process can take a photo now."""

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence

from photochanger.application.ports import Clock, MediaStore, SettingsRepository
from photochanger.domain.breaker import Target
from photochanger.domain.errors import PhotoChangerError
from photochanger.domain.operation import ProviderCatalogue

PATIENCE_SEC = 2.0

MEDIA_KNOWN_FOR_SEC = 3.0
"""How long an answer of the media store counts: it may be a service that is paid by the question."""


class Readiness:
    """Tells the load balancer whether to send photos here: not while shutting down, nor without stores."""

    def __init__(
        self,
        *,
        settings: SettingsRepository,
        store: MediaStore,
        clock: Clock,
        catalogue: ProviderCatalogue,
        paused: Callable[[], Collection[Target]],
    ) -> None:
        self._settings = settings
        self._store = store
        self._clock = clock
        self._catalogue = catalogue
        self._paused = paused
        self._shutting_down = False
        self._asking_media = asyncio.Lock()
        self._media_asked_at: float | None = None
        self._media_is_there = False

    @property
    def is_shutting_down(self) -> bool:
        """Whether the process has been asked to end."""
        return self._shutting_down

    def shut_down(self) -> None:
        """Say from now on that this process takes no more photos."""
        self._shutting_down = True

    async def problems(self) -> Sequence[str]:
        """Return what stands in the way, as the names of the parts; nothing when ready."""
        database, media = await asyncio.gather(self._has_database(), self._has_media())
        parts = {"shutting_down": not self._shutting_down, "database": database, "media": media}
        return [name for name, is_fine in parts.items() if not is_fine]

    async def _has_database(self) -> bool:
        try:
            async with asyncio.timeout(PATIENCE_SEC):
                await self._settings.get()
        except (PhotoChangerError, TimeoutError):
            return False
        return True

    async def _has_media(self) -> bool:
        async with self._asking_media:
            now, asked_at = self._clock.monotonic(), self._media_asked_at
            if asked_at is None or now - asked_at >= MEDIA_KNOWN_FOR_SEC:
                self._media_is_there = await self._ask_media()
                self._media_asked_at = now
            return self._media_is_there

    async def _ask_media(self) -> bool:
        try:
            async with asyncio.timeout(PATIENCE_SEC):
                await self._store.ping()
        except (PhotoChangerError, OSError):
            return False
        return True

    def providers(self) -> Mapping[str, str]:
        """Return each image provider's condition: `ok`, `not_configured`, or `paused` while calls fail.

        Known from the calls of this process; nobody is asked.
        """
        paused = {provider for provider, _ in self._paused()}
        return {
            name: "not_configured"
            if not description.is_configured
            else ("paused" if name in paused else "ok")
            for name, description in sorted(self._catalogue.items())
        }
