"""How every job repository lets an administrator end jobs, and results before their time."""

import asyncio
from dataclasses import replace

import pytest

from photochanger.application.ports.administration import AuditFilter
from photochanger.application.ports.jobs import EndedResults, JobReading
from photochanger.application.ports.signals import Topic
from photochanger.domain.audit import Actor, AuditAction, AuditEntry
from photochanger.domain.job import JobId, JobState
from photochanger.domain.media import MediaId
from photochanger.domain.retention import has_passed
from photochanger.domain.slot import SlotId
from photochanger.testing.harness import (
    A_SLOT,
    ANOTHER_SLOT,
    HOUR,
    MINUTE,
    SECOND,
    Records,
    RecordsContract,
    a_completed_job,
    a_pending_job,
    a_processing_job,
    a_slot,
    a_submission,
    an_ended_job,
    an_entry,
    doomed_ids,
    entries,
    failure,
    new_id,
    present,
    present_result,
    stand_in,
    success,
    until_quiet,
)

_CANCELLED = AuditEntry(action=AuditAction.JOB_CANCELLED, actor=Actor(name="игорь", origin="192.0.2.7"))
_CLEANED = AuditEntry(
    action=AuditAction.SLOT_CLEANED, actor=Actor(name="игорь", origin="192.0.2.7"), subject=A_SLOT
)


async def _pending_in(records: Records, slot_id: SlotId) -> JobReading:
    slot = replace(a_slot(), slot_id=slot_id)
    return (await records.jobs.submit(await a_submission(records, slot=slot))).reading


def _files(reading: JobReading) -> set[MediaId]:
    result = reading.job.result
    assert result is not None
    return {result.image.media_id, result.preview.media_id}


def _size(reading: JobReading) -> int:
    result = reading.job.result
    assert result is not None
    return result.image.file.size_bytes + result.preview.file.size_bytes


async def _without_payloads(records: Records) -> None:
    """Let the files of ended jobs' photos be gone, so that what is doomed later is of something else."""
    await records.media.confirm_deleted(list(await doomed_ids(records)))


