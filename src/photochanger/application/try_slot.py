"""Test runs: a photo of an administrator's through a slot's saved or unsaved configuration."""

from dataclasses import replace

from photochanger.application.check_slot import CheckSlot
from photochanger.application.configuration import CurrentConfiguration
from photochanger.application.submit_photo import Admission
from photochanger.domain.errors import PayloadTooLarge
from photochanger.domain.slot import SlotConfiguration


class TrySlot:
    """Admits a photo of an administrator's to a slot, switched on or off, without its password.

    What follows is what happens to a booth's photo (`SubmitPhoto`), as a job with the source `test`.
    """

    def __init__(self, *, configuration: CurrentConfiguration, check_slot: CheckSlot) -> None:
        self._configuration = configuration
        self._check_slot = check_slot

    async def admit(self, slot_id: str, *, arrived_at: float) -> Admission:
        """Return the terms for a photo whose request arrived at `arrived_at` (monotonic seconds).

        Until the configuration is known (`decide`), they allow as large a photo as any slot may. Raises
        `SlotNotFound`.
        """
        current = await self._configuration.get()
        slot = current.slot(slot_id)
        roomy = replace(slot.configuration, size_limit_mb=current.settings.ingest.max_upload_mb)
        return Admission(
            slot=replace(slot, configuration=roomy), settings=current.settings, arrived_at=arrived_at
        )

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
        decided = Admission(slot=slot, settings=current.settings, arrived_at=admission.arrived_at)
        if size_bytes > decided.limit_bytes:
            raise PayloadTooLarge(decided.limit_bytes)
        return decided
