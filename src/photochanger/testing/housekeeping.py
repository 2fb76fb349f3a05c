"""The contract of `Housekeeping`."""

import asyncio
from datetime import timedelta
from typing import Final

from photochanger.application.ports.housekeeping import Due, Forgotten, LastSweep
from photochanger.domain.consistency import FILE_OVERDUE_AFTER, JOB_OVERDUE_AFTER, Code, Discrepancy
from photochanger.domain.job import JobSource, JobState
from photochanger.domain.media import MediaKind
from photochanger.domain.settings import MIN_HISTORY_DAYS
from photochanger.domain.statistics import Period
from photochanger.testing.harness import (
    A_SLOT,
    HOUR,
    MINUTE,
    SECOND,
    Records,
    RecordsContract,
    a_completed_job,
    a_job_in,
    a_pending_job,
    a_submission,
    a_template,
    an_entry,
    announced,
    doomed_ids,
    present,
)

_LEASE: Final = 30 * SECOND
_HISTORY: Final = timedelta(days=30)


async def _swept(records: Records) -> None:
    """Let every file that must go be gone."""
    await records.media.confirm_deleted(list(await doomed_ids(records)))


async def _found(records: Records) -> set[tuple[Code, str]]:
    discrepancies = await records.housekeeping.discrepancies(limit=10)
    return {(each.code, each.subject) for each in discrepancies}


