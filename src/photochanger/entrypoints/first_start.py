"""The first start: an installation that nobody has configured becomes one that a booth can use."""

import json
import secrets
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from photochanger.application.edit_settings import EditSettings, SettingsEdit
from photochanger.application.edit_slot import EditSlot, SlotEdit
from photochanger.application.ports import PasswordHasher, SettingsRepository, SlotRepository
from photochanger.domain.audit import COMMAND_LINE, Actor
from photochanger.domain.errors import VersionConflict
from photochanger.domain.permissions import Permission
from photochanger.domain.settings import Settings
from photochanger.domain.slot import SLOT_IDS, ProviderCall, Slot
from photochanger.entrypoints.secret_files import write_new
from photochanger.entrypoints.settings import Environment

STARTER_EFFECTS = ("comic", "sepia", "mirror")
"""What the first slots do, on the rehearsal provider."""

MADE_BY = Actor(name="first start", origin=COMMAND_LINE)

_PASSWORD_ALPHABET = "abcdefghijkmnpqrstuvwxyz23456789"  # noqa: S105 - no look-alikes: it is typed at a booth


@dataclass(frozen=True, slots=True)
class InitialCredentials:
    """What was made up at the first start, in clear; the database and the accounts file hold hashes only."""

    admin_username: str
    admin_password: str
    ingest_password: str


class FirstStart:
    """Makes what is missing: an account, an ingest password, and three slots that work without any key.

    It may be interrupted anywhere and run again, and any number of processes may do it at once: what
    exists is left alone.
    """

    def __init__(
        self,
        *,
        environment: Environment,
        settings: SettingsRepository,
        slots: SlotRepository,
        hasher: PasswordHasher,
        edit_settings: EditSettings,
        edit_slot: EditSlot,
    ) -> None:
        self._environment = environment
        self._settings = settings
        self._slots = slots
        self._hasher = hasher
        self._edit_settings = edit_settings
        self._edit_slot = edit_slot

    @property
    def credentials_note(self) -> Path:
        """The file that holds the initial credentials in clear, for their owner to read and delete."""
        return self._environment.secrets_dir / "initial-credentials.json"

    async def __call__(self) -> InitialCredentials | None:
        """Make what is missing. Returns the initial credentials while they are in force, else None."""
        settings = await self._settings.get()
        if settings.ingest.password_hash is None:
            settings = await self._set_up(settings)
        return await self._still_in_force(settings)

    async def _set_up(self, settings: Settings) -> Settings:
        noted = self._noted() or self._note(_invent())
        await self._make_accounts_file(noted)
        for slot_id, effect in zip(SLOT_IDS, STARTER_EFFECTS, strict=False):
            await self._activate(await self._slots.get(slot_id), effect)
        edit = SettingsEdit(settings=self._seeded(settings), ingest_password=noted.ingest_password)
        try:
            return await self._edit_settings(edit, MADE_BY)
        except VersionConflict:
            return await self._settings.get()

    def _seeded(self, settings: Settings) -> Settings:
        """Return the settings with what the environment gives for the first start."""
        hours, seconds = self._environment.result_ttl_hours, self._environment.temp_ttl_seconds
        return replace(
            settings,
            ingest=replace(
                settings.ingest,
                sync_response_timeout_sec=seconds or settings.ingest.sync_response_timeout_sec,
            ),
            results=replace(settings.results, retention_hours=hours or settings.results.retention_hours),
        )

    async def _activate(self, slot: Slot, effect: str) -> None:
        if slot.version > 1:
            return
        call = ProviderCall(provider="rehearsal", operation="photo_effect", params={"effect": effect})
        configuration = replace(
            slot.configuration, call=call, is_active=True, display_name=f"Rehearsal: {effect}"
        )
        with suppress(VersionConflict):
            edit = SlotEdit(version=slot.version, configuration=configuration)
            await self._edit_slot(slot.slot_id, edit, MADE_BY)

    async def _still_in_force(self, settings: Settings) -> InitialCredentials | None:
        noted = self._noted()
        stored = settings.ingest.password_hash
        if noted is None or stored is None or not await self._hasher.verify(noted.ingest_password, stored):
            return None
        return noted

    async def _make_accounts_file(self, noted: InitialCredentials) -> None:
        account = {
            "username": noted.admin_username,
            "password_hash": await self._hasher.hash(noted.admin_password),
            "permissions": [permission.value for permission in Permission],
        }
        write_new(self._environment.credentials_path, json.dumps({"accounts": [account]}, indent=2))

    def _noted(self) -> InitialCredentials | None:
        try:
            return InitialCredentials(**json.loads(self.credentials_note.read_text()))
        except FileNotFoundError:
            return None

    def _note(self, invented: InitialCredentials) -> InitialCredentials:
        note = {name: getattr(invented, name) for name in InitialCredentials.__slots__}
        write_new(self.credentials_note, json.dumps(note, indent=2))
        return self._noted() or invented


def _invent() -> InitialCredentials:
    return InitialCredentials(
        admin_username="admin",
        admin_password=secrets.token_urlsafe(18),
        ingest_password="".join(secrets.choice(_PASSWORD_ALPHABET) for _ in range(12)),
    )
