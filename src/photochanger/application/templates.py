"""The administrators' template images: adding, looking at, and removing them."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import timedelta
from typing import Final

from photochanger.application.check_slot import bound_templates
from photochanger.application.content import Content
from photochanger.application.edit_slot import configuration_changes
from photochanger.application.identifiers import new_media_id
from photochanger.application.ports.configuration import SlotRepository, TemplateRepository
from photochanger.application.ports.images import ImageEditor
from photochanger.application.ports.media import MediaRegistry, MediaStore
from photochanger.application.receive_image import ReceivedImage, receiving
from photochanger.application.store_image import announced, store_image, stored_at_once
from photochanger.domain.audit import Actor, AuditAction, AuditEntry
from photochanger.domain.errors import (
    Problem,
    TemplateInUse,
    TemplateNotFound,
    ValidationFailed,
    VersionConflict,
)
from photochanger.domain.media import MediaKind, StoredImage, media_key
from photochanger.domain.slot import ProviderCall, Slot, SlotConfiguration, SlotId
from photochanger.domain.template import MAX_TEMPLATE_NAME, Template

MAX_TEMPLATE_BYTES: Final = 50_000_000
STORED_WITHIN: Final = timedelta(minutes=1)
"""How long storing a template may take, before the sweeper counts it as abandoned."""


class Templates:
    """Templates for administrators. They are not public, and live until they are removed."""

    def __init__(
        self,
        *,
        templates: TemplateRepository,
        slots: SlotRepository,
        registry: MediaRegistry,
        store: MediaStore,
        images: ImageEditor,
    ) -> None:
        self._templates = templates
        self._slots = slots
        self._registry = registry
        self._store = store
        self._images = images

    def receiving(self) -> AbstractContextManager[ReceivedImage]:
        """Open a place for a new template's bytes; raises `PayloadTooLarge` beyond `MAX_TEMPLATE_BYTES`."""
        return receiving(self._store, limit_bytes=MAX_TEMPLATE_BYTES)

    async def add(self, received: ReceivedImage, *, name: str, actor: Actor) -> Template:
        """Check the image as a photo is checked, store it as it is, and make its preview.

        Raises `ValidationFailed` for a name that is none, `InvalidRequest` (no bytes),
        `UnsupportedMediaType` and `InvalidImage`.
        """
        _check_name(name)
        image_id, preview_id = new_media_id(), new_media_id()
        async with self._images.finish(received.contents()) as finished:
            info = await self._images.inspect(received.contents())
            files = [(image_id, MediaKind.TEMPLATE), (preview_id, MediaKind.PREVIEW)]
            async with announced(self._registry, files, slot_id=None, ttl=STORED_WITHIN):
                image, preview = await stored_at_once(
                    store_image(self._store, MediaKind.TEMPLATE, image_id, received.contents(), info),
                    store_image(
                        self._store, MediaKind.PREVIEW, preview_id, finished.preview, finished.preview_info
                    ),
                )
        entry = AuditEntry(action=AuditAction.TEMPLATE_ADDED, actor=actor, subject=image_id)
        return await self._templates.add(image, preview=preview, name=name, entry=entry)

    async def list(self) -> Sequence[Template]:
        """Return all templates, the newest first."""
        return await self._templates.list()

    async def get(self, template_id: str) -> Template:
        """Return the template. Raises `TemplateNotFound`."""
        found = await self._templates.find([template_id])
        if template_id not in found:
            raise TemplateNotFound
        return found[template_id]

    async def users(self, template: Template) -> Sequence[SlotId]:
        """Return the slots that use the template."""
        return await self._templates.users(template.template_id)

    def content(self, image: StoredImage, kind: MediaKind) -> Content:
        """Return the bytes of a template (`kind` TEMPLATE) or its preview."""
        return Content(self._store, media_key(kind, image.media_id))

    async def remove(self, template_id: str, *, force: bool, actor: Actor) -> None:
        """Remove the template; with `force`, take it out of the slots that use it first.

        Raises `TemplateNotFound`, and `TemplateInUse` without `force`. Jobs under way that need it fail.
        """
        await self.get(template_id)
        entry = AuditEntry(action=AuditAction.TEMPLATE_REMOVED, actor=actor, subject=template_id)
        while True:
            try:
                removed = await self._templates.remove(template_id, entry=entry)
            except TemplateInUse as in_use:
                if not force:
                    raise
                await self._unbind(template_id, in_use.slot_ids, actor)
            else:
                if not removed:
                    raise TemplateNotFound
                return

    async def _unbind(self, template_id: str, slot_ids: Sequence[str], actor: Actor) -> None:
        for slot_id in slot_ids:
            slot = await self._slots.get(SlotId(slot_id))
            if template_id not in bound_templates(slot.configuration):
                continue
            without = _without(slot, template_id)
            entry = AuditEntry(
                action=AuditAction.SLOT_CHANGED,
                actor=actor,
                subject=slot_id,
                changes=configuration_changes(slot.configuration, without.configuration),
            )
            try:
                await self._slots.save(without, entry=entry)
            except VersionConflict:
                continue  # somebody is editing it; the removal looks again who uses the template


def _check_name(name: str) -> None:
    if not name.strip() or len(name) > MAX_TEMPLATE_NAME or not name.isprintable():
        message = f"must have 1 to {MAX_TEMPLATE_NAME} printable characters"
        raise ValidationFailed([Problem(field="name", code="wrong_form", message=message)])


def _without(slot: Slot, template_id: str) -> Slot:
    def unbound(call: ProviderCall) -> ProviderCall:
        left = tuple(binding for binding in call.template_media if binding.template_id != template_id)
        return replace(call, template_media=left)

    configuration: SlotConfiguration = slot.configuration
    fallback = configuration.fallback
    return replace(
        slot,
        configuration=replace(
            configuration,
            call=unbound(configuration.call),
            fallback=None if fallback is None else unbound(fallback),
        ),
    )
