"""The contract of `MediaRegistry`."""

import asyncio

import pytest

from photochanger.application.ports.media import MediaReading
from photochanger.domain.errors import InternalError
from photochanger.domain.media import MediaId, MediaKind, MediaObject, MediaState, StoredImage
from photochanger.testing.harness import (
    A_SLOT,
    HOUR,
    MINUTE,
    SECOND,
    Records,
    a_completed_job,
    a_pending_job,
    an_image,
    announced,
    doomed_ids,
    new_id,
    present,
)
from photochanger.testing.media_machine import MediaMachineContract


def _new_ids(count: int) -> list[MediaId]:
    return [MediaId(new_id()) for _ in range(count)]


async def _intended(records: Records, media_id: MediaId) -> MediaId:
    await records.media.intend([(media_id, MediaKind.RESULT)], slot_id=A_SLOT, ttl=MINUTE)
    return media_id


async def _deleted(records: Records) -> MediaId:
    media_id = await _intended(records, MediaId(new_id()))
    await records.media.condemn([media_id])
    await records.media.doomed(limit=100)
    await records.media.confirm_deleted([media_id])
    return media_id


async def _state(records: Records, media_id: MediaId) -> MediaState:
    media = await records.media.get(media_id)
    assert media is not None
    return media.state


async def _offered(records: Records) -> StoredImage:
    image = an_image()
    await records.media.intend([(image.media_id, MediaKind.PROVIDER_LINK)], slot_id=A_SLOT, ttl=MINUTE)
    await records.media.offer(image)
    return image


async def _fetched(records: Records, media_id: MediaId) -> MediaReading:
    reading = await records.media.fetch(media_id)
    assert reading is not None
    return reading