class JobCancellationContract(RecordsContract):
    """`cancel`, `cancel_pending` and `end_results`."""

    async def test_a_waiting_job_is_cancelled(self, records: Records) -> None:
        pending = await a_pending_job(records)
        await self._assert_cancelled(records, pending)

    async def test_a_job_under_way_is_cancelled(self, records: Records) -> None:
        claimed = await a_processing_job(records)
        await self._assert_cancelled(records, claimed)
        assert await records.jobs.finalize(claimed.job.job_id, failure(), fence=1) is None
        assert not await records.jobs.renew(claimed.job.job_id, fence=1, lease=SECOND)

    async def _assert_cancelled(self, records: Records, reading: JobReading) -> None:
        cancelled = await records.jobs.cancel(reading.job.job_id, entry=_CANCELLED)
        assert cancelled is not None
        assert cancelled.ended_here
        assert cancelled.job == replace(
            reading.job,
            state=JobState.CANCELLED,
            failure_reason="cancelled",
            finalized_at=cancelled.now,
            lease_expires_at=None,
        )
        assert (await present(records, reading)).job == cancelled.job
        assert await entries(records) == [replace(_CANCELLED, subject=reading.job.job_id)]
        assert await doomed_ids(records) == {reading.job.payload_id}

    async def test_what_is_final_stays_as_it_is(self, records: Records) -> None:
        ended = await a_completed_job(records)
        again = await records.jobs.cancel(ended.job.job_id, entry=_CANCELLED)
        assert again is not None
        assert (again.job, again.ended_here) == (ended.job, False)
        assert await entries(records) == []

    async def test_a_job_is_cancelled_once(self, records: Records) -> None:
        pending = await a_pending_job(records)
        readings = await asyncio.gather(
            *(records.jobs.cancel(pending.job.job_id, entry=_CANCELLED) for _ in range(8))
        )
        jobs = {repr(reading.job) for reading in readings if reading is not None}
        assert [reading.ended_here for reading in readings if reading is not None].count(True) == 1
        assert (len(jobs), len(await entries(records))) == (1, 1)

    async def test_from_the_deadline_on_no_job_is_cancelled(self, records: Records) -> None:
        pending = await a_pending_job(records, time_left=MINUTE)
        await records.time_passes(MINUTE)
        reading = await records.jobs.cancel(pending.job.job_id, entry=_CANCELLED)
        assert reading is not None
        assert (reading.job.state, reading.ended_here) == (JobState.PENDING, False)
        assert list(await records.jobs.cancel_pending(A_SLOT, entry=_CANCELLED)) == []
        assert await entries(records) == []
        [expired] = await records.jobs.expire([pending.job.job_id])
        assert expired.job.state is JobState.FAILED_TIMEOUT

    async def test_there_is_nothing_to_cancel_where_there_is_no_job(self, records: Records) -> None:
        assert await records.jobs.cancel(JobId(new_id()), entry=_CANCELLED) is None
        assert await entries(records) == []

    async def test_cancelling_is_announced(self, records: Records) -> None:
        first, second = [await a_pending_job(records) for _ in range(2)]
        with (
            records.signals.subscribe(Topic.JOB_FINALIZED, first.job.job_id) as of_the_first,
            records.signals.subscribe(Topic.JOB_FINALIZED, second.job.job_id) as of_the_second,
        ):
            await records.jobs.cancel(first.job.job_id, entry=_CANCELLED)
            assert await of_the_first.wait(5)
            await until_quiet(of_the_second)
            await records.jobs.cancel_pending(A_SLOT, entry=_CANCELLED)
            assert await of_the_second.wait(5)

    async def test_a_cancelled_job_is_not_claimed(self, records: Records) -> None:
        pending = await a_pending_job(records)
        await records.jobs.cancel(pending.job.job_id, entry=_CANCELLED)
        assert list(await records.jobs.claim(limit=10, lease=SECOND)) == []

    async def test_all_waiting_jobs_of_a_slot_are_cancelled_and_no_others(self, records: Records) -> None:
        claimed = await a_processing_job(records)
        waiting = [await _pending_in(records, A_SLOT) for _ in range(3)]
        elsewhere = await _pending_in(records, ANOTHER_SLOT)
        cancelled = await records.jobs.cancel_pending(A_SLOT, entry=_CANCELLED)
        ids = {reading.job.job_id for reading in waiting}
        assert {reading.job.job_id for reading in cancelled} == ids
        assert all(reading.ended_here for reading in cancelled)
        for reading in cancelled:
            assert (reading.job.state, reading.job.failure_reason) == (JobState.CANCELLED, "cancelled")
            assert (await present(records, reading)).job == reading.job
        for reading in (claimed, elsewhere):
            assert (await present(records, reading)).job == reading.job
        assert await doomed_ids(records) == {reading.job.payload_id for reading in waiting}

    async def test_each_cancelled_job_has_an_entry_of_its_own(self, records: Records) -> None:
        waiting = [await _pending_in(records, A_SLOT) for _ in range(3)]
        await records.jobs.cancel_pending(A_SLOT, entry=_CANCELLED)
        await records.jobs.cancel_pending(A_SLOT, entry=_CANCELLED)
        logged = await entries(records)
        assert {entry.subject for entry in logged} == {reading.job.job_id for reading in waiting}
        assert [replace(entry, subject="") for entry in logged] == [_CANCELLED] * 3

    async def test_of_claiming_and_cancelling_each_job_one_wins(self, records: Records) -> None:
        waiting = {(await _pending_in(records, A_SLOT)).job.job_id for _ in range(30)}
        results = await asyncio.gather(
            *(records.jobs.claim(limit=3, lease=MINUTE) for _ in range(5)),
            records.jobs.cancel_pending(A_SLOT, entry=_CANCELLED),
            records.jobs.cancel_pending(A_SLOT, entry=_CANCELLED),
        )
        ids = [reading.job.job_id for readings in results for reading in readings]
        assert len(ids) == len(set(ids))
        assert set(ids) <= waiting
        cancelled = {entry.subject for entry in await entries(records)}
        assert cancelled == {reading.job.job_id for readings in results[5:] for reading in readings}
        rest = await records.jobs.cancel_pending(A_SLOT, entry=_CANCELLED)
        assert set(ids) | {reading.job.job_id for reading in rest} == waiting

    async def test_ended_results_have_expired(self, records: Records) -> None:
        ended = [await a_completed_job(records), await an_ended_job(records, await stand_in(records))]
        await records.time_passes(HOUR)
        before = [await present(records, reading) for reading in ended]
        await records.jobs.end_results(A_SLOT, entry=_CLEANED)
        for reading in before:
            after = await present(records, reading)
            assert after.job.finalized_at is not None
            assert after.job.result_expires_at is not None
            assert reading.now <= after.job.result_expires_at <= after.now
            assert has_passed(after.job.result_expires_at, now=after.now)
            assert after.job == replace(
                reading.job, retention=after.job.result_expires_at - after.job.finalized_at
            )
            assert HOUR <= after.job.retention < HOUR + MINUTE
            assert (await present_result(records, reading)).result_expires_at == after.job.result_expires_at

    async def test_the_files_of_ended_results_are_doomed(self, records: Records) -> None:
        ended = [await a_completed_job(records), await an_ended_job(records, await stand_in(records))]
        await _without_payloads(records)
        await records.jobs.end_results(A_SLOT, entry=_CLEANED)
        assert await doomed_ids(records) == _files(ended[0]) | _files(ended[1])

    async def test_ended_results_are_counted_with_their_bytes(self, records: Records) -> None:
        ended = [await a_completed_job(records), await an_ended_job(records, await stand_in(records))]
        counted = await records.jobs.end_results(A_SLOT, entry=_CLEANED)
        assert counted == EndedResults(2, sum(map(_size, ended)))
        assert await records.jobs.end_results(A_SLOT, entry=_CLEANED) == EndedResults(0, 0)

    async def test_ending_results_is_in_the_audit_log_even_where_there_are_none(
        self, records: Records
    ) -> None:
        for _ in range(2):
            await a_completed_job(records)
        for times in (1, 2):
            await records.jobs.end_results(A_SLOT, entry=_CLEANED)
            assert await entries(records) == [_CLEANED] * times

    async def test_other_jobs_stay_as_they_are(self, records: Records) -> None:
        old = await a_completed_job(records)
        await records.time_passes(old.job.retention)
        failed = await an_ended_job(records, failure())
        elsewhere = await self._completed_in(records, ANOTHER_SLOT)
        others = [
            await present(records, reading)
            for reading in (
                old,
                failed,
                elsewhere,
                await a_processing_job(records),
                await a_pending_job(records),
            )
        ]
        assert await records.jobs.end_results(A_SLOT, entry=_CLEANED) == EndedResults(0, 0)
        for reading in others:
            assert (await present(records, reading)).job == reading.job
        assert not _files(elsewhere) & await doomed_ids(records)

    async def _completed_in(self, records: Records, slot_id: SlotId) -> JobReading:
        await _pending_in(records, slot_id)
        [claimed] = await records.jobs.claim(limit=1, lease=MINUTE)
        ended = await records.jobs.finalize(claimed.job.job_id, await success(records), fence=1)
        assert ended is not None
        return ended

    async def test_a_file_that_is_gone_already_is_deleted_once_more(self, records: Records) -> None:
        ended = await a_completed_job(records)
        result = ended.job.result
        assert result is not None
        await records.media.condemn([result.image.media_id])
        await records.media.confirm_deleted([result.image.media_id])
        assert await records.jobs.end_results(A_SLOT, entry=_CLEANED) == EndedResults(1, _size(ended))
        assert await doomed_ids(records) >= _files(ended)

    async def test_each_result_is_ended_once(self, records: Records) -> None:
        for _ in range(5):
            await a_completed_job(records)
        counts = await asyncio.gather(
            *(records.jobs.end_results(A_SLOT, entry=an_entry(subject=A_SLOT)) for _ in range(6))
        )
        assert sorted(ended.results for ended in counts) == [0, 0, 0, 0, 0, 5]
        assert len(await records.audit.page(AuditFilter(subject=A_SLOT), limit=10)) == 6

    @pytest.mark.parametrize("how_many", [1, 6])
    async def test_results_end_while_the_sweeper_is_at_work(self, records: Records, how_many: int) -> None:
        ended = [await a_completed_job(records) for _ in range(how_many)]
        await _without_payloads(records)
        files = [media_id for reading in ended for media_id in _files(reading)]
        [counted, *_] = await asyncio.gather(
            records.jobs.end_results(A_SLOT, entry=_CLEANED),
            *(records.media.condemn(files[::-1]) for _ in range(3)),
            *(records.media.doomed(limit=100) for _ in range(3)),
        )
        assert counted == EndedResults(how_many, sum(map(_size, ended)))
