"""How templates are shown."""

from collections.abc import Sequence
from typing import Any

from msgspec import Struct

from photochanger.domain.template import Template
from photochanger.entrypoints.documents.timestamps import Timestamp, rfc3339


class TemplateView(Struct, kw_only=True):
    """A template."""

    template_id: str
    name: str
    content_type: str
    size_bytes: int
    width: int
    height: int
    created_at: Timestamp
    created_by: str

    @classmethod
    def of(cls, template: Template) -> "TemplateView":
        """Return a template as it is shown."""
        return cls(**_fields_of(template))


class TemplateWithUsers(TemplateView, kw_only=True):
    """A template, and the slots that use it."""

    slot_ids: list[str]

    @classmethod
    def used_by(cls, slot_ids: Sequence[str], template: Template) -> "TemplateWithUsers":
        """Return a template as it is shown together with the slots that use it."""
        return cls(**_fields_of(template), slot_ids=[*slot_ids])


def _fields_of(template: Template) -> dict[str, Any]:
    image = template.image
    return {
        "template_id": template.template_id,
        "name": template.name,
        "content_type": image.info.image_type.value,
        "size_bytes": image.file.size_bytes,
        "width": image.info.width,
        "height": image.info.height,
        "created_at": rfc3339(template.created_at),
        "created_by": template.created_by,
    }
