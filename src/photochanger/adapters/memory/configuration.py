"""Slots and settings in memory."""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import replace

from photochanger.adapters.memory.records import MemoryRecords
from photochanger.application.ports.configuration import SettingsRepository, SlotRepository
from photochanger.application.ports.signals import Topic
from photochanger.domain.audit import AuditEntry
from photochanger.domain.errors import SlotNotFound, TemplateNotFound, VersionConflict
from photochanger.domain.settings import Settings
from photochanger.domain.slot import Slot, SlotId


class MemorySlotRepository(SlotRepository):
    """The fifteen slots, in a dictionary."""

    def __init__(self, records: MemoryRecords) -> None:
        self._records = records

    async def get(self, slot_id: SlotId) -> Slot:
        """Return the slot. Raises `SlotNotFound`."""
        try:
            return deepcopy(self._records.slots[slot_id])
        except KeyError:
            raise SlotNotFound from None

    async def list(self) -> Sequence[Slot]:
        """Return all slots, in the order of their ids."""
        return [deepcopy(self._records.slots[slot_id]) for slot_id in sorted(self._records.slots)]

    async def save(self, slot: Slot, *, entry: AuditEntry) -> Slot:
        """Store the slot if its version is still the stored one, and add `entry`."""
        stored = await self.get(slot.slot_id)
        if slot.version != stored.version:
            raise VersionConflict
        if slot.configuration.template_ids - self._records.templates.keys():
            raise TemplateNotFound
        saved = replace(
            deepcopy(slot),
            version=slot.version + 1,
            updated_at=self._records.clock.now(),
            updated_by=entry.actor.name,
        )
        self._records.slots[slot.slot_id] = saved
        self._records.log(entry)
        self._records.hub.announce(Topic.CONFIGURATION_CHANGED)
        return deepcopy(saved)


class MemorySettingsRepository(SettingsRepository):
    """The settings, in an attribute."""

    def __init__(self, records: MemoryRecords) -> None:
        self._records = records

    async def get(self) -> Settings:
        """Return the settings."""
        return deepcopy(self._records.settings)

    async def save(self, settings: Settings, *, entry: AuditEntry) -> Settings:
        """Store the settings if their version is still the stored one, and add `entry`."""
        if settings.version != self._records.settings.version:
            raise VersionConflict
        self._records.settings = replace(
            deepcopy(settings),
            version=settings.version + 1,
            updated_at=self._records.clock.now(),
            updated_by=entry.actor.name,
        )
        self._records.log(entry)
        self._records.hub.announce(Topic.CONFIGURATION_CHANGED)
        return deepcopy(self._records.settings)
