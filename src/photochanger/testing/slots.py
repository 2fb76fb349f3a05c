"""The contracts of `SlotRepository` and `SettingsRepository`."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from photochanger.application.ports.signals import Topic
from photochanger.domain.errors import SlotNotFound, VersionConflict
from photochanger.domain.settings import (
    CleanupSettings,
    IngestSettings,
    LimitSettings,
    ResultSettings,
    Settings,
)
from photochanger.domain.slot import SLOT_IDS, Slot, SlotId
from photochanger.testing.harness import (
    A_SLOT,
    ANOTHER_SLOT,
    Records,
    RecordsContract,
    a_configuration,
    a_pending_job,
    present,
)


class SlotRepositoryContract(RecordsContract):
    """Every sentence of `SlotRepository`; override the fixture `records`."""

    async def test_there_are_the_fifteen_slots_in_the_order_of_their_ids(self, records: Records) -> None:
        assert tuple(slot.slot_id for slot in await records.slots.list()) == SLOT_IDS

    async def test_new_slots_are_switched_off(self, records: Records) -> None:
        assert not any(slot.configuration.is_active for slot in await records.slots.list())
        assert {slot.version for slot in await records.slots.list()} == {1}

    async def test_an_unknown_slot_is_not_found(self, records: Records) -> None:
        with pytest.raises(SlotNotFound):
            await records.slots.get(SlotId("slot-016"))

    async def test_every_field_of_a_saved_slot_is_kept(self, records: Records) -> None:
        slot = replace(
            await records.slots.get(A_SLOT), configuration=a_configuration(), ingest_password_hash="$hash$"
        )
        saved = await records.slots.save(slot, changed_by="игорь")
        assert saved == replace(slot, version=2, updated_at=saved.updated_at, updated_by="игорь")
        assert await records.slots.get(A_SLOT) == saved
        assert (await records.slots.list())[0] == saved
        assert (await records.slots.get(ANOTHER_SLOT)).version == 1

    async def test_a_field_can_be_emptied_again(self, records: Records) -> None:
        slot = replace(await records.slots.get(A_SLOT), ingest_password_hash="$hash$")
        saved = await records.slots.save(slot, changed_by="serg")
        emptied = await records.slots.save(replace(saved, ingest_password_hash=None), changed_by="igor")
        assert (emptied.ingest_password_hash, emptied.version, emptied.updated_by) == (None, 3, "igor")

    async def test_updated_at_is_the_stores_time(self, records: Records) -> None:
        before = await a_pending_job(records)
        saved = await records.slots.save(await records.slots.get(A_SLOT), changed_by="serg")
        after = await present(records, before)
        assert saved.updated_at is not None
        assert before.now <= saved.updated_at <= after.now

    async def test_who_comes_second_with_a_version_is_told(self, records: Records) -> None:
        slot = await records.slots.get(A_SLOT)
        saved = await records.slots.save(slot, changed_by="serg")
        with pytest.raises(VersionConflict):
            await records.slots.save(replace(slot, ingest_password_hash="x"), changed_by="igor")
        assert await records.slots.get(A_SLOT) == saved

    async def test_of_concurrent_writers_with_one_version_one_wins(self, records: Records) -> None:
        slot = await records.slots.get(A_SLOT)
        results = await asyncio.gather(
            *(records.slots.save(slot, changed_by=f"admin-{number}") for number in range(10)),
            return_exceptions=True,
        )
        [winner] = [result for result in results if isinstance(result, Slot)]
        assert sum(isinstance(result, VersionConflict) for result in results) == 9
        assert await records.slots.get(A_SLOT) == winner

    async def test_an_unknown_slot_cannot_be_saved(self, records: Records) -> None:
        slot = replace(await records.slots.get(A_SLOT), slot_id=SlotId("slot-016"))
        with pytest.raises(SlotNotFound):
            await records.slots.save(slot, changed_by="serg")
        assert len(await records.slots.list()) == len(SLOT_IDS)

    async def test_saving_announces_that_the_configuration_changed(self, records: Records) -> None:
        with records.signals.subscribe(Topic.CONFIGURATION_CHANGED) as subscription:
            saved = await records.slots.save(await records.slots.get(A_SLOT), changed_by="serg")
            assert await subscription.wait(5)
        assert await records.slots.get(A_SLOT) == saved

    async def test_a_returned_slot_is_a_copy(self, records: Records) -> None:
        slot = replace(await records.slots.get(A_SLOT), configuration=a_configuration())
        saved = await records.slots.save(slot, changed_by="serg")
        for held in (slot, saved, await records.slots.get(A_SLOT), (await records.slots.list())[0]):
            held.configuration.call.params["prompt"] = "x"  # type: ignore[index] # behind everyone's back
        assert (await records.slots.get(A_SLOT)).configuration == a_configuration()


def _other_settings() -> Settings:
    return Settings(
        ingest=IngestSettings(
            sync_response_timeout_sec=30,
            password_hash="$argon2id$…",
            password_updated_at=datetime(2026, 1, 14, 9, 30, 0, 123456, tzinfo=UTC),
            password_updated_by="игорь",
            rate_limit_rps=12.5,
            rate_limit_burst=7,
            max_upload_mb=64,
            deduplicate=False,
        ),
        results=ResultSettings(retention_hours=48, gallery_size=25),
        limits=LimitSettings(
            per_slot=2,
            per_provider={"gemini": 4},
            quota_per_minute={"gemini": 60},
            quota_per_day={"gemini": 1000, "turbotext": 500},
        ),
        cleanup=CleanupSettings(enabled=False, interval_sec=60),
    )


class SettingsRepositoryContract(RecordsContract):
    """Every sentence of `SettingsRepository`; override the fixture `records`."""

    async def test_settings_never_saved_are_the_defaults_in_version_1(self, records: Records) -> None:
        assert await records.settings.get() == Settings(version=1)

    async def test_every_field_of_saved_settings_is_kept(self, records: Records) -> None:
        saved = await records.settings.save(_other_settings(), changed_by="игорь")
        assert saved == replace(_other_settings(), version=2, updated_at=saved.updated_at, updated_by="игорь")
        assert await records.settings.get() == saved

    async def test_updated_at_is_the_stores_time(self, records: Records) -> None:
        before = await a_pending_job(records)
        saved = await records.settings.save(Settings(), changed_by="serg")
        after = await present(records, before)
        assert saved.updated_at is not None
        assert before.now <= saved.updated_at <= after.now

    async def test_who_comes_second_with_a_version_is_told(self, records: Records) -> None:
        saved = await records.settings.save(_other_settings(), changed_by="serg")
        for version in (1, 3):
            with pytest.raises(VersionConflict):
                await records.settings.save(Settings(version=version), changed_by="igor")
        assert await records.settings.get() == saved

    async def test_of_concurrent_writers_with_one_version_one_wins(self, records: Records) -> None:
        results = await asyncio.gather(
            *(records.settings.save(Settings(), changed_by=f"admin-{number}") for number in range(10)),
            return_exceptions=True,
        )
        [winner] = [result for result in results if isinstance(result, Settings)]
        assert sum(isinstance(result, VersionConflict) for result in results) == 9
        assert await records.settings.get() == winner

    async def test_saving_announces_that_the_configuration_changed(self, records: Records) -> None:
        with records.signals.subscribe(Topic.CONFIGURATION_CHANGED) as subscription:
            await records.settings.save(Settings(), changed_by="serg")
            assert await subscription.wait(5)

    async def test_returned_settings_are_a_copy(self, records: Records) -> None:
        given = _other_settings()
        saved = await records.settings.save(given, changed_by="serg")
        for held in (given, saved, await records.settings.get()):
            held.limits.per_provider["gemini"] = 99  # type: ignore[index] # behind everyone's back
        assert (await records.settings.get()).limits.per_provider == {"gemini": 4}
