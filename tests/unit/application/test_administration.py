"""What administrators do: slots, settings, templates, links, test runs, jobs."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta

import pytest

from photochanger.application import templates
from photochanger.application.edit_settings import SettingsEdit
from photochanger.application.edit_slot import SlotEdit
from photochanger.application.ports import MediaWriter
from photochanger.domain.audit import AuditAction, Change
from photochanger.domain.errors import (
    GalleryDisabled,
    InvalidRequest,
    JobFinalized,
    JobNotFound,
    PayloadTooLarge,
    SlotNotFound,
    StorageUnavailable,
    TemplateInUse,
    TemplateNotFound,
    UnsupportedMediaType,
    ValidationFailed,
    VersionConflict,
)
from photochanger.domain.job import JobState
from photochanger.domain.media import MediaKind, MediaState
from photochanger.domain.settings import LimitSettings, ResultSettings, Settings
from photochanger.domain.slot import ProviderCall, RetryPolicy, SlotConfiguration, TemplateBinding
from tests.unit.application.house import PHOTO, SLOT
from tests.unit.application.office import IGOR, Office

pytestmark = pytest.mark.anyio

CALL = ProviderCall(provider="painter", operation="paint", params={"strength": 7})
SECRET = "hunter2-hunter2"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def office() -> Office:
    return Office()


def an_edit(version: int = 1, **terms: object) -> SlotEdit:
    configuration = SlotConfiguration(call=CALL, is_active=True, display_name="Фотозона")
    password = {"ingest_password": terms.pop("ingest_password")} if "ingest_password" in terms else {}
    return SlotEdit(version=version, configuration=replace(configuration, **terms), **password)  # type: ignore[arg-type]


class TestEditSlot:
    async def test_a_slot_is_stored_with_its_editor_and_the_log_tells_what_changed(
        self, office: Office
    ) -> None:
        saved = await office.edit_slot(SLOT, an_edit(retry=RetryPolicy(max_attempts=4)), IGOR)
        assert (saved.version, saved.updated_by, saved.configuration.call) == (2, "igor", CALL)
        entry = await office.last_entry()
        assert (entry.action, entry.actor, entry.subject) == (AuditAction.SLOT_CHANGED, IGOR, SLOT)
        assert entry.changes["provider"] == Change("rehearsal", "painter")
        assert entry.changes["params.strength"] == Change(None, 7)
        assert entry.changes["retry.max_attempts"] == Change(2, 4)
        assert "size_limit_mb" not in entry.changes

    async def test_all_problems_are_told_at_once_and_nothing_is_written(self, office: Office) -> None:
        edit = an_edit(
            call=replace(CALL, params={"strength": "much", "speed": 1}),
            size_limit_mb=0,
            sync_response_timeout_sec=5,
            ingest_password="short",
        )
        with pytest.raises(ValidationFailed) as failed:
            await office.edit_slot(SLOT, edit, IGOR)
        fields = {problem.field for problem in failed.value.problems}
        assert fields >= {
            "params.strength",
            "params.speed",
            "size_limit_mb",
            "sync_response_timeout_sec",
            "ingest_password",
        }
        assert (await office.storage.slots.get(SLOT)).version == 1
        assert await office.entries() == 0

    async def test_a_version_that_is_not_the_present_one_is_refused(self, office: Office) -> None:
        for version in (0, 2):
            with pytest.raises(VersionConflict):
                await office.edit_slot(SLOT, an_edit(version=version), IGOR)

    async def test_of_two_editors_the_second_is_refused_and_the_first_keeps_what_they_did(
        self, office: Office
    ) -> None:
        edits = (an_edit(display_name=f"editor {number}") for number in range(10))
        outcomes = await asyncio.gather(
            *(office.edit_slot(SLOT, edit, IGOR) for edit in edits), return_exceptions=True
        )
        [winner] = [outcome for outcome in outcomes if not isinstance(outcome, BaseException)]
        assert sum(isinstance(outcome, VersionConflict) for outcome in outcomes) == 9
        assert (await office.storage.slots.get(SLOT)) == winner
        assert await office.entries() == 1

    async def test_unknown_slots_are_not_found(self, office: Office) -> None:
        for slot_id in ("slot-016", "", "ѕlot-001"):
            with pytest.raises(SlotNotFound):
                await office.edit_slot(slot_id, an_edit(), IGOR)

    async def test_a_password_is_hashed_kept_and_taken_away_and_never_told(self, office: Office) -> None:
        saved = await office.edit_slot(SLOT, an_edit(ingest_password=SECRET), IGOR)
        stored = saved.ingest_password_hash
        assert stored is not None
        assert await office.hasher.verify(SECRET, stored)
        assert (await office.last_entry()).changes["ingest_password"] == Change("not set", "set anew")
        assert SECRET not in repr(await office.last_entry())
        kept = await office.edit_slot(SLOT, an_edit(version=2), IGOR)
        assert kept.ingest_password_hash == stored
        assert not (await office.last_entry()).changes
        gone = await office.edit_slot(SLOT, an_edit(version=3, ingest_password=None), IGOR)
        assert gone.ingest_password_hash is None
        assert (await office.last_entry()).changes == {"ingest_password": Change("set", "not set")}

    async def test_a_job_keeps_the_configuration_it_came_with(self, office: Office) -> None:
        await office.set_up()
        submitted = await office.submit()
        stored = await office.storage.slots.get(SLOT)
        await office.edit_slot(SLOT, an_edit(version=stored.version), IGOR)
        assert (await office.state_of(submitted)).job.configuration == stored.configuration

    async def test_switching_off_cancels_what_waits_and_lets_what_is_under_way_finish(
        self, office: Office
    ) -> None:
        slot = await office.set_up()
        under_way, waiting = await office.submit(), await office.submit()
        await office.claim()
        off = replace(
            an_edit(version=slot.version), configuration=replace(slot.configuration, is_active=False)
        )
        await office.edit_slot(SLOT, off, IGOR)
        assert (await office.state_of(under_way)).job.state is JobState.PROCESSING
        cancelled = (await office.state_of(waiting)).job
        assert cancelled.state is JobState.CANCELLED
        entry = await office.last_entry()
        assert (entry.action, entry.subject) == (AuditAction.JOB_CANCELLED, cancelled.job_id)

    async def test_a_template_that_is_not_there_is_a_problem_of_its_field(self, office: Office) -> None:
        call = replace(CALL, template_media=(TemplateBinding(role="style", template_id="0" * 32),))
        with pytest.raises(ValidationFailed) as failed:
            await office.edit_slot(SLOT, an_edit(call=call), IGOR)
        assert [problem.field for problem in failed.value.problems] == ["template_media[0].template_id"]


class TestEditSettings:
    async def test_settings_are_stored_and_the_log_tells_what_changed(self, office: Office) -> None:
        edit = SettingsEdit(
            settings=Settings(
                results=ResultSettings(retention_hours=48), limits=LimitSettings(quota_per_day={"painter": 9})
            )
        )
        saved = await office.edit_settings(edit, IGOR)
        assert (saved.version, saved.updated_by, saved.results.retention_hours) == (2, "igor", 48)
        entry = await office.last_entry()
        assert entry.action is AuditAction.SETTINGS_CHANGED
        assert entry.changes == {
            "limits.quota_per_day.painter": Change(None, 9),
            "results.retention_hours": Change(72, 48),
        }

    async def test_a_new_password_replaces_the_old_one_and_is_never_told(self, office: Office) -> None:
        saved = await office.edit_settings(SettingsEdit(settings=Settings(), ingest_password=SECRET), IGOR)
        ingest = saved.ingest
        assert ingest.password_hash is not None
        assert await office.hasher.verify(SECRET, ingest.password_hash)
        assert (ingest.password_updated_by, ingest.password_updated_at is None) == ("igor", False)
        entry = await office.last_entry()
        assert entry.action is AuditAction.INGEST_PASSWORD_ROTATED
        assert entry.changes == {"ingest.dslr_password": Change("not set", "set anew")}
        kept = await office.edit_settings(SettingsEdit(settings=Settings(version=2)), IGOR)
        assert kept.ingest == ingest

    async def test_all_problems_are_told_at_once(self, office: Office) -> None:
        bad = Settings(
            results=ResultSettings(retention_hours=1),
            limits=LimitSettings(per_slot=0, per_provider={"nobody": 3}, quota_per_minute={"painter": 0}),
        )
        with pytest.raises(ValidationFailed) as failed:
            await office.edit_settings(SettingsEdit(settings=bad, ingest_password="short"), IGOR)
        assert {problem.field for problem in failed.value.problems} == {
            "results.retention_hours",
            "limits.per_slot",
            "limits.per_provider.nobody",
            "limits.quota_per_minute.painter",
            "ingest.dslr_password",
        }
        assert await office.entries() == 0

    async def test_a_version_that_is_not_the_present_one_is_refused(self, office: Office) -> None:
        with pytest.raises(VersionConflict):
            await office.edit_settings(SettingsEdit(settings=Settings(version=2)), IGOR)


class TestTemplates:
    async def test_a_template_is_kept_as_it_came_with_a_preview(self, office: Office) -> None:
        template = await office.template("Рамка «Зима»")
        assert (template.name, template.created_by) == ("Рамка «Зима»", "igor")
        read = office.templates.content(template.image, MediaKind.TEMPLATE).read()
        assert b"".join([chunk async for chunk in read]) == PHOTO
        read = office.templates.content(template.preview, MediaKind.PREVIEW).read()
        assert b"".join([chunk async for chunk in read]) == b"preview"
        entry = await office.last_entry()
        assert (entry.action, entry.subject) == (AuditAction.TEMPLATE_ADDED, template.template_id)

    @pytest.mark.parametrize("name", ["", " ", "x" * 121, "a\nb", "a\0b"])
    async def test_a_name_that_is_none_is_refused(self, office: Office, name: str) -> None:
        with pytest.raises(ValidationFailed):
            await office.template(name)
        assert await office.templates.list() == []

    @pytest.mark.parametrize(("content", "error"), [(b"", InvalidRequest), (b"text", UnsupportedMediaType)])
    async def test_what_is_no_image_is_refused_and_leaves_nothing(
        self, office: Office, content: bytes, error: type[Exception]
    ) -> None:
        with pytest.raises(error):
            await office.template(content=content)
        assert await office.files() == []

    async def test_what_is_stored_of_a_template_that_finds_no_room_goes_with_the_next_sweep(
        self, office: Office
    ) -> None:
        office.storage.files.capacity_bytes = len(PHOTO + b"preview") - 1
        with pytest.raises(StorageUnavailable):
            await office.template()
        assert await office.files() == ["template"]
        await office.sweep()
        assert (await office.files(), office.living_rows()) == ([], [])

    async def test_a_template_that_is_not_stored_in_time_is_given_up(
        self, office: Office, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        create = office.storage.files.create

        @asynccontextmanager
        async def hang(key: str) -> AsyncIterator[MediaWriter]:
            async with create(key) as writer:
                await asyncio.Event().wait()
                yield writer

        monkeypatch.setattr(templates, "STORED_WITHIN", timedelta(milliseconds=50))
        monkeypatch.setattr(office.storage.files, "create", hang)
        with pytest.raises(StorageUnavailable, match="too long"):
            await office.template()
        await office.sweep()
        assert office.living_rows() == []

    async def test_too_many_bytes_are_refused_as_they_come(self, office: Office) -> None:
        with office.templates.receiving() as received:
            for _ in range(50):
                received.write(bytes(1_000_000))
            with pytest.raises(PayloadTooLarge):
                received.write(b"x")

    async def test_a_template_in_use_is_only_removed_by_force_which_unbinds_it(self, office: Office) -> None:
        template = await office.template()
        call = replace(
            CALL, template_media=(TemplateBinding(role="style", template_id=template.template_id),)
        )
        await office.edit_slot(SLOT, an_edit(call=call), IGOR)
        assert await office.templates.users(template) == [SLOT]
        with pytest.raises(TemplateInUse) as in_use:
            await office.templates.remove(template.template_id, force=False, actor=IGOR)
        assert in_use.value.slot_ids == (SLOT,)
        await office.templates.remove(template.template_id, force=True, actor=IGOR)
        slot = await office.storage.slots.get(SLOT)
        assert (slot.configuration.call.template_media, slot.version) == ((), 3)
        assert (await office.last_entry()).action is AuditAction.TEMPLATE_REMOVED
        await office.sweep()
        assert await office.files() == []

    async def test_a_template_that_is_not_there_is_not_found(self, office: Office) -> None:
        with pytest.raises(TemplateNotFound):
            await office.templates.get("0" * 32)
        with pytest.raises(TemplateNotFound):
            await office.templates.remove("0" * 32, force=True, actor=IGOR)


class TestRegisterMedia:
    async def test_an_image_that_finds_no_room_leaves_nothing(self, office: Office) -> None:
        with office.register_media.receiving(1_000_000) as received:
            received.write(PHOTO)
            office.storage.files.capacity_bytes = len(PHOTO) - 1
            with pytest.raises(StorageUnavailable):
                await office.register_media(received, job_id=None, actor=IGOR)
        await office.sweep()
        assert (await office.files(), office.living_rows()) == ([], [])

    async def _registered(self, office: Office, job_id: str | None = None) -> str:
        with office.register_media.receiving(1_000_000) as received:
            received.write(PHOTO)
            return (await office.register_media(received, job_id=job_id, actor=IGOR)).media_id

    async def test_the_link_lives_as_long_as_a_photo_may_take(self, office: Office) -> None:
        media_id = await self._registered(office)
        media = office.storage.records.media[media_id].media  # type: ignore[index]
        assert (media.kind, media.state) == (MediaKind.PROVIDER_LINK, MediaState.STORED)
        assert media.expires_at is not None
        assert 47.5 < (media.expires_at - media.created_at).total_seconds() <= 48
        entry = await office.last_entry()
        assert (entry.action, entry.subject) == (AuditAction.MEDIA_REGISTERED, media_id)

    async def test_for_a_job_it_is_the_slots_time(self, office: Office) -> None:
        await office.set_up(sync_response_timeout_sec=20)
        submitted = await office.submit()
        media_id = await self._registered(office, submitted.reading.job.job_id)
        media = office.storage.records.media[media_id].media  # type: ignore[index]
        assert media.expires_at is not None
        assert (media.expires_at - media.created_at).total_seconds() <= 20
        assert media.slot_id == SLOT

    async def test_a_job_that_is_final_or_unknown_needs_no_link(self, office: Office) -> None:
        with pytest.raises(JobNotFound):
            await self._registered(office, "0" * 32)
        await office.set_up()
        submitted = await office.submit()
        await office.cancel_job(submitted.reading.job.job_id, IGOR)
        with pytest.raises(JobFinalized):
            await self._registered(office, submitted.reading.job.job_id)


class TestTrySlot:
    async def test_a_slot_that_is_off_can_be_tried_with_its_saved_configuration(self, office: Office) -> None:
        admission = await office.try_slot.admit(SLOT, arrived_at=0.0)
        assert admission.limit_bytes == 200_000_000
        decided = await office.try_slot.decide(admission, None, size_bytes=5)
        assert decided.slot == await office.storage.slots.get(SLOT)
        assert (decided.deadline, decided.limit_bytes) == (48.0, 50_000_000)

    async def test_an_unsaved_configuration_is_checked_and_used(self, office: Office) -> None:
        admission = await office.try_slot.admit(SLOT, arrived_at=100.0)
        unsaved = SlotConfiguration(call=CALL, sync_response_timeout_sec=12, size_limit_mb=1)
        decided = await office.try_slot.decide(admission, unsaved, size_bytes=5)
        assert (decided.slot.configuration, decided.deadline) == (unsaved, 112.0)
        with pytest.raises(PayloadTooLarge):
            await office.try_slot.decide(admission, unsaved, size_bytes=1_000_001)
        with pytest.raises(ValidationFailed):
            await office.try_slot.decide(admission, replace(unsaved, size_limit_mb=0), size_bytes=5)
        assert (await office.storage.slots.get(SLOT)).version == 1


class TestJobs:
    async def test_a_job_is_cancelled_once(self, office: Office) -> None:
        await office.set_up()
        job_id = (await office.submit()).reading.job.job_id
        cancelled = await office.cancel_job(job_id, IGOR)
        assert cancelled.job.state is JobState.CANCELLED
        with pytest.raises(JobFinalized):
            await office.cancel_job(job_id, IGOR)
        for unknown in ("0" * 32, "x", ""):
            with pytest.raises(JobNotFound):
                await office.cancel_job(unknown, IGOR)

    async def test_cleaning_a_slot_ends_its_results(self, office: Office) -> None:
        await office.set_up()
        await office.submit()
        await office.process_job(await office.claim())
        assert len((await office.show_gallery(SLOT)).jobs) == 1
        ended = await office.clean_slot(SLOT, IGOR)
        assert (ended.results, ended.size_bytes) == (1, len(PHOTO + b", painted") + len(b"preview"))
        assert (await office.show_gallery(SLOT)).jobs == []
        assert (await office.last_entry()).action is AuditAction.SLOT_CLEANED
        with pytest.raises(SlotNotFound):
            await office.clean_slot("slot-099", IGOR)

    async def test_a_gallery_can_be_switched_off(self, office: Office) -> None:
        await office.set_up(public_gallery=False)
        with pytest.raises(GalleryDisabled):
            await office.show_gallery(SLOT)
        assert await office.show_gallery.recent(SLOT) == []
