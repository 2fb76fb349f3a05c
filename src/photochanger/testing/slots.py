"""The contracts of `SlotRepository` and `SettingsRepository`."""

import asyncio
import contextlib
from copy import deepcopy
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from photochanger.application.ports.signals import Topic
from photochanger.domain.audit import Actor, AuditAction, AuditEntry, Change
from photochanger.domain.errors import SlotNotFound, TemplateNotFound, VersionConflict
from photochanger.domain.settings import (
    CleanupSettings,
    IngestSettings,
    LimitSettings,
    ResultSettings,
    Settings,
)
from photochanger.domain.slot import SLOT_IDS, Slot, SlotId, TemplateBinding
from photochanger.testing.harness import (
    A_SLOT,
    ANOTHER_SLOT,
    Records,
    RecordsContract,
    a_configuration,
    a_pending_job,
    a_template,
    an_entry,
    entries,
    new_id,
    present,
)


def _binding(slot: Slot, *template_ids: str, in_fallback: bool = False) -> Slot:
    """Return the slot with a call, or a fallback, that binds the templates."""
    bound = tuple(TemplateBinding(role=f"role-{each}", template_id=each) for each in template_ids)
    call = replace(slot.configuration.call, template_media=bound)
    if in_fallback:
        return replace(slot, configuration=replace(slot.configuration, fallback=call))
    return replace(slot, configuration=replace(slot.configuration, call=call))


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
        configuration = a_configuration((await a_template(records)).template_id)
        slot = replace(
            await records.slots.get(A_SLOT), configuration=configuration, ingest_password_hash="$hash$"
        )
        saved = await records.slots.save(slot, entry=an_entry("игорь"))
        assert saved == replace(slot, version=2, updated_at=saved.updated_at, updated_by="игорь")
        assert await records.slots.get(A_SLOT) == saved
        assert (await records.slots.list())[0] == saved
        assert (await records.slots.get(ANOTHER_SLOT)).version == 1

    async def test_a_field_can_be_emptied_again(self, records: Records) -> None:
        slot = replace(await records.slots.get(A_SLOT), ingest_password_hash="$hash$")
        saved = await records.slots.save(slot, entry=an_entry("serg"))
        emptied = await records.slots.save(replace(saved, ingest_password_hash=None), entry=an_entry("igor"))
        assert (emptied.ingest_password_hash, emptied.version, emptied.updated_by) == (None, 3, "igor")

    async def test_updated_at_is_the_stores_time(self, records: Records) -> None:
        before = await a_pending_job(records)
        saved = await records.slots.save(await records.slots.get(A_SLOT), entry=an_entry("serg"))
        after = await present(records, before)
        assert saved.updated_at is not None
        assert before.now <= saved.updated_at <= after.now

    async def test_who_comes_second_with_a_version_is_told(self, records: Records) -> None:
        slot = await records.slots.get(A_SLOT)
        saved = await records.slots.save(slot, entry=an_entry("serg"))
        with pytest.raises(VersionConflict):
            await records.slots.save(replace(slot, ingest_password_hash="x"), entry=an_entry("igor"))
        assert await records.slots.get(A_SLOT) == saved

    async def test_of_concurrent_writers_with_one_version_one_wins(self, records: Records) -> None:
        """And it alone is in the audit log."""
        slot = await records.slots.get(A_SLOT)
        results = await asyncio.gather(
            *(records.slots.save(slot, entry=an_entry(f"admin-{number}")) for number in range(10)),
            return_exceptions=True,
        )
        [winner] = [result for result in results if isinstance(result, Slot)]
        assert sum(isinstance(result, VersionConflict) for result in results) == 9
        assert await records.slots.get(A_SLOT) == winner
        assert [entry.actor.name for entry in await entries(records)] == [winner.updated_by]

    async def test_an_unknown_slot_cannot_be_saved(self, records: Records) -> None:
        slot = replace(await records.slots.get(A_SLOT), slot_id=SlotId("slot-016"))
        with pytest.raises(SlotNotFound):
            await records.slots.save(slot, entry=an_entry("serg"))
        assert len(await records.slots.list()) == len(SLOT_IDS)

    async def test_saving_announces_that_the_configuration_changed(self, records: Records) -> None:
        with records.signals.subscribe(Topic.CONFIGURATION_CHANGED) as subscription:
            saved = await records.slots.save(await records.slots.get(A_SLOT), entry=an_entry("serg"))
            assert await subscription.wait(5)
        assert await records.slots.get(A_SLOT) == saved

    async def test_a_returned_slot_is_a_copy(self, records: Records) -> None:
        configuration = a_configuration((await a_template(records)).template_id)
        slot = replace(await records.slots.get(A_SLOT), configuration=deepcopy(configuration))
        saved = await records.slots.save(slot, entry=an_entry("serg"))
        for held in (slot, saved, await records.slots.get(A_SLOT), (await records.slots.list())[0]):
            held.configuration.call.params["prompt"] = "x"  # type: ignore[index] # behind everyone's back
        assert (await records.slots.get(A_SLOT)).configuration == configuration

    async def test_a_change_and_its_entry_are_written_together(self, records: Records) -> None:
        entry = AuditEntry(
            action=AuditAction.SLOT_CHANGED,
            actor=Actor(name="serg", origin="192.0.2.7"),
            subject=A_SLOT,
            changes={"is_active": Change(old=False, new=True)},
        )
        saved = await records.slots.save(await records.slots.get(A_SLOT), entry=entry)
        assert await entries(records) == [entry]
        assert saved.updated_by == "serg"

    async def test_where_nothing_is_saved_there_is_no_entry(self, records: Records) -> None:
        slot = await records.slots.get(A_SLOT)
        for stale in (
            replace(slot, version=2),
            replace(slot, slot_id=SlotId("slot-016")),
            _binding(slot, "t"),
        ):
            with pytest.raises((VersionConflict, SlotNotFound, TemplateNotFound)):
                await records.slots.save(stale, entry=an_entry())
        assert await entries(records) == []
        assert await records.slots.get(A_SLOT) == slot

    async def test_however_many_save_at_once_no_change_is_lost(self, records: Records) -> None:
        async def rename(number: int) -> int:
            while True:
                slot = await records.slots.get(A_SLOT)
                names = f"{slot.configuration.display_name} {number}"
                renamed = replace(slot, configuration=replace(slot.configuration, display_name=names))
                with contextlib.suppress(VersionConflict):
                    return (await records.slots.save(renamed, entry=an_entry(str(number)))).version

        versions = await asyncio.gather(*map(rename, range(100)))
        assert sorted(versions) == list(range(2, 102))
        names = (await records.slots.get(A_SLOT)).configuration.display_name.split()
        assert sorted(names, key=int) == [str(number) for number in range(100)]
        assert [entry.actor.name for entry in await entries(records)] == names

    @pytest.mark.parametrize("in_fallback", [False, True])
    async def test_a_slot_binds_only_templates_that_there_are(
        self, records: Records, *, in_fallback: bool
    ) -> None:
        there, gone = await a_template(records), await a_template(records)
        await records.templates.remove(gone.template_id, entry=an_entry())
        slot = await records.slots.get(A_SLOT)
        for missing in (gone.template_id, new_id(), "t-1", ""):
            bound = (there.template_id, missing)
            with pytest.raises(TemplateNotFound):
                await records.slots.save(_binding(slot, *bound, in_fallback=in_fallback), entry=an_entry())
        assert await records.slots.get(A_SLOT) == slot
        assert await records.templates.users(there.template_id) == []

    async def test_who_has_an_old_version_is_told_so_whatever_is_bound(self, records: Records) -> None:
        slot = await records.slots.get(A_SLOT)
        with pytest.raises(VersionConflict):
            await records.slots.save(_binding(replace(slot, version=7), "t-1"), entry=an_entry())


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
            max_waiting=77,
        ),
        cleanup=CleanupSettings(enabled=False, interval_sec=60, history_days=90),
    )


