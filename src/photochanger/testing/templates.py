"""The contract of `TemplateRepository`."""

import asyncio
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import pytest

from photochanger.domain.audit import Actor, AuditAction, AuditEntry
from photochanger.domain.errors import InternalError, TemplateInUse, TemplateNotFound
from photochanger.domain.media import MediaId, MediaKind, MediaState, StoredImage
from photochanger.domain.slot import Slot, SlotId, TemplateBinding
from photochanger.domain.template import Template
from photochanger.testing.harness import (
    A_SLOT,
    ANOTHER_SLOT,
    HOUR,
    SECOND,
    Records,
    RecordsContract,
    a_completed_job,
    a_pending_job,
    a_template,
    an_entry,
    an_image,
    announced,
    doomed_ids,
    entries,
    new_id,
    present,
)

_ADDED = AuditEntry(action=AuditAction.TEMPLATE_ADDED, actor=Actor(name="игорь", origin="192.0.2.7"))


def _ids(templates: Sequence[Template]) -> list[str]:
    return [template.template_id for template in templates]


def _files(template: Template) -> set[MediaId]:
    return {template.image.media_id, template.preview.media_id}


async def _state(records: Records, image: StoredImage) -> MediaState:
    media = await records.media.get(image.media_id)
    assert media is not None
    return media.state


async def _bind(records: Records, slot_id: SlotId, *template_ids: str, fallback: Sequence[str] = ()) -> Slot:
    """Let the slot bind these templates in its call, and those in its fallback, and no others."""
    slot = _binding(await records.slots.get(slot_id), template_ids, fallback)
    return await records.slots.save(slot, entry=an_entry())


def _binding(slot: Slot, template_ids: Sequence[str], fallback: Sequence[str] = ()) -> Slot:
    call, other = (
        replace(slot.configuration.call, template_media=_bindings(ids)) for ids in (template_ids, fallback)
    )
    configuration = replace(slot.configuration, call=call, fallback=other if fallback else None)
    return replace(slot, configuration=configuration)


def _bindings(ids: Sequence[str]) -> tuple[TemplateBinding, ...]:
    return tuple(TemplateBinding(role=f"role-{number}", template_id=each) for number, each in enumerate(ids))


