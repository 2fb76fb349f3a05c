"""Changing the installation's settings while it runs."""

from collections.abc import Collection
from dataclasses import asdict, dataclass, replace
from typing import Any

from photochanger.application.ports.auth import PasswordHasher
from photochanger.application.ports.clock import Clock
from photochanger.application.ports.configuration import SettingsRepository
from photochanger.domain.audit import Actor, AuditAction, AuditEntry, Change, changes_between
from photochanger.domain.errors import VersionConflict
from photochanger.domain.settings import IngestSettings, Settings, validate_settings

_OF_THE_PASSWORD = frozenset({"password_hash", "password_updated_at", "password_updated_by"})
_OF_THE_DOCUMENT = frozenset({"version", "updated_at", "updated_by"})


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingsEdit:
    """What the settings are to be: `settings.version` is the one that the editor has seen.

    What the settings say of the password is not looked at; `ingest_password` is a new one, or None.
    """

    settings: Settings
    ingest_password: str | None = None


class EditSettings:
    """Checks new settings, stores them, and records who changed what. They are in force without a restart."""

    def __init__(
        self,
        *,
        settings: SettingsRepository,
        hasher: PasswordHasher,
        clock: Clock,
        providers: Collection[str],
    ) -> None:
        self._settings = settings
        self._hasher = hasher
        self._clock = clock
        self._providers = providers

    async def __call__(self, edit: SettingsEdit, actor: Actor) -> Settings:
        """Return the settings as they are then.

        A new password is in force at once, and the old one no longer, in every process within a second.
        Raises `ValidationFailed` with all problems, and `VersionConflict` where the settings are no longer
        the version that the editor has seen.
        """
        stored = await self._settings.get()
        if edit.settings.version != stored.version:
            raise VersionConflict
        validate_settings(edit.settings, providers=self._providers, password=edit.ingest_password)
        ingest = await self._ingest(stored.ingest, edit, actor)
        rotates = edit.ingest_password is not None
        entry = AuditEntry(
            action=AuditAction.INGEST_PASSWORD_ROTATED if rotates else AuditAction.SETTINGS_CHANGED,
            actor=actor,
            changes=_changes(stored, edit),
        )
        return await self._settings.save(replace(edit.settings, ingest=ingest), entry=entry)

    async def _ingest(self, stored: IngestSettings, edit: SettingsEdit, actor: Actor) -> IngestSettings:
        if edit.ingest_password is None:
            return replace(
                edit.settings.ingest,
                password_hash=stored.password_hash,
                password_updated_at=stored.password_updated_at,
                password_updated_by=stored.password_updated_by,
            )
        return replace(
            edit.settings.ingest,
            password_hash=await self._hasher.hash(edit.ingest_password),
            password_updated_at=self._clock.now(),
            password_updated_by=actor.name,
        )


def settings_document(settings: Settings) -> dict[str, Any]:
    """Return what administrators may change of the settings, as a JSON document; nothing of the password."""
    document = {name: value for name, value in asdict(settings).items() if name not in _OF_THE_DOCUMENT}
    document["ingest"] = {
        name: value for name, value in document["ingest"].items() if name not in _OF_THE_PASSWORD
    }
    return document


def _changes(stored: Settings, edit: SettingsEdit) -> dict[str, Change]:
    changes = changes_between(settings_document(stored), settings_document(edit.settings))
    if edit.ingest_password is not None:
        before = "not set" if stored.ingest.password_hash is None else "set"
        changes["ingest.dslr_password"] = Change(before, "set anew")
    return changes
