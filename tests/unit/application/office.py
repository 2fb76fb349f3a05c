"""The house, with the administrators' office."""

from collections.abc import Mapping

from photochanger.application.administer_jobs import CancelJob, CleanSlot
from photochanger.application.check_slot import CheckSlot
from photochanger.application.edit_settings import EditSettings
from photochanger.application.edit_slot import EditSlot
from photochanger.application.galleries import ShowGallery
from photochanger.application.ports import AuditFilter, Clock
from photochanger.application.register_media import RegisterMedia
from photochanger.application.templates import Templates
from photochanger.application.try_slot import TrySlot
from photochanger.domain.audit import Actor, AuditEntry
from photochanger.domain.operation import ProviderDescription
from photochanger.domain.template import Template
from tests.unit.application.house import PHOTO, House

IGOR = Actor(name="igor", origin="192.0.2.7")


class Office(House):
    """Every use case of administration, over the same records as the house's."""

    def __init__(self, clock: Clock | None = None) -> None:
        super().__init__(clock)
        self.catalogue: Mapping[str, ProviderDescription] = {
            provider.description.name: provider.description
            for provider in (self.provider, self.other_provider)
        }
        self.check_slot = CheckSlot(catalogue=self.catalogue, templates=self.storage.templates)
        self.edit_slot = EditSlot(
            slots=self.storage.slots,
            settings=self.storage.settings,
            jobs=self.jobs,
            check_slot=self.check_slot,
            hasher=self.hasher,
        )
        self.edit_settings = EditSettings(
            settings=self.storage.settings, hasher=self.hasher, clock=self.clock, providers=self.catalogue
        )
        self.templates = Templates(
            templates=self.storage.templates,
            slots=self.storage.slots,
            registry=self.storage.media,
            store=self.storage.files,
            images=self.images,
        )
        self.register_media = RegisterMedia(
            registry=self.storage.media,
            store=self.storage.files,
            images=self.images,
            jobs=self.jobs,
            audit=self.storage.audit,
            configuration=self.configuration,
        )
        self.try_slot = TrySlot(
            configuration=self.configuration, doorkeeper=self.doorkeeper, check_slot=self.check_slot
        )
        self.cancel_job = CancelJob(self.jobs)
        self.clean_slot = CleanSlot(self.jobs)
        self.show_gallery = ShowGallery(history=self.storage.history, configuration=self.configuration)

    async def template(self, name: str = "Рамка", content: bytes = PHOTO) -> Template:
        """Add a template."""
        with self.templates.receiving() as received:
            received.write(content)
            return await self.templates.add(received, name=name, actor=IGOR)

    async def last_entry(self) -> AuditEntry:
        """Return what was added to the audit log last."""
        [event] = await self.storage.audit.page(AuditFilter(), limit=1)
        return event.entry

    async def entries(self) -> int:
        """Return how many entries the audit log has."""
        return len(await self.storage.audit.page(AuditFilter(), limit=1000))
