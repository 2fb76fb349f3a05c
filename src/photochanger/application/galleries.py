"""A slot's latest results."""

from collections.abc import Sequence
from dataclasses import dataclass

from photochanger.application.configuration import CurrentConfiguration
from photochanger.application.ports.administration import JobHistory
from photochanger.domain.errors import GalleryDisabled
from photochanger.domain.job import Job
from photochanger.domain.slot import Slot, SlotId


@dataclass(frozen=True, slots=True, kw_only=True)
class Gallery:
    """A slot and its latest jobs with a result that has not expired, the newest first."""

    slot: Slot
    jobs: Sequence[Job]


class ShowGallery:
    """Shows a slot's gallery: to everybody where the slot has a public one, to administrators always."""

    def __init__(self, *, history: JobHistory, configuration: CurrentConfiguration) -> None:
        self._history = history
        self._configuration = configuration

    async def __call__(self, slot_id: str) -> Gallery:
        """Return the public gallery. Raises `SlotNotFound`, and `GalleryDisabled` where there is none."""
        current = await self._configuration.get()
        slot = current.slot(slot_id)
        if not slot.configuration.public_gallery:
            raise GalleryDisabled
        return Gallery(slot=slot, jobs=await self.recent(slot.slot_id))

    async def recent(self, slot_id: SlotId) -> Sequence[Job]:
        """Return the slot's latest jobs with a result, as many as the settings say."""
        settings = (await self._configuration.get()).settings
        return await self._history.with_results(slot_id, limit=settings.results.gallery_size)