class TemplateRepositoryContract(RecordsContract):
    """Every sentence of `TemplateRepository`; override the fixture `records`."""

    async def test_every_field_of_a_template_is_kept(self, records: Records) -> None:
        image, preview = [await announced(records, kind) for kind in (MediaKind.TEMPLATE, MediaKind.PREVIEW)]
        template = await records.templates.add(image, preview=preview, name="Рамка ☀", entry=_ADDED)
        assert template == Template(
            name="Рамка ☀",
            image=image,
            preview=preview,
            created_at=template.created_at,
            created_by="игорь",
        )
        assert template.template_id == image.media_id
        assert await records.templates.list() == [template]
        assert await records.templates.find([template.template_id]) == {template.template_id: template}

    async def test_adding_is_in_the_audit_log_with_the_template_as_its_subject(
        self, records: Records
    ) -> None:
        image, preview = [await announced(records, kind) for kind in (MediaKind.TEMPLATE, MediaKind.PREVIEW)]
        await records.templates.add(image, preview=preview, name="x", entry=_ADDED)
        assert await entries(records) == [replace(_ADDED, subject=image.media_id)]

    async def test_created_at_is_the_stores_time(self, records: Records) -> None:
        before = await a_pending_job(records)
        template = await a_template(records)
        after = await present(records, before)
        assert before.now <= template.created_at <= after.now

    async def test_its_files_become_stored_and_have_no_end(self, records: Records) -> None:
        template = await a_template(records)
        for image, kind in ((template.image, MediaKind.TEMPLATE), (template.preview, MediaKind.PREVIEW)):
            media = await records.media.get(image.media_id)
            assert media is not None
            assert (media.state, media.kind) == (MediaState.STORED, kind)
            assert (media.size_bytes, media.sha256) == (image.file.size_bytes, image.file.sha256)
            assert media.image_type is image.info.image_type
            assert media.expires_at is None
        await records.time_passes(10_000 * HOUR)
        assert await doomed_ids(records) == set()

    @pytest.mark.parametrize("is_preview", [False, True])
    @pytest.mark.parametrize(
        "kind", [None, MediaKind.PROVIDER_LINK, MediaKind.RESULT, MediaKind.TEMPLATE, MediaKind.PREVIEW]
    )
    async def test_nothing_is_written_where_a_file_was_not_announced_as_what_it_is(
        self, records: Records, kind: MediaKind | None, *, is_preview: bool
    ) -> None:
        right, wanted = (MediaKind.TEMPLATE, MediaKind.PREVIEW)[:: -1 if not is_preview else 1]
        if kind is wanted:
            kind = None
        good = await announced(records, right)
        bad = an_image() if kind is None else await announced(records, kind)
        image, preview = (good, bad) if is_preview else (bad, good)
        await self._assert_refused(records, image, preview)
        assert await _state(records, good) is MediaState.PENDING

    @pytest.mark.parametrize("number", [0, 1])
    async def test_nothing_is_written_where_a_file_is_condemned(self, records: Records, number: int) -> None:
        images = [await announced(records, kind) for kind in (MediaKind.TEMPLATE, MediaKind.PREVIEW)]
        await records.media.condemn([images[number].media_id])
        await self._assert_refused(records, *images)
        assert await _state(records, images[1 - number]) is MediaState.PENDING

    async def test_one_file_cannot_be_both(self, records: Records) -> None:
        image = await announced(records, MediaKind.TEMPLATE)
        await self._assert_refused(records, image, image)

    async def test_a_template_is_added_once(self, records: Records) -> None:
        template = await a_template(records)
        before = await entries(records)
        for preview in (template.preview, await announced(records, MediaKind.PREVIEW)):
            with pytest.raises(InternalError):
                await records.templates.add(template.image, preview=preview, name="another", entry=_ADDED)
        assert await records.templates.list() == [template]
        assert await entries(records) == before

    async def _assert_refused(self, records: Records, image: StoredImage, preview: StoredImage) -> None:
        with pytest.raises(InternalError):
            await records.templates.add(image, preview=preview, name="x", entry=_ADDED)
        assert await records.templates.list() == []
        assert await records.templates.find([image.media_id]) == {}
        assert await entries(records) == []

    async def test_names_need_not_be_unique(self, records: Records) -> None:
        templates = [await a_template(records, name="the same") for _ in range(2)]
        assert sorted(_ids(await records.templates.list())) == sorted(_ids(templates))

    async def test_the_newest_come_first(self, records: Records) -> None:
        templates = []
        for _ in range(4):
            templates.append(await a_template(records))
            await records.time_passes(SECOND)
        assert _ids(await records.templates.list()) == _ids(templates)[::-1]

    async def test_those_that_there_are_not_are_missing(self, records: Records) -> None:
        first, second = [await a_template(records) for _ in range(2)]
        wanted = [first.template_id, new_id(), "t-1", "", second.template_id, first.template_id]
        assert await records.templates.find(wanted) == {t.template_id: t for t in (first, second)}
        assert await records.templates.find([]) == {}

    async def test_a_removed_template_is_gone_and_its_files_doomed(self, records: Records) -> None:
        removed, kept = [await a_template(records) for _ in range(2)]
        entry = an_entry("serg", AuditAction.TEMPLATE_REMOVED, removed.template_id)
        assert await records.templates.remove(removed.template_id, entry=entry)
        assert await records.templates.list() == [kept]
        assert await records.templates.find([removed.template_id]) == {}
        assert await doomed_ids(records) == _files(removed)
        assert (await entries(records))[2:] == [entry]

    async def test_what_is_no_template_cannot_be_removed(self, records: Records) -> None:
        other = await announced(records, MediaKind.TEMPLATE)
        for unknown in (new_id(), "t-1", other.media_id):
            assert not await records.templates.remove(unknown, entry=an_entry())
            assert list(await records.templates.users(unknown)) == []
        assert await doomed_ids(records) == set()
        assert await entries(records) == []

    async def test_of_concurrent_callers_one_removes_it(self, records: Records) -> None:
        template_id = (await a_template(records)).template_id
        removals = await asyncio.gather(
            *(records.templates.remove(template_id, entry=an_entry()) for _ in range(6))
        )
        assert sorted(removals) == [*[False] * 5, True]
        assert len(await entries(records)) == 2

    async def test_the_users_of_a_template_are_the_slots_that_bind_it(self, records: Records) -> None:
        first, second, third = _ids([await a_template(records) for _ in range(3)])
        await _bind(records, SlotId("slot-009"), first)
        await _bind(records, A_SLOT, second, fallback=[first, second])
        await _bind(records, ANOTHER_SLOT, first, first, second)
        assert await records.templates.users(first) == ["slot-001", "slot-002", "slot-009"]
        assert await records.templates.users(second) == ["slot-001", "slot-002"]
        assert await records.templates.users(third) == []

    async def test_a_slot_uses_what_it_binds_now(self, records: Records) -> None:
        first, second = _ids([await a_template(records) for _ in range(2)])
        for bound in ([first], [first, second], [second], [first], []):
            await _bind(records, A_SLOT, *bound)
            users = [await records.templates.users(template_id) for template_id in (first, second)]
            assert users == [[A_SLOT] if template_id in bound else [] for template_id in (first, second)]

    @pytest.mark.parametrize("in_fallback", [False, True])
    async def test_a_template_in_use_is_not_removed(self, records: Records, *, in_fallback: bool) -> None:
        template = await a_template(records)
        ids = [template.template_id]
        for slot_id in (ANOTHER_SLOT, A_SLOT):
            await _bind(records, slot_id, *([] if in_fallback else ids), fallback=ids if in_fallback else [])
        before = await entries(records)
        with pytest.raises(TemplateInUse) as caught:
            await records.templates.remove(template.template_id, entry=an_entry())
        assert caught.value.slot_ids == (A_SLOT, ANOTHER_SLOT)
        assert await records.templates.list() == [template]
        assert await doomed_ids(records) == set()
        assert await entries(records) == before

    async def test_what_no_slot_binds_any_more_is_removed(self, records: Records) -> None:
        template = await a_template(records)
        await _bind(records, A_SLOT, template.template_id)
        await _bind(records, A_SLOT)
        assert await records.templates.remove(template.template_id, entry=an_entry())

    async def test_a_jobs_own_configuration_keeps_no_template(self, records: Records) -> None:
        template = await a_template(records)
        slot = await _bind(records, A_SLOT, template.template_id)
        await _bind(records, A_SLOT)
        await a_completed_job(records)
        assert slot.configuration.template_ids == {template.template_id}
        assert await records.templates.remove(template.template_id, entry=an_entry())

    async def test_of_removing_and_binding_one_succeeds(self, records: Records) -> None:
        outcomes = await race_removal_against_binding(records, rounds=100)
        assert set(outcomes) == {"bound", "removed"}

    async def test_removals_and_bindings_never_wait_for_each_other_in_a_circle(
        self, records: Records
    ) -> None:
        """Four slots change between four templates, while somebody tries to remove each of them."""
        ids = _ids([await a_template(records) for _ in range(4)])

        async def rebind(number: int) -> None:
            for turn in range(12):
                bound = [ids[(number + turn + step) % 4] for step in (2, 0, 1)]
                await _bind(records, SlotId(f"slot-00{number + 1}"), *bound)

        async def try_to_remove(template_id: str) -> None:
            for _ in range(12):
                with pytest.raises(TemplateInUse):
                    await records.templates.remove(template_id, entry=an_entry())

        for number in range(4):
            await _bind(records, SlotId(f"slot-01{number}"), *ids)
        await asyncio.gather(*map(rebind, range(4)), *map(try_to_remove, ids))
        assert sorted(_ids(await records.templates.list())) == sorted(ids)


