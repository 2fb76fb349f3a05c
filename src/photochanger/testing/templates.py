"""The contract of `TemplateRepository`."""

import asyncio
from collections.abc import Sequence

import pytest

from photochanger.domain.errors import InternalError
from photochanger.domain.media import MediaKind, MediaState
from photochanger.domain.template import Template
from photochanger.testing.harness import (
    HOUR,
    SECOND,
    Records,
    RecordsContract,
    a_pending_job,
    an_image,
    announced,
    doomed_ids,
    new_id,
    present,
)


async def _added(records: Records, name: str = "Рамка «Зима»") -> Template:
    image = await announced(records, MediaKind.TEMPLATE)
    return await records.templates.add(image, name=name, created_by="игорь")


def _ids(templates: Sequence[Template]) -> list[str]:
    return [template.template_id for template in templates]


class TemplateRepositoryContract(RecordsContract):
    """Every sentence of `TemplateRepository`; override the fixture `records`."""

    async def test_every_field_of_a_template_is_kept(self, records: Records) -> None:
        image = await announced(records, MediaKind.TEMPLATE)
        template = await records.templates.add(image, name="Рамка ☀", created_by="игорь")
        assert template == Template(
            name="Рамка ☀", image=image, created_at=template.created_at, created_by="игорь"
        )
        assert template.template_id == image.media_id
        assert await records.templates.list() == [template]
        assert await records.templates.find([template.template_id]) == {template.template_id: template}

    async def test_created_at_is_the_stores_time(self, records: Records) -> None:
        before = await a_pending_job(records)
        template = await _added(records)
        after = await present(records, before)
        assert before.now <= template.created_at <= after.now

    async def test_its_file_becomes_stored_and_has_no_end(self, records: Records) -> None:
        template = await _added(records)
        media = await records.media.get(template.template_id)
        assert media is not None
        assert (media.state, media.kind, media.slot_id) == (MediaState.STORED, MediaKind.TEMPLATE, None)
        assert (media.size_bytes, media.sha256) == (
            template.image.file.size_bytes,
            template.image.file.sha256,
        )
        assert media.image_type is template.image.info.image_type
        assert media.expires_at is None
        await records.time_passes(10_000 * HOUR)
        assert await doomed_ids(records) == set()

    @pytest.mark.parametrize("kind", [None, MediaKind.PROVIDER_LINK])
    async def test_nothing_is_written_where_no_template_was_announced(
        self, records: Records, kind: MediaKind | None
    ) -> None:
        image = an_image() if kind is None else await announced(records, kind)
        with pytest.raises(InternalError):
            await records.templates.add(image, name="x", created_by="serg")
        await self._assert_not_added(records, image.media_id)

    async def test_nothing_is_written_where_its_file_is_condemned(self, records: Records) -> None:
        image = await announced(records, MediaKind.TEMPLATE)
        await records.media.condemn([image.media_id])
        with pytest.raises(InternalError):
            await records.templates.add(image, name="x", created_by="serg")
        await self._assert_not_added(records, image.media_id)

    async def test_a_template_is_added_once(self, records: Records) -> None:
        template = await _added(records)
        with pytest.raises(InternalError):
            await records.templates.add(template.image, name="another", created_by="serg")
        assert await records.templates.list() == [template]

    async def _assert_not_added(self, records: Records, template_id: str) -> None:
        assert await records.templates.list() == []
        assert await records.templates.find([template_id]) == {}

    async def test_names_need_not_be_unique(self, records: Records) -> None:
        templates = [await _added(records, "the same") for _ in range(2)]
        assert sorted(_ids(await records.templates.list())) == sorted(_ids(templates))

    async def test_the_newest_come_first(self, records: Records) -> None:
        templates = []
        for _ in range(4):
            templates.append(await _added(records))
            await records.time_passes(SECOND)
        assert _ids(await records.templates.list()) == _ids(templates)[::-1]

    async def test_those_that_there_are_not_are_missing(self, records: Records) -> None:
        first, second = [await _added(records) for _ in range(2)]
        wanted = [first.template_id, new_id(), "t-1", "", second.template_id, first.template_id]
        assert await records.templates.find(wanted) == {t.template_id: t for t in (first, second)}
        assert await records.templates.find([]) == {}

    async def test_a_removed_template_is_gone_and_its_file_doomed(self, records: Records) -> None:
        removed, kept = [await _added(records) for _ in range(2)]
        assert await records.templates.remove(removed.template_id)
        assert await records.templates.list() == [kept]
        assert await records.templates.find([removed.template_id]) == {}
        assert await doomed_ids(records) == {removed.template_id}

    async def test_what_is_no_template_cannot_be_removed(self, records: Records) -> None:
        other = await announced(records, MediaKind.TEMPLATE)
        for unknown in (new_id(), "t-1", other.media_id):
            assert not await records.templates.remove(unknown)
        assert await doomed_ids(records) == set()

    async def test_of_concurrent_callers_one_removes_it(self, records: Records) -> None:
        template = await _added(records)
        removals = await asyncio.gather(*(records.templates.remove(template.template_id) for _ in range(6)))
        assert sorted(removals) == [*[False] * 5, True]
