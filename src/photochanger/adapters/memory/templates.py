"""Templates in memory."""

from collections.abc import Collection, Mapping, Sequence

from photochanger.adapters.memory.records import MemoryRecords
from photochanger.application.ports.storage import TemplateRepository
from photochanger.domain.media import MediaKind, StoredImage
from photochanger.domain.template import Template


class MemoryTemplateRepository(TemplateRepository):
    """The templates, in a dictionary."""

    def __init__(self, records: MemoryRecords) -> None:
        self._records = records

    async def add(self, image: StoredImage, *, name: str, created_by: str) -> Template:
        """Mark the file as stored and make its record."""
        self._records.require_announced([image], kind=MediaKind.TEMPLATE)
        self._records.store_images([image], until=None)
        template = Template(
            name=name, image=image, created_at=self._records.clock.now(), created_by=created_by
        )
        self._records.templates[template.template_id] = template
        return template

    async def find(self, template_ids: Collection[str]) -> Mapping[str, Template]:
        """Return those of the templates that there are, by their id."""
        known = self._records.templates
        return {template_id: known[template_id] for template_id in template_ids if template_id in known}

    async def list(self) -> Sequence[Template]:
        """Return all templates, the newest first."""
        newest_last = sorted(self._records.templates.values(), key=lambda template: template.created_at)
        return newest_last[::-1]

    async def remove(self, template_id: str) -> bool:
        """Delete the record and condemn the file."""
        removed = self._records.templates.pop(template_id, None)
        if removed is not None:
            self._records.condemn([removed.template_id])
        return removed is not None