async def race_removal_against_binding(records: Records, *, rounds: int) -> Counter[str]:
    """Let a slot bind a template while it is removed, again and again; return who was first how often.

    Raises `AssertionError` where not exactly one of the two succeeds, or what is stored does not fit.
    """
    outcomes: Counter[str] = Counter()
    for number in range(rounds):
        outcomes[await _race(records, SlotId(f"slot-{number % 15 + 1:03}"))] += 1
    return outcomes


async def _race(records: Records, slot_id: SlotId) -> str:
    template = await a_template(records)
    slot = _binding(await records.slots.get(slot_id), [template.template_id])

    named: list[str] = []

    async def bind() -> bool:
        try:
            await records.slots.save(slot, entry=an_entry())
        except TemplateNotFound:
            return False
        return True

    async def remove() -> bool:
        try:
            return await records.templates.remove(template.template_id, entry=an_entry())
        except TemplateInUse as error:
            named.extend(error.slot_ids)
            return False

    if random.random() < 0.5:
        bound, removed = await asyncio.gather(bind(), remove())
    else:
        removed, bound = await asyncio.gather(remove(), bind())
    assert bound != removed
    assert named == ([slot_id] if bound else [])
    assert (await records.templates.find([template.template_id]) == {}) == removed
    assert list(await records.templates.users(template.template_id)) == ([slot_id] if bound else [])
    configuration = (await records.slots.get(slot_id)).configuration
    assert (template.template_id in configuration.template_ids) == bound
    return "bound" if bound else "removed"
