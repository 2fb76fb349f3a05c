"""The first start: once, whole, and the same for everyone who comes."""

import asyncio
import json
from dataclasses import replace
from pathlib import Path

import pytest

from photochanger.adapters.credentials_file import CredentialsFile
from photochanger.adapters.memory import FastPasswordHasherForTests, ManualClock, MemoryStorage
from photochanger.adapters.rehearsal import RehearsalProvider
from photochanger.application.check_slot import CheckSlot
from photochanger.application.edit_settings import EditSettings
from photochanger.application.edit_slot import EditSlot
from photochanger.application.ports import AuditFilter
from photochanger.domain.audit import COMMAND_LINE, Actor, AuditAction
from photochanger.domain.permissions import Permission
from photochanger.domain.slot import RetryPolicy, validate_configuration
from photochanger.entrypoints.first_start import FirstStart
from photochanger.entrypoints.settings import Environment
from photochanger.testing.harness import an_entry

pytestmark = pytest.mark.anyio


@pytest.fixture
def storage() -> MemoryStorage:
    return MemoryStorage()


def a_first_start(storage: MemoryStorage, folder: Path) -> FirstStart:
    return in_environment(storage, Environment(data_dir=folder))


def in_environment(storage: MemoryStorage, environment: Environment) -> FirstStart:
    hasher = FastPasswordHasherForTests()
    catalogue = {"rehearsal": RehearsalProvider().description}
    return FirstStart(
        environment=environment,
        settings=storage.settings,
        slots=storage.slots,
        hasher=hasher,
        edit_settings=EditSettings(
            settings=storage.settings, hasher=hasher, clock=ManualClock(), providers=catalogue
        ),
        edit_slot=EditSlot(
            slots=storage.slots,
            settings=storage.settings,
            jobs=storage.jobs,
            check_slot=CheckSlot(catalogue=catalogue, templates=storage.templates),
            hasher=hasher,
        ),
    )


async def test_it_makes_a_password_an_account_and_three_slots(storage: MemoryStorage, tmp_path: Path) -> None:
    first_start = a_first_start(storage, tmp_path)

    made = await first_start()

    assert made is not None
    settings = await storage.settings.get()
    assert settings.ingest.password_hash
    assert made.ingest_password not in settings.ingest.password_hash
    assert settings.ingest.password_updated_by == "first start"
    assert settings.ingest.password_updated_at is not None
    active = [slot for slot in await storage.slots.list() if slot.configuration.is_active]
    assert [slot.slot_id for slot in active] == ["slot-001", "slot-002", "slot-003"]
    note = json.loads(first_start.credentials_note.read_text())
    assert set(note) == {"admin_username", "admin_password", "ingest_password"}
    accounts = (tmp_path / "secrets" / "runtime_credentials.json").read_text()
    assert note["admin_password"] not in accounts


async def test_its_slots_are_valid(storage: MemoryStorage, tmp_path: Path) -> None:
    await a_first_start(storage, tmp_path)()
    catalogue = {"rehearsal": RehearsalProvider().description}

    for slot in await storage.slots.list():
        if slot.configuration.is_active:
            validate_configuration(
                slot.configuration,
                catalogue,
                max_upload_mb=200,
                sync_response_timeout_sec=10,
                templates={},
            )
            assert slot.configuration.retry == RetryPolicy()


async def test_only_the_owner_can_read_the_secrets(storage: MemoryStorage, tmp_path: Path) -> None:
    await a_first_start(storage, tmp_path)()

    secrets = tmp_path / "secrets"
    assert secrets.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in secrets.iterdir()} == {0o600}
    assert {path.name for path in secrets.iterdir()} == {
        "initial-credentials.json",
        "runtime_credentials.json",
    }


async def test_a_second_start_changes_nothing(storage: MemoryStorage, tmp_path: Path) -> None:
    first = await a_first_start(storage, tmp_path)()
    settings, slots = await storage.settings.get(), await storage.slots.list()

    assert await a_first_start(storage, tmp_path)() == first
    assert (await storage.settings.get(), await storage.slots.list()) == (settings, slots)


async def test_the_environment_seeds_the_settings_once(storage: MemoryStorage, tmp_path: Path) -> None:
    for hours, seconds in ((24, 33), (100, 44)):
        environment = Environment(data_dir=tmp_path, result_ttl_hours=hours, temp_ttl_seconds=seconds)
        assert await in_environment(storage, environment)() is not None

    settings = await storage.settings.get()
    assert settings.results.retention_hours == 24
    assert settings.ingest.sync_response_timeout_sec == 33


async def test_its_accounts_can_be_read_as_such(storage: MemoryStorage, tmp_path: Path) -> None:
    await a_first_start(storage, tmp_path)()

    accounts = CredentialsFile(tmp_path / "secrets" / "runtime_credentials.json")
    accounts.check()
    [account] = await accounts.list()
    assert (account.username, account.permissions) == ("admin", frozenset(Permission))


async def test_several_at_once_agree(storage: MemoryStorage, tmp_path: Path) -> None:
    made = await asyncio.gather(*(a_first_start(storage, tmp_path)() for _ in range(5)))

    assert len({each.ingest_password for each in made if each}) == 1
    assert None not in made


async def test_what_an_administrator_has_set_is_left_alone(storage: MemoryStorage, tmp_path: Path) -> None:
    first_start = a_first_start(storage, tmp_path)
    await first_start()
    settings = await storage.settings.get()
    ingest = replace(settings.ingest, password_hash=await FastPasswordHasherForTests().hash("changed"))
    await storage.settings.save(replace(settings, ingest=ingest), entry=an_entry("admin"))

    assert await first_start() is None


async def test_a_note_of_another_installation_is_not_taken_for_this_ones(
    storage: MemoryStorage, tmp_path: Path
) -> None:
    await a_first_start(storage, tmp_path / "here")()

    assert await a_first_start(storage, tmp_path / "elsewhere")() is None


async def test_what_it_did_is_in_the_audit_log_once(storage: MemoryStorage, tmp_path: Path) -> None:
    for _ in range(2):
        await a_first_start(storage, tmp_path)()

    events = await storage.audit.page(AuditFilter(), limit=100)
    assert {event.entry.actor for event in events} == {Actor(name="first start", origin=COMMAND_LINE)}
    assert [(event.entry.action, event.entry.subject) for event in events[::-1]] == [
        (AuditAction.SLOT_CHANGED, "slot-001"),
        (AuditAction.SLOT_CHANGED, "slot-002"),
        (AuditAction.SLOT_CHANGED, "slot-003"),
        (AuditAction.INGEST_PASSWORD_ROTATED, ""),
    ]
