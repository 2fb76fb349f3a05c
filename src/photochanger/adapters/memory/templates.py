"""Templates in memory."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from photochanger.adapters.memory.records import MemoryRecords
from photochanger.application.ports.configuration import TemplateRepository
from photochanger.domain.audit import AuditEntry
from photochanger.domain.errors import TemplateInUse
from photochanger.domain.media import MediaKind, StoredImage
from photochanger.domain.slot import SlotId
from photochanger.domain.template import Template


class MemoryTemplateRepository(TemplateRepository):
    """The templates, in a dictionary."""

    def __init__(self, records: MemoryRecords) -> None:
        self._records = records

    async def add(
        self, image: StoredImage, *, preview: StoredImage, name: str, entry: AuditEntry
    ) -> Template:
        """Mark the files as stored, make the record, and add `entry`."""
        self._records.require_announced([image], kind=MediaKind.TEMPLATE)
        self._records.require_announced([preview], kind=MediaKind.PREVIEW)
        self._records.store_images([image, preview], until=None)
        template = Template(
            name=name,
            image=image,
            preview=preview,
            created_at=self._records.clock.now(),
            created_by=entry.actor.name or "",
        )
        self._records.templates[template.template_id] = template
        self._records.log(replace(entry, subject=template.template_id))
        return template

    async def find(self, template_ids: Collection[str]) -> Mapping[str, Template]:
        """Return those of the templates that there are, by their id."""
        known = self._records.templates
        return {template_id: known[template_id] for template_id in template_ids if template_id in known}

    async def list(self) -> Sequence[Template]:
        """Return all templates, the newest first."""
        newest_last = sorted(self._records.templates.values(), key=lambda template: template.created_at)
        return newest_last[::-1]

    async def users(self, template_id: str) -> Sequence[SlotId]:
        """Return the slots that bind the template, in the order of their ids."""
        slots = self._records.slots
        return sorted(
            slot_id for slot_id in slots if template_id in slots[slot_id].configuration.template_ids
        )

    async def remove(self, template_id: str, *, entry: AuditEntry) -> bool:
        """Delete the record, condemn the files and add `entry`, unless a slot binds the template."""
        if template_id not in self._records.templates:
            return False
        if slot_ids := await self.users(template_id):
            raise TemplateInUse(slot_ids)
        removed = self._records.templates.pop(template_id)
        self._records.condemn([removed.image.media_id, removed.preview.media_id])
        self._records.log(entry)
        return True
