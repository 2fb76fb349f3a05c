"""The contract of `MediaRegistry`."""

import asyncio

import pytest

from photochanger.domain.media import MediaId, MediaKind, MediaObject, MediaState
from photochanger.testing.harness import (
    A_SLOT,
    HOUR,
    MINUTE,
    SECOND,
    Records,
    RecordsContract,
    a_pending_job,
    announced,
    doomed_ids,
    new_id,
)


def _new_ids(count: int) -> list[MediaId]:
    return [MediaId(new_id()) for _ in range(count)]


async def _intended(records: Records, media_id: MediaId) -> MediaId:
    await records.media.intend([(media_id, MediaKind.RESULT)], slot_id=A_SLOT, ttl=MINUTE)
    return media_id


async def _state(records: Records, media_id: MediaId) -> MediaState:
    media = await records.media.get(media_id)
    assert media is not None
    return media.state


class MediaRegistryContract(RecordsContract):
    """Every sentence of `MediaRegistry`; override the fixture `records`."""

    async def test_get_returns_none_where_there_is_no_row(self, records: Records) -> None:
        assert await records.media.get(MediaId(new_id())) is None

    async def test_every_field_of_an_intent_is_kept(self, records: Records) -> None:
        ids = _new_ids(3)
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

    async def test_unknown_and_deleted_files_are_passed_over(self, records: Records) -> None:
        unknown, deleted, pending = _new_ids(3)
        for media_id in (deleted, pending):
            await _intended(records, media_id)
        await records.media.condemn([deleted])
        await records.media.confirm_deleted([deleted])
        await records.media.condemn([unknown, deleted, pending])
        assert await records.media.get(unknown) is None
        assert await _state(records, deleted) is MediaState.DELETED
        assert await _state(records, pending) is MediaState.DELETING

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
