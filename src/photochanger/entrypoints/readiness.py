"""Whether this process can take a photo now."""

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence

from photochanger.application.ports import MediaStore, SettingsRepository
from photochanger.domain.breaker import Target
from photochanger.domain.errors import PhotoChangerError
from photochanger.domain.operation import ProviderCatalogue

PATIENCE_SEC = 2.0


class Readiness:
    """Tells the load balancer whether to send photos here: not while shutting down, nor without stores."""

    def __init__(
        self,
        *,
        settings: SettingsRepository,
        store: MediaStore,
        catalogue: ProviderCatalogue,
        paused: Callable[[], Collection[Target]],
    ) -> None:
        self._settings = settings
        self._store = store
        self._catalogue = catalogue
        self._paused = paused
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