class MediaRegistryContract(MediaMachineContract):
    """Every sentence of `MediaRegistry`; override the fixture `records`."""

    async def test_get_returns_none_where_there_is_no_row(self, records: Records) -> None:
        assert await records.media.get(MediaId(new_id())) is None

    async def test_every_field_of_an_intent_is_kept(self, records: Records) -> None:
        ids = _new_ids(len(MediaKind))
        await records.media.intend(list(zip(ids, MediaKind, strict=True)), slot_id=A_SLOT, ttl=MINUTE)
        for media_id, kind in zip(ids, MediaKind, strict=True):
            media = await records.media.get(media_id)
            assert media is not None
            assert media == MediaObject(
                media_id=media_id,
                kind=kind,
                slot_id=A_SLOT,
                state=MediaState.PENDING,
                created_at=media.created_at,
                expires_at=media.created_at + MINUTE,
            )

    async def test_a_file_may_belong_to_no_slot(self, records: Records) -> None:
        [media_id] = _new_ids(1)
        await records.media.intend([(media_id, MediaKind.TEMPLATE)], slot_id=None, ttl=MINUTE)
        media = await records.media.get(media_id)
        assert media is not None
        assert media.slot_id is None

    async def test_no_intents_are_no_error(self, records: Records) -> None:
        await records.media.intend([], slot_id=A_SLOT, ttl=MINUTE)

    async def test_an_id_that_is_known_is_refused_and_none_is_recorded(self, records: Records) -> None:
        known, new = _new_ids(2)
        await _intended(records, known)
        intents = [(new, MediaKind.RESULT), (known, MediaKind.PREVIEW)]
        with pytest.raises(ValueError, match="known"):
            await records.media.intend(intents, slot_id=A_SLOT, ttl=MINUTE)
        assert await records.media.get(new) is None
        media = await records.media.get(known)
        assert media is not None
        assert media.kind is MediaKind.RESULT

    async def test_an_id_given_twice_is_refused_and_none_is_recorded(self, records: Records) -> None:
        [twice] = _new_ids(1)
        intents = [(twice, MediaKind.RESULT), (twice, MediaKind.PREVIEW)]
        with pytest.raises(ValueError, match="known"):
            await records.media.intend(intents, slot_id=A_SLOT, ttl=MINUTE)
        assert await records.media.get(twice) is None

    async def test_an_intent_is_doomed_once_its_time_has_passed(self, records: Records) -> None:
        media_id = await _intended(records, MediaId(new_id()))
        await records.time_passes(MINUTE - SECOND)
        assert await doomed_ids(records) == set()
        await records.time_passes(SECOND)
        assert await doomed_ids(records) == {media_id}

    async def test_a_stored_file_outlives_its_intent(self, records: Records) -> None:
        await a_pending_job(records, time_left=2 * HOUR)
        await records.time_passes(HOUR)
        assert await doomed_ids(records) == set()

    async def test_a_condemned_file_is_doomed_whatever_its_state(self, records: Records) -> None:
        pending = await announced(records, MediaKind.RESULT)
        stored = (await a_pending_job(records)).job.payload_id
        await records.media.condemn([pending.media_id, stored])
        assert await _state(records, pending.media_id) is MediaState.DELETING
        assert await _state(records, stored) is MediaState.DELETING
        assert await doomed_ids(records) == {pending.media_id, stored}

    async def test_unknown_files_are_passed_over(self, records: Records) -> None:
        unknown, pending = _new_ids(2)
        await _intended(records, pending)
        await records.media.condemn([unknown, pending])
        assert await records.media.get(unknown) is None
        assert await _state(records, pending) is MediaState.DELETING

    async def test_a_file_deleted_before_its_writer_gave_up_is_deleted_once_more(
        self, records: Records
    ) -> None:
        media_id = await _deleted(records)
        await records.media.condemn([media_id])
        assert await _state(records, media_id) is MediaState.DELETING
        assert await doomed_ids(records) == {media_id}

    async def test_the_time_of_a_condemned_file_is_over(self, records: Records) -> None:
        media_id = await _intended(records, MediaId(new_id()))
        before = await records.media.peek(media_id)
        await records.media.condemn([media_id])
        reading = await records.media.peek(media_id)
        assert before is not None
        assert reading is not None
        assert reading.media.expires_at is not None
        assert before.now <= reading.media.expires_at <= reading.now

    async def test_condemning_nothing_is_no_error(self, records: Records) -> None:
        await records.media.condemn([])
        await records.media.confirm_deleted([])

    async def test_doomed_files_are_marked_as_being_deleted(self, records: Records) -> None:
        media_id = await _intended(records, MediaId(new_id()))
        await records.time_passes(MINUTE)
        [doomed] = await records.media.doomed(limit=1)
        assert (doomed.media_id, doomed.state) == (media_id, MediaState.DELETING)
        assert await records.media.get(media_id) == doomed

    async def test_the_oldest_come_first(self, records: Records) -> None:
        ids = _new_ids(4)
        for media_id in ids:
            await _intended(records, media_id)
            await records.time_passes(SECOND)
        await records.time_passes(MINUTE)
        first = await records.media.doomed(limit=3)
        rest = await records.media.doomed(limit=3)
        assert [media.media_id for media in [*first, *rest]] == ids

    async def test_concurrent_callers_get_different_files(self, records: Records) -> None:
        ids = _new_ids(40)
        await records.media.intend([(i, MediaKind.PREVIEW) for i in ids], slot_id=A_SLOT, ttl=MINUTE)
        await records.time_passes(MINUTE)
        calls = await asyncio.gather(*(records.media.doomed(limit=10) for _ in range(4)))
        offered = [media.media_id for files in calls for media in files]
        offered += [media.media_id for media in await records.media.doomed(limit=40)]
        assert sorted(offered) == sorted(ids)

    async def test_a_deletion_that_is_not_confirmed_is_offered_again_later(self, records: Records) -> None:
        media_id = await _intended(records, MediaId(new_id()))
        await records.media.condemn([media_id])
        assert await doomed_ids(records) == {media_id}
        assert await doomed_ids(records) == set()
        await records.time_passes(MINUTE)
        assert await doomed_ids(records) == {media_id}

    async def test_a_confirmed_deletion_leaves_a_tombstone(self, records: Records) -> None:
        media_id = await _intended(records, MediaId(new_id()))
        await records.media.condemn([media_id])
        await records.media.doomed(limit=1)
        for _ in range(2):
            await records.media.confirm_deleted([media_id])
            assert await _state(records, media_id) is MediaState.DELETED
        await records.time_passes(HOUR)
        assert await doomed_ids(records) == set()

    async def test_only_files_being_deleted_can_be_confirmed(self, records: Records) -> None:
        media_id = await _intended(records, MediaId(new_id()))
        await records.media.confirm_deleted([media_id, MediaId(new_id())])
        assert await _state(records, media_id) is MediaState.PENDING

    async def test_an_offered_link_is_stored_and_keeps_its_end(self, records: Records) -> None:
        image = an_image()
        await records.media.intend([(image.media_id, MediaKind.PROVIDER_LINK)], slot_id=A_SLOT, ttl=MINUTE)
        intended = await records.media.get(image.media_id)
        await records.media.offer(image)
        media = await records.media.get(image.media_id)
        assert media is not None
        assert intended is not None
        assert (media.state, media.expires_at) == (MediaState.STORED, intended.expires_at)
        assert (media.size_bytes, media.sha256) == (image.file.size_bytes, image.file.sha256)
        assert media.image_type is image.info.image_type
        await records.time_passes(MINUTE - SECOND)
        assert await doomed_ids(records) == set()
        await records.time_passes(SECOND)
        assert await doomed_ids(records) == {image.media_id}

    async def test_what_is_not_a_pending_link_cannot_be_offered(self, records: Records) -> None:
        condemned = await announced(records, MediaKind.PROVIDER_LINK)
        await records.media.condemn([condemned.media_id])
        other = await announced(records, MediaKind.RESULT)
        for image in (await _offered(records), condemned, other, an_image()):
            before = await records.media.get(image.media_id)
            with pytest.raises(InternalError):
                await records.media.offer(image)
            assert await records.media.get(image.media_id) == before

    async def test_the_first_fetching_of_a_link_is_recorded(self, records: Records) -> None:
        image = await _offered(records)
        first = await _fetched(records, image.media_id)
        assert first.media.fetched_at == first.now
        assert await records.media.get(image.media_id) == first.media
        await records.time_passes(SECOND)
        again = await _fetched(records, image.media_id)
        assert again.media.fetched_at is not None
        assert again.media.fetched_at <= again.now - SECOND

    async def test_of_concurrent_fetchings_one_is_the_first(self, records: Records) -> None:
        image = await _offered(records)
        readings = await asyncio.gather(*(_fetched(records, image.media_id) for _ in range(8)))
        assert len({reading.media.fetched_at for reading in readings}) == 1
        assert readings[0].media.fetched_at is not None

    async def test_fetching_carries_the_stores_clock(self, records: Records) -> None:
        job = await a_pending_job(records)
        image = await _offered(records)
        reading = await _fetched(records, image.media_id)
        assert job.now <= reading.now <= (await present(records, job)).now
        assert reading.media.expires_at is not None
        assert reading.now < reading.media.expires_at <= reading.now + MINUTE

    async def test_a_link_is_fetched_until_its_end_and_not_from_it_on(self, records: Records) -> None:
        image = await _offered(records)
        await records.time_passes(MINUTE)
        reading = await _fetched(records, image.media_id)
        assert reading.media.expires_at is not None
        assert reading.now >= reading.media.expires_at
        assert reading.media.fetched_at is None

    async def test_only_stored_links_are_recorded_as_fetched(self, records: Records) -> None:
        pending = (await announced(records, MediaKind.PROVIDER_LINK)).media_id
        condemned = (await _offered(records)).media_id
        await records.media.condemn([condemned])
        payload = (await a_pending_job(records)).job.payload_id
        for media_id in (pending, condemned, payload):
            before = await records.media.get(media_id)
            assert (await _fetched(records, media_id)).media == before
        assert list(await records.media.fetched([pending, condemned, payload])) == []

    async def test_to_peek_is_to_read_and_to_record_nothing(self, records: Records) -> None:
        image = await _offered(records)
        reading = await records.media.peek(image.media_id)
        assert reading is not None
        assert reading.media == await records.media.get(image.media_id)
        assert reading.media.fetched_at is None
        assert reading.now <= (await _fetched(records, image.media_id)).now

    async def test_there_is_nothing_to_fetch_where_there_is_no_row(self, records: Records) -> None:
        [unknown] = _new_ids(1)
        assert await records.media.fetch(unknown) is None
        assert await records.media.peek(unknown) is None

    async def test_what_was_fetched_stays_so_whatever_becomes_of_it(self, records: Records) -> None:
        alive, deleted, unfetched = [(await _offered(records)).media_id for _ in range(3)]
        for media_id in (alive, deleted):
            await records.media.fetch(media_id)
        await records.media.condemn([deleted])
        await records.media.confirm_deleted([deleted])
        fetched = await records.media.fetched([alive, deleted, unfetched, *_new_ids(1)])
        assert sorted(fetched) == sorted([alive, deleted])
        assert list(await records.media.fetched([])) == []

    async def test_living_files_come_in_the_order_of_their_keys(self, records: Records) -> None:
        for kind in MediaKind:
            for _ in range(3):
                await announced(records, kind)
        await _deleted(records)
        living = await records.media.living(limit=100)
        keys = [media.key for media in living]
        assert keys == sorted(keys)
        assert len(keys) == 3 * len(MediaKind)
        assert living[0] == await records.media.get(living[0].media_id)

    async def test_living_files_can_be_read_in_pages(self, records: Records) -> None:
        for kind in (MediaKind.PAYLOAD, MediaKind.PROVIDER_LINK, MediaKind.PREVIEW):
            for _ in range(3):
                await announced(records, kind)
        whole = await records.media.living(limit=100)
        pages = [await records.media.living(limit=2)]
        while pages[-1]:
            pages.append(await records.media.living(limit=2, after=pages[-1][-1].key))
        assert [media for page in pages for media in page] == whole

    async def test_condemned_files_are_living_until_they_are_deleted(self, records: Records) -> None:
        media_id = await _intended(records, MediaId(new_id()))
        await records.media.condemn([media_id])
        assert [media.state for media in await records.media.living(limit=9)] == [MediaState.DELETING]
        await records.media.confirm_deleted([media_id])
        assert list(await records.media.living(limit=9)) == []

    async def test_rows_are_found_by_their_ids_whatever_their_state(self, records: Records) -> None:
        pending, deleted = await _intended(records, MediaId(new_id())), await _deleted(records)
        found = await records.media.find([pending, deleted, *_new_ids(1)])
        assert found == {media_id: await records.media.get(media_id) for media_id in (pending, deleted)}
        assert await records.media.find([]) == {}

    async def test_a_file_without_a_row_gets_one_and_is_doomed(self, records: Records) -> None:
        stray, other = _new_ids(2)
        files = [(stray, MediaKind.RESULT), (other, MediaKind.TEMPLATE)]
        assert set(await records.media.found(files)) == {stray, other}
        media = await records.media.get(stray)
        assert media is not None
        assert (media.kind, media.state, media.slot_id) == (MediaKind.RESULT, MediaState.DELETING, None)
        assert await doomed_ids(records) == {stray, other}

    async def test_a_deleted_file_that_is_found_is_doomed_again(self, records: Records) -> None:
        media_id = await _deleted(records)
        assert list(await records.media.found([(media_id, MediaKind.TEMPLATE)])) == []
        assert set(await records.media.found([(media_id, MediaKind.RESULT)])) == {media_id}
        assert await doomed_ids(records) == {media_id}
        await records.media.confirm_deleted([media_id])
        assert await _state(records, media_id) is MediaState.DELETED

    async def test_a_file_that_its_row_expects_is_not_taken_over(self, records: Records) -> None:
        pending = await _intended(records, MediaId(new_id()))
        stored = (await a_pending_job(records)).job.payload_id
        condemned = await _intended(records, MediaId(new_id()))
        await records.media.condemn([condemned])
        before = await records.media.find([pending, stored, condemned])
        files = [(media_id, media.kind) for media_id, media in before.items()]
        assert list(await records.media.found(files)) == []
        assert await records.media.find([pending, stored, condemned]) == before
        assert list(await records.media.found([])) == []

    async def test_only_a_stored_file_can_be_lost(self, records: Records) -> None:
        stored = (await a_pending_job(records)).job.payload_id
        pending, deleted = await _intended(records, MediaId(new_id())), await _deleted(records)
        condemned = await _intended(records, MediaId(new_id()))
        await records.media.condemn([condemned])
        asked = [stored, pending, deleted, condemned, *_new_ids(1)]
        assert set(await records.media.lost(asked)) == {stored}
        assert await _state(records, stored) is MediaState.DELETED
        assert await _state(records, pending) is MediaState.PENDING
        assert await _state(records, condemned) is MediaState.DELETING
        assert list(await records.media.lost(asked)) == []
        assert list(await records.media.lost([])) == []

    async def test_a_lost_picture_ends_its_result(self, records: Records) -> None:
        job, other = (await a_completed_job(records)).job, await a_completed_job(records)
        assert job.result is not None
        await records.media.lost([job.result.image.media_id])
        ended = await records.jobs.get(job.job_id)
        assert ended is not None
        assert ended.job.result_expires_at is not None
        assert ended.job.result_expires_at <= ended.now
        assert job.result.preview.media_id in await doomed_ids(records)
        assert (await present(records, other)).job == other.job

    async def test_a_result_lost_with_its_preview_ends_too(self, records: Records) -> None:
        job = (await a_completed_job(records)).job
        assert job.result is not None
        files = {job.result.image.media_id, job.result.preview.media_id}
        assert set(await records.media.lost(files)) == files
        ended = await records.jobs.get(job.job_id)
        assert ended is not None
        assert ended.job.result_expires_at is not None
        assert ended.job.result_expires_at <= ended.now
        assert not files & await doomed_ids(records)

    async def test_a_lost_preview_leaves_the_result(self, records: Records) -> None:
        reading = await a_completed_job(records)
        assert reading.job.result is not None
        preview_id = reading.job.result.preview.media_id
        assert set(await records.media.lost([preview_id])) == {preview_id}
        assert (await present(records, reading)).job == reading.job
