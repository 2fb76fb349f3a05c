"""Test runs: a photo of an administrator's through a slot's saved or unsaved configuration."""

from dataclasses import replace

from photochanger.application.check_slot import CheckSlot
from photochanger.application.configuration import Configuration, CurrentConfiguration
from photochanger.application.doorkeeper import Admission, Doorkeeper
from photochanger.domain.errors import PayloadTooLarge
from photochanger.domain.slot import Slot, SlotConfiguration


class TrySlot:
    """Admits a photo of an administrator's to a slot, switched on or off, without its password.

    What follows is what happens to a booth's photo (`SubmitPhoto`), as a job with the source `test`.
    """

    def __init__(
        self, *, configuration: CurrentConfiguration, doorkeeper: Doorkeeper, check_slot: CheckSlot
    ) -> None:
        self._configuration = configuration
        self._doorkeeper = doorkeeper
        self._check_slot = check_slot

    async def admit(self, slot_id: str, *, arrived_at: float) -> Admission:
        """Return the terms for a photo whose request arrived at `arrived_at` (monotonic seconds).

        Until the configuration is known (`decide`), they allow as large a photo as any slot may. Raises
        `SlotNotFound`, or what `Doorkeeper.look` does.
        """
        current = await self._configuration.get()
        slot = current.slot(slot_id)
        roomy = replace(slot.configuration, size_limit_mb=current.settings.ingest.max_upload_mb)
        admission = _admission(replace(slot, configuration=roomy), current, arrived_at)
        await self._doorkeeper.look(admission)
        return admission

    async def decide(
        self, admission: Admission, configuration: SlotConfiguration | None, *, size_bytes: int
    ) -> Admission:
        """Return the terms of the unsaved configuration, or of the saved one where that is None.

        Raises `ValidationFailed` with all problems of the unsaved one, and `PayloadTooLarge` where the photo
        is larger than a booth could send.
        """
        current = await self._configuration.get()
        slot = current.slot(admission.slot.slot_id)
        if configuration is not None:
            await self._check_slot(configuration, current.settings)
            slot = replace(slot, configuration=configuration)
        decided = _admission(slot, current, admission.arrived_at)
        if size_bytes > decided.limit_bytes:
            raise PayloadTooLarge(decided.limit_bytes)
        return decided


def _admission(slot: Slot, current: Configuration, arrived_at: float) -> Admission:
    return Admission(
        slot=slot,
        settings=current.settings,
        capacity=current.capacity,
        arrived_at=arrived_at,
        is_test=True,
    )