class HousekeepingContract(RecordsContract):
    """Every sentence of `Housekeeping`; override `records`."""

    async def test_a_turn_is_one_holders(self, records: Records) -> None:
        assert await records.housekeeping.take_turn("a", lease=_LEASE)
        assert not await records.housekeeping.take_turn("b", lease=_LEASE)
        assert await records.housekeeping.take_turn("a", lease=_LEASE)

    async def test_of_concurrent_callers_one_gets_the_turn(self, records: Records) -> None:
        for _ in range(5):
            holders = [f"holder-{number}" for number in range(8)]
            taken = await asyncio.gather(
                *(records.housekeeping.take_turn(holder, lease=_LEASE) for holder in holders)
            )
            assert sum(taken) == 1
            await records.housekeeping.end_turn(holders[taken.index(True)], swept=False)

    async def test_a_turn_lapses_and_the_next_can_take_it(self, records: Records) -> None:
        await records.housekeeping.take_turn("a", lease=_LEASE)
        await records.time_passes(_LEASE - 5 * SECOND)
        assert not await records.housekeeping.take_turn("b", lease=_LEASE)
        await records.time_passes(5 * SECOND)
        assert await records.housekeeping.take_turn("b", lease=_LEASE)
        assert not await records.housekeeping.take_turn("a", lease=_LEASE)

    async def test_who_takes_the_turn_again_keeps_it_longer(self, records: Records) -> None:
        await records.housekeeping.take_turn("a", lease=_LEASE)
        await records.time_passes(_LEASE - 5 * SECOND)
        assert await records.housekeeping.take_turn("a", lease=_LEASE)
        await records.time_passes(_LEASE - 5 * SECOND)
        assert not await records.housekeeping.take_turn("b", lease=_LEASE)

    async def test_a_turn_given_back_is_anybodys(self, records: Records) -> None:
        await records.housekeeping.take_turn("a", lease=_LEASE)
        await records.housekeeping.end_turn("b", swept=True)
        assert not await records.housekeeping.take_turn("b", lease=_LEASE)
        await records.housekeeping.end_turn("a", swept=True)
        assert await records.housekeeping.take_turn("b", lease=_LEASE)

    async def test_nobody_ever_swept_at_first(self, records: Records) -> None:
        assert await records.housekeeping.last_sweep() == LastSweep(swept_ago=None, compared_ago=None)

    async def test_only_what_was_finished_is_recorded(self, records: Records) -> None:
        housekeeping = records.housekeeping
        await housekeeping.take_turn("a", lease=_LEASE)
        await housekeeping.end_turn("a", swept=False)
        assert await housekeeping.last_sweep() == LastSweep()
        await housekeeping.take_turn("a", lease=_LEASE)
        await housekeeping.end_turn("a", swept=True)
        await housekeeping.end_turn("a", swept=True, compared=True)  # it is not their turn any more
        last = await housekeeping.last_sweep()
        assert last.swept_ago is not None
        assert last.compared_ago is None

    async def test_how_long_ago_a_round_was_finished(self, records: Records) -> None:
        housekeeping = records.housekeeping
        await housekeeping.take_turn("a", lease=_LEASE)
        await housekeeping.end_turn("a", swept=True, compared=True)
        await records.time_passes(HOUR)
        await housekeeping.take_turn("b", lease=_LEASE)
        await housekeeping.end_turn("b", swept=True)
        last = await housekeeping.last_sweep()
        assert last.swept_ago is not None
        assert last.compared_ago is not None
        assert last.swept_ago < MINUTE
        assert HOUR <= last.compared_ago < HOUR + MINUTE

    async def test_nothing_is_due_where_nothing_has_ended(self, records: Records) -> None:
        await a_pending_job(records)
        await a_template(records)
        assert await records.housekeeping.due(history=_HISTORY) == Due()

    async def test_what_is_due_is_counted_and_not_changed(self, records: Records) -> None:
        pending = await a_pending_job(records, time_left=SECOND)
        for kind in (MediaKind.RESULT, MediaKind.RESULT, MediaKind.PREVIEW):
            await records.media.condemn([(await announced(records, kind)).media_id])
        await records.time_passes(MINUTE)
        due = await records.housekeeping.due(history=_HISTORY)
        assert due == await records.housekeeping.due(history=_HISTORY)
        assert due.jobs == 1
        assert dict(due.files) == {MediaKind.RESULT: 2, MediaKind.PREVIEW: 1}
        assert due.size_bytes == 0
        assert not (await present(records, pending)).job.is_finalized

    async def test_due_bytes_are_those_of_stored_files(self, records: Records) -> None:
        reading = await a_completed_job(records)
        result = reading.job.result
        assert result is not None
        await _swept(records)
        await records.jobs.end_results(A_SLOT, entry=an_entry())
        due = await records.housekeeping.due(history=_HISTORY)
        assert due.size_bytes == result.image.file.size_bytes + result.preview.file.size_bytes

    async def test_files_under_deletion_are_due_until_it_is_confirmed(self, records: Records) -> None:
        await records.media.condemn([(await announced(records, MediaKind.RESULT)).media_id])
        doomed = await doomed_ids(records)
        assert dict((await records.housekeeping.due(history=_HISTORY)).files) == {MediaKind.RESULT: 1}
        await records.media.confirm_deleted(doomed)
        assert await records.housekeeping.due(history=_HISTORY) == Due()

    async def test_jobs_and_tombstones_are_forgotten_when_they_are_old(self, records: Records) -> None:
        old = await a_completed_job(records)
        await records.time_passes(timedelta(days=8))
        await _swept(records)
        await records.time_passes(_HISTORY)
        young = await a_completed_job(records)
        await records.statistics.roll_up(limit=10_000)
        due = await records.housekeeping.due(history=_HISTORY)
        assert due.forgotten == Forgotten(jobs=1, files=3)
        assert await records.housekeeping.forget(history=_HISTORY, limit=100) == Forgotten(jobs=1, files=3)
        assert await records.jobs.get(old.job.job_id) is None
        assert await records.media.get(old.job.payload_id) is None
        assert (await present(records, young)).job == young.job
        assert await records.housekeeping.forget(history=_HISTORY, limit=100) == Forgotten()

    async def test_the_oldest_are_forgotten_first(self, records: Records) -> None:
        jobs = []
        for _ in range(3):
            jobs.append(await a_completed_job(records))
            await records.time_passes(HOUR)
        await records.time_passes(_HISTORY)
        await _swept(records)
        await records.statistics.roll_up(limit=10_000)
        forgotten = await records.housekeeping.forget(history=_HISTORY, limit=2)
        assert forgotten == Forgotten(jobs=2, files=2)
        left = [await records.jobs.get(reading.job.job_id) is not None for reading in jobs]
        assert left == [False, False, True]

    async def test_a_job_that_is_not_added_up_yet_stays(self, records: Records) -> None:
        reading = await a_job_in(records, JobState.COMPLETED)
        await records.time_passes(_HISTORY + HOUR)
        assert (await records.housekeeping.forget(history=_HISTORY, limit=9)).jobs == 0
        await records.statistics.roll_up(limit=10_000)
        assert (await records.housekeeping.forget(history=_HISTORY, limit=9)).jobs == 1
        assert await records.jobs.get(reading.job.job_id) is None

    async def test_an_unfinished_job_is_never_forgotten(self, records: Records) -> None:
        reading = await a_pending_job(records)
        await records.time_passes(2 * _HISTORY)
        await records.statistics.roll_up(limit=10_000)
        assert (await records.housekeeping.forget(history=_HISTORY, limit=9)).jobs == 0
        assert not (await present(records, reading)).job.is_finalized

    async def test_a_file_that_is_not_deleted_is_never_forgotten(self, records: Records) -> None:
        template, link = await a_template(records), await announced(records, MediaKind.PROVIDER_LINK)
        await records.media.condemn([link.media_id])
        await records.time_passes(2 * _HISTORY)
        assert await records.housekeeping.forget(history=_HISTORY, limit=9) == Forgotten()
        assert await records.media.get(template.template_id) is not None
        assert await records.media.get(link.media_id) is not None

    async def test_statistics_by_the_hour_remember_forgotten_jobs(self, records: Records) -> None:
        reading = await a_job_in(records, JobState.COMPLETED, source=JobSource.BOOTH)
        await records.time_passes(timedelta(days=MIN_HISTORY_DAYS, hours=2))
        await records.statistics.roll_up(limit=10_000)
        ended = (await present(records, reading)).job.finalized_at
        assert ended is not None
        period = Period(start=ended - 2 * HOUR, end=ended + 2 * HOUR, bucket=HOUR)
        before = await records.statistics.series(period)
        await records.housekeeping.forget(history=timedelta(days=MIN_HISTORY_DAYS), limit=9)
        assert await records.jobs.get(reading.job.job_id) is None
        assert await records.statistics.series(period) == before
        assert sum(tally.by_state[JobState.COMPLETED] for tally in before.values()) == 1

    async def test_an_idempotency_key_is_free_again_once_its_job_is_forgotten(self, records: Records) -> None:
        first = await records.jobs.submit(await a_submission(records, idempotency_key="k"))
        await records.jobs.cancel(first.reading.job.job_id, entry=an_entry())
        await records.time_passes(_HISTORY + HOUR)
        await records.statistics.roll_up(limit=10_000)
        await records.housekeeping.forget(history=_HISTORY, limit=9)
        again = await records.jobs.submit(await a_submission(records, idempotency_key="k"))
        assert not again.replayed
        assert again.reading.job.job_id != first.reading.job.job_id

    async def test_sound_records_have_no_discrepancies(self, records: Records) -> None:
        await a_template(records)
        await a_completed_job(records)
        for state in (JobState.FAILED_PROVIDER, JobState.FAILED_INTERNAL, JobState.FAILED_TIMEOUT):
            await a_job_in(records, state)
        await records.media.offer(await announced(records, MediaKind.PROVIDER_LINK))
        await announced(records, MediaKind.PAYLOAD)
        await a_pending_job(records)
        assert await _found(records) == set()

    async def test_results_that_have_expired_and_are_swept_are_none(self, records: Records) -> None:
        await a_completed_job(records)
        await records.time_passes(timedelta(days=7))
        await _swept(records)
        assert await _found(records) == set()

    async def test_an_overdue_job(self, records: Records) -> None:
        reading = await a_pending_job(records, time_left=SECOND)
        await records.time_passes(SECOND)
        assert await _found(records) == set()
        await records.time_passes(JOB_OVERDUE_AFTER)
        assert await _found(records) == {(Code.JOB_OVERDUE, reading.job.job_id)}

    async def test_a_job_without_its_photo(self, records: Records) -> None:
        reading = await a_pending_job(records)
        await records.media.lost([reading.job.payload_id])
        assert await _found(records) == {(Code.PHOTO_MISSING, reading.job.job_id)}

    async def test_a_result_without_its_picture(self, records: Records) -> None:
        reading = await a_completed_job(records)
        assert reading.job.result is not None
        await records.media.condemn([reading.job.result.image.media_id])
        assert await _found(records) == {(Code.RESULT_MISSING, reading.job.job_id)}

    async def test_a_lost_picture_is_no_contradiction(self, records: Records) -> None:
        reading = await a_completed_job(records)
        assert reading.job.result is not None
        await records.media.lost([reading.job.result.image.media_id])
        assert await _found(records) == set()

    async def test_a_template_without_its_image(self, records: Records) -> None:
        template = await a_template(records)
        await records.media.lost([template.template_id])
        assert await _found(records) == {(Code.TEMPLATE_MISSING, template.template_id)}

    async def test_a_file_whose_time_was_over_a_minute_ago(self, records: Records) -> None:
        image = await announced(records, MediaKind.RESULT)
        await records.media.condemn([image.media_id])
        await records.time_passes(FILE_OVERDUE_AFTER - 10 * SECOND)
        assert await _found(records) == set()
        await records.time_passes(10 * SECOND)
        media = await records.media.get(image.media_id)
        assert media is not None
        assert await _found(records) == {(Code.FILE_OVERDUE, media.key)}
        await doomed_ids(records)  # taken by a sweeper, and not deleted
        assert await _found(records) == {(Code.FILE_OVERDUE, media.key)}
        await records.media.confirm_deleted([image.media_id])
        assert await _found(records) == set()

    async def test_of_each_kind_as_many_are_returned_as_are_wanted(self, records: Records) -> None:
        for _ in range(3):
            await records.media.lost([(await a_template(records)).template_id])
            await records.media.lost([(await a_pending_job(records)).job.payload_id])
        discrepancies = await records.housekeeping.discrepancies(limit=2)
        assert sorted(each.code for each in discrepancies) == [
            *[Code.PHOTO_MISSING] * 2,
            *[Code.TEMPLATE_MISSING] * 2,
        ]
        assert all(isinstance(each, Discrepancy) for each in discrepancies)
