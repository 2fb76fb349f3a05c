"""The ports to what administrators set: slots, their templates, and the settings."""

from abc import abstractmethod
from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

from photochanger.domain.audit import AuditEntry
from photochanger.domain.media import StoredImage
from photochanger.domain.settings import Settings
from photochanger.domain.slot import Slot, SlotId
from photochanger.domain.template import Template


class SlotRepository(Protocol):
    """The fifteen slots."""

    @abstractmethod
    async def get(self, slot_id: SlotId) -> Slot:
        """Return the slot. Raises `SlotNotFound` where there is none."""

    @abstractmethod
    async def list(self) -> Sequence[Slot]:
        """Return all slots, in the order of their ids."""

    @abstractmethod
    async def save(self, slot: Slot, *, entry: AuditEntry) -> Slot:
        """Store the slot if `slot.version` is still the stored one, and return it with the next version.

        Adds `entry` to the audit log, both or neither. `updated_at` becomes the store's time, and
        `updated_by` the name of the entry's actor. Raises `SlotNotFound` where there is no such slot,
        `VersionConflict` where somebody else was faster (of concurrent writers with one version, one wins),
        and `TemplateNotFound` where a template that it binds is not there, or is just being removed.
        Announces `CONFIGURATION_CHANGED`.
        """


class TemplateRepository(Protocol):
    """The administrators' templates. Names need not be unique."""

    @abstractmethod
    async def add(
        self, image: StoredImage, *, preview: StoredImage, name: str, entry: AuditEntry
    ) -> Template:
        """Mark the pending files of a template and its preview as stored, without an end; make its record.

        Adds `entry` to the audit log with the template as its subject; all of it or nothing. `created_at` is
        the store's time, and `created_by` the name of the entry's actor. Raises `InternalError`, and writes
        nothing, where there is no pending template file, or no pending preview file, with the image's id.
        """

    @abstractmethod
    async def find(self, template_ids: Collection[str]) -> Mapping[str, Template]:
        """Return those of the templates that there are, by their id."""

    @abstractmethod
    async def list(self) -> Sequence[Template]:
        """Return all templates, the newest first."""

    @abstractmethod
    async def users(self, template_id: str) -> Sequence[SlotId]:
        """Return the slots that bind the template in their call or fallback, in the order of their ids."""

    @abstractmethod
    async def remove(self, template_id: str, *, entry: AuditEntry) -> bool:
        """Delete the record, condemn the files and add `entry`; False where there is no such template.

        Raises `TemplateInUse`, and writes nothing, where a slot binds it. Of concurrent callers, one removes
        it; of a removal and the saving of a slot that binds it, one succeeds.
        """


class SettingsRepository(Protocol):
    """The one settings document."""

    @abstractmethod
    async def get(self) -> Settings:
        """Return the settings; the defaults, in version 1, where none were ever saved."""

    @abstractmethod
    async def save(self, settings: Settings, *, entry: AuditEntry) -> Settings:
        """Store the settings if `settings.version` is still the stored one, and return the next version.

        Adds `entry` to the audit log, both or neither. `updated_at` becomes the store's time, and
        `updated_by` the name of the entry's actor. Raises `VersionConflict` where somebody else was faster.
        Announces `CONFIGURATION_CHANGED`.
        """
