"""Changing how a slot treats its photos."""

from dataclasses import asdict, dataclass, replace
from enum import Enum, auto
from typing import Any, Final

from photochanger.application.check_slot import CheckSlot
from photochanger.application.ports.auth import PasswordHasher
from photochanger.application.ports.configuration import SettingsRepository, SlotRepository
from photochanger.application.ports.jobs import JobRepository
from photochanger.domain.audit import Actor, AuditAction, AuditEntry, Change, changes_between
from photochanger.domain.errors import SlotNotFound, TemplateNotFound, VersionConflict
from photochanger.domain.settings import password_problems
from photochanger.domain.slot import Slot, SlotConfiguration, parse_slot_id


class Unchanged(Enum):
    """Says of a field that it stays as it is."""

    UNCHANGED = auto()


UNCHANGED: Final = Unchanged.UNCHANGED


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotEdit:
    """What a slot is to be. `version` is the one that the editor has seen.

    `ingest_password` is a new one of its own, None for the global one, or `UNCHANGED`.
    """

    version: int
    configuration: SlotConfiguration
    ingest_password: str | Unchanged | None = UNCHANGED


class EditSlot:
    """Checks a slot's new configuration, stores it, and records who changed what."""

    def __init__(
        self,
        *,
        slots: SlotRepository,
        settings: SettingsRepository,
        jobs: JobRepository,
        check_slot: CheckSlot,
        hasher: PasswordHasher,
    ) -> None:
        self._slots = slots
        self._settings = settings
        self._jobs = jobs
        self._check_slot = check_slot
        self._hasher = hasher

    async def __call__(self, slot_id: str, edit: SlotEdit, actor: Actor) -> Slot:
        """Return the slot as it is then.

        Jobs under way keep the configuration that they came with; where the slot is switched off, those that
        wait are cancelled. Raises `SlotNotFound`, `ValidationFailed` with all problems, and `VersionConflict`
        where the slot is no longer the version that the editor has seen.
        """
        stored = await self.find(slot_id)
        if edit.version != stored.version:
            raise VersionConflict
        await self._check(edit)
        edited = replace(
            stored,
            configuration=edit.configuration,
            ingest_password_hash=await self._password_hash(stored, edit.ingest_password),
        )
        entry = AuditEntry(
            action=AuditAction.SLOT_CHANGED,
            actor=actor,
            subject=stored.slot_id,
            changes=_changes(stored, edit),
        )
        try:
            saved = await self._slots.save(edited, entry=entry)
        except TemplateNotFound:  # removed since it was looked for
            await self._check(edit)
            raise
        if stored.configuration.is_active and not saved.configuration.is_active:
            await self._cancel_pending(saved, actor)
        return saved

    async def find(self, slot_id: str) -> Slot:
        """Return the slot as it is stored. Raises `SlotNotFound`."""
        known = parse_slot_id(slot_id)
        if known is None:
            raise SlotNotFound
        return await self._slots.get(known)

    async def _check(self, edit: SlotEdit) -> None:
        new = edit.ingest_password
        await self._check_slot(
            edit.configuration,
            await self._settings.get(),
            more=[*password_problems(new, "ingest_password")] if isinstance(new, str) else (),
        )

    async def _password_hash(self, stored: Slot, password: str | Unchanged | None) -> str | None:
        match password:
            case Unchanged.UNCHANGED:
                return stored.ingest_password_hash
            case None:
                return None
            case _:
                return await self._hasher.hash(password)

    async def _cancel_pending(self, slot: Slot, actor: Actor) -> None:
        entry = AuditEntry(action=AuditAction.JOB_CANCELLED, actor=actor, subject=slot.slot_id)
        await self._jobs.cancel_pending(slot.slot_id, entry=entry)


def configuration_document(configuration: SlotConfiguration) -> dict[str, Any]:
    """Return a configuration as the JSON document that it is written as everywhere: its call spread out."""
    document = asdict(configuration)
    call: dict[str, Any] = document.pop("call")
    return call | document


def configuration_changes(old: SlotConfiguration, new: SlotConfiguration) -> dict[str, Change]:
    """Return what differs between two configurations, for the audit log."""
    return changes_between(configuration_document(old), configuration_document(new))


def _changes(stored: Slot, edit: SlotEdit) -> dict[str, Change]:
    changes = configuration_changes(stored.configuration, edit.configuration)
    if edit.ingest_password is not UNCHANGED:
        before = "not set" if stored.ingest_password_hash is None else "set"
        after = "not set" if edit.ingest_password is None else "set anew"
        changes["ingest_password"] = Change(before, after)
    return changes