class SettingsRepositoryContract(RecordsContract):
    """Every sentence of `SettingsRepository`; override the fixture `records`."""

    async def test_settings_never_saved_are_the_defaults_in_version_1(self, records: Records) -> None:
        assert await records.settings.get() == Settings(version=1)

    async def test_every_field_of_saved_settings_is_kept(self, records: Records) -> None:
        saved = await records.settings.save(_other_settings(), entry=an_entry("игорь"))
        assert saved == replace(_other_settings(), version=2, updated_at=saved.updated_at, updated_by="игорь")
        assert await records.settings.get() == saved

    async def test_updated_at_is_the_stores_time(self, records: Records) -> None:
        before = await a_pending_job(records)
        saved = await records.settings.save(Settings(), entry=an_entry("serg"))
        after = await present(records, before)
        assert saved.updated_at is not None
        assert before.now <= saved.updated_at <= after.now

    async def test_who_comes_second_with_a_version_is_told(self, records: Records) -> None:
        saved = await records.settings.save(_other_settings(), entry=an_entry("serg"))
        for version in (1, 3):
            with pytest.raises(VersionConflict):
                await records.settings.save(Settings(version=version), entry=an_entry("igor"))
        assert await records.settings.get() == saved

    async def test_of_concurrent_writers_with_one_version_one_wins(self, records: Records) -> None:
        results = await asyncio.gather(
            *(records.settings.save(Settings(), entry=an_entry(f"admin-{number}")) for number in range(10)),
            return_exceptions=True,
        )
        [winner] = [result for result in results if isinstance(result, Settings)]
        assert sum(isinstance(result, VersionConflict) for result in results) == 9
        assert await records.settings.get() == winner
        assert [entry.actor.name for entry in await entries(records)] == [winner.updated_by]

    async def test_a_change_and_its_entry_are_written_together(self, records: Records) -> None:
        entry = an_entry("serg", AuditAction.INGEST_PASSWORD_ROTATED)
        assert (await records.settings.save(Settings(), entry=entry)).updated_by == "serg"
        assert await entries(records) == [entry]

    async def test_where_nothing_is_saved_there_is_no_entry(self, records: Records) -> None:
        with pytest.raises(VersionConflict):
            await records.settings.save(Settings(version=2), entry=an_entry())
        assert await entries(records) == []

    async def test_however_many_save_at_once_no_change_is_lost(self, records: Records) -> None:
        async def count_up(number: int) -> int:
            while True:
                settings = await records.settings.get()
                interval_sec = settings.cleanup.interval_sec + number
                changed = replace(settings, cleanup=replace(settings.cleanup, interval_sec=interval_sec))
                with contextlib.suppress(VersionConflict):
                    return (await records.settings.save(changed, entry=an_entry(str(number)))).version

        versions = await asyncio.gather(*map(count_up, range(30)))
        assert sorted(versions) == list(range(2, 32))
        assert (await records.settings.get()).cleanup.interval_sec == 15 + sum(range(30))
        actors = [entry.actor.name for entry in await entries(records)]
        assert sorted(actors, key=lambda name: int(name or "")) == [str(number) for number in range(30)]

    async def test_saving_announces_that_the_configuration_changed(self, records: Records) -> None:
        with records.signals.subscribe(Topic.CONFIGURATION_CHANGED) as subscription:
            await records.settings.save(Settings(), entry=an_entry("serg"))
            assert await subscription.wait(5)

    async def test_returned_settings_are_a_copy(self, records: Records) -> None:
        given = _other_settings()
        saved = await records.settings.save(given, entry=an_entry("serg"))
        for held in (given, saved, await records.settings.get()):
            held.limits.per_provider["gemini"] = 99  # type: ignore[index] # behind everyone's back
        assert (await records.settings.get()).limits.per_provider == {"gemini": 4}
