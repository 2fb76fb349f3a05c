"""What every job repository does with a submission."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from photochanger.application.ports.jobs import JobSubmission
from photochanger.application.ports.signals import Topic
from photochanger.domain.errors import IdempotencyKeyReused, InternalError
from photochanger.domain.job import Job, JobId, JobState
from photochanger.domain.media import MediaKind, MediaState
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
    a_slot,
    a_submission,
    an_entry,
    an_image,
    announced_at,
    doomed_ids,
    failure,
    new_id,
    present,
    stand_in,
    success,
    with_payload_of,
)


async def _twins(records: Records) -> tuple[JobSubmission, JobSubmission]:
    """Return the same photo twice, as two booths would send it."""
    first = await a_submission(records, deduplicate=True)
    return first, with_payload_of(await a_submission(records, deduplicate=True), first)


class JobSubmissionContract(RecordsContract):
    """`submit` and `get`."""

    async def test_get_returns_none_where_there_is_no_job(self, records: Records) -> None:
        assert await records.jobs.get(JobId(new_id())) is None

    async def test_what_is_submitted_again_for_want_of_an_answer_is_the_same_job(
        self, records: Records
    ) -> None:
        for key, deduplicate in ((None, False), (None, True), ("key", False)):
            submission = await a_submission(records, idempotency_key=key, deduplicate=deduplicate)
            first = await records.jobs.submit(submission)
            assert await records.jobs.claim(limit=1, lease=MINUTE)
            again = await records.jobs.submit(submission)
            assert (again.reading.job.job_id, again.replayed) == (first.reading.job.job_id, False)
            assert again.reading.job.state is JobState.PROCESSING
            assert not await records.jobs.claim(limit=1, lease=MINUTE)

    async def test_many_jobs_are_read_at_once(self, records: Records) -> None:
        first, second, _ = [await a_pending_job(records) for _ in range(3)]
        wanted = [first.job.job_id, second.job.job_id, JobId(new_id())]
        found = await records.jobs.get_many(wanted)
        assert {reading.job.job_id: reading.job for reading in found} == {
            first.job.job_id: first.job,
            second.job.job_id: second.job,
        }
        assert list(await records.jobs.get_many([])) == []

    async def test_every_field_of_a_submission_is_kept(self, records: Records) -> None:
        submission = await a_submission(records, idempotency_key="ключ-1", time_left=12.345678 * SECOND)
        submitted = await records.jobs.submit(submission)
        job = submitted.reading.job
        assert job == Job(
            job_id=submission.job_id,
            slot_id=submission.slot.slot_id,
            slot_version=submission.slot.version,
            configuration=submission.slot.configuration,
            payload_id=submission.payload.media_id,
            content_hash=submission.payload.file.sha256,
            created_at=job.created_at,
            deadline=await announced_at(records, submission) + submission.time_left,
            retention=submission.retention,
            source=submission.source,
            idempotency_key="ключ-1",
            trace_context=submission.trace_context,
        )
        assert (await present(records, submitted.reading)).job == job
        assert not submitted.replayed

    async def test_optional_fields_may_be_absent(self, records: Records) -> None:
        submission = replace(await a_submission(records), trace_context=None)
        job = (await records.jobs.submit(submission)).reading.job
        assert (job.idempotency_key, job.trace_context) == (None, None)

    async def test_times_are_kept_to_the_microsecond(self, records: Records) -> None:
        odd = timedelta(hours=24, microseconds=1)
        submission = replace(await a_submission(records, time_left=MINUTE + odd), retention=odd)
        job = (await records.jobs.submit(submission)).reading.job
        since_announcement = job.deadline - await announced_at(records, submission)
        assert (since_announcement, job.retention) == (MINUTE + odd, odd)

    async def test_the_deadline_does_not_wait_for_the_submission(self, records: Records) -> None:
        submission = await a_submission(records, time_left=MINUTE)
        await records.time_passes(MINUTE / 2)
        reading = (await records.jobs.submit(submission)).reading
        assert MINUTE / 2 - SECOND * 5 < reading.job.deadline - reading.job.created_at <= MINUTE / 2

    async def test_created_at_is_the_stores_time(self, records: Records) -> None:
        before = await a_pending_job(records)
        job = (await a_pending_job(records)).job
        after = await present(records, before)
        assert before.now <= job.created_at <= after.now
        assert job.created_at.utcoffset() == timedelta(0)

    async def test_a_reading_carries_the_stores_present_time(self, records: Records) -> None:
        reading = await a_pending_job(records)
        await records.time_passes(5 * SECOND)
        later = await present(records, reading)
        assert later.seconds_to_deadline == pytest.approx(55, abs=2)

    async def test_the_payload_becomes_stored(self, records: Records) -> None:
        submission = await a_submission(records)
        await records.jobs.submit(submission)
        media = await records.media.get(submission.payload.media_id)
        assert media is not None
        assert (media.state, media.kind) == (MediaState.STORED, MediaKind.PAYLOAD)
        assert media.image_type is submission.payload.info.image_type
        assert media.size_bytes == submission.payload.file.size_bytes
        assert media.sha256 == submission.payload.file.sha256

    async def test_the_payload_lives_until_the_job_is_final(self, records: Records) -> None:
        reading = await a_pending_job(records, time_left=MINUTE)
        await records.time_passes(2 * HOUR)
        assert await doomed_ids(records) == set()
        await records.jobs.expire([reading.job.job_id])
        assert await doomed_ids(records) == {reading.job.payload_id}

    async def test_nothing_is_written_where_the_payload_was_not_announced(self, records: Records) -> None:
        submission = replace(await a_submission(records), payload=an_image())
        with pytest.raises(InternalError):
            await records.jobs.submit(submission)
        assert await records.jobs.get(submission.job_id) is None
        assert await records.media.get(submission.payload.media_id) is None

    async def test_nothing_is_written_where_the_payload_is_condemned(self, records: Records) -> None:
        submission = await a_submission(records)
        await records.media.condemn([submission.payload.media_id])
        with pytest.raises(InternalError):
            await records.jobs.submit(submission)
        assert await records.jobs.get(submission.job_id) is None
        assert submission.payload.media_id in await doomed_ids(records)

    async def test_the_payload_stays_pending_where_the_job_cannot_be_made(self, records: Records) -> None:
        taken = await a_pending_job(records)
        submission = replace(await a_submission(records), job_id=taken.job.job_id)
        with pytest.raises(InternalError):
            await records.jobs.submit(submission)
        media = await records.media.get(submission.payload.media_id)
        assert media is not None
        assert media.state is MediaState.PENDING
        assert (await present(records, taken)).job == taken.job

    async def test_job_pending_is_announced_once_the_job_can_be_claimed(self, records: Records) -> None:
        with records.signals.subscribe(Topic.JOB_PENDING) as subscription:
            submitted = await records.jobs.submit(await a_submission(records))
            assert await subscription.wait(5)
        [claimed] = await records.jobs.claim(limit=1, lease=SECOND)
        assert claimed.job.job_id == submitted.reading.job.job_id

    async def test_a_returned_job_is_a_copy(self, records: Records) -> None:
        slot = a_slot()
        reading = (await records.jobs.submit(await a_submission(records, slot=slot))).reading
        for configuration in (slot.configuration, reading.job.configuration):
            configuration.call.params["prompt"] = "changed"  # type: ignore[index] # behind everyone's back
        stored = (await present(records, reading)).job.configuration
        assert stored == a_slot().configuration

    async def test_a_returned_job_does_not_change_afterwards(self, records: Records) -> None:
        reading = await a_pending_job(records)
        await records.jobs.claim(limit=1, lease=SECOND)
        assert reading.job.state is JobState.PENDING

    async def test_the_same_key_and_content_return_the_job_as_replayed(self, records: Records) -> None:
        first = await a_submission(records, idempotency_key="k")
        again = with_payload_of(await a_submission(records, idempotency_key="k"), first)
        made = await records.jobs.submit(first)
        replayed = await records.jobs.submit(again)
        assert replayed.replayed
        assert replayed.reading.job == made.reading.job

    async def test_a_replay_writes_nothing(self, records: Records) -> None:
        first = await a_submission(records, idempotency_key="k")
        again = with_payload_of(await a_submission(records, idempotency_key="k"), first)
        await records.jobs.submit(first)
        await records.jobs.submit(again)
        assert await records.jobs.get(again.job_id) is None
        media = await records.media.get(again.payload.media_id)
        assert media is not None
        assert media.state is MediaState.PENDING

    async def test_the_same_key_with_other_content_is_refused(self, records: Records) -> None:
        await records.jobs.submit(await a_submission(records, idempotency_key="k"))
        other = await a_submission(records, idempotency_key="k")
        with pytest.raises(IdempotencyKeyReused):
            await records.jobs.submit(other)
        assert await records.jobs.get(other.job_id) is None
        media = await records.media.get(other.payload.media_id)
        assert media is not None
        assert media.state is MediaState.PENDING

    async def test_a_final_job_is_replayed_too(self, records: Records) -> None:
        first = await a_submission(records, idempotency_key="k", time_left=SECOND)
        await records.jobs.submit(first)
        await records.time_passes(2 * SECOND)
        await records.jobs.expire([first.job_id])
        again = with_payload_of(await a_submission(records, idempotency_key="k"), first)
        assert (await records.jobs.submit(again)).reading.job.state is JobState.FAILED_TIMEOUT

    async def test_a_key_is_free_again_when_its_job_is_not_visible_any_more(self, records: Records) -> None:
        first = await a_submission(records, idempotency_key="k", time_left=SECOND)
        await records.jobs.submit(first)
        await records.time_passes(2 * SECOND)
        await records.jobs.expire([first.job_id])
        await records.time_passes(first.retention)
        other = await a_submission(records, idempotency_key="k")
        assert not (await records.jobs.submit(other)).replayed
        again = with_payload_of(await a_submission(records, idempotency_key="k"), other)
        assert (await records.jobs.submit(again)).reading.job.job_id == other.job_id
        assert await records.jobs.get(first.job_id) is not None

    async def test_keys_of_different_slots_are_different_keys(self, records: Records) -> None:
        await records.jobs.submit(await a_submission(records, idempotency_key="k"))
        elsewhere = await a_submission(records, idempotency_key="k", slot=a_slot(ANOTHER_SLOT))
        assert not (await records.jobs.submit(elsewhere)).replayed

    async def test_the_same_content_without_a_key_makes_a_job_of_its_own(self, records: Records) -> None:
        first = await a_submission(records)
        again = with_payload_of(await a_submission(records), first)
        assert not (await records.jobs.submit(first)).replayed
        assert not (await records.jobs.submit(again)).replayed

    async def test_of_concurrent_submissions_with_one_key_one_makes_the_job(self, records: Records) -> None:
        for round_number in range(10):
            first = await a_submission(records, idempotency_key=f"k{round_number}")
            rest = [await a_submission(records, idempotency_key=f"k{round_number}") for _ in range(9)]
            all_of_them = [first, *(with_payload_of(submission, first) for submission in rest)]
            results = await asyncio.gather(*map(records.jobs.submit, all_of_them))
            assert [result.replayed for result in results].count(False) == 1
            assert len({result.reading.job.job_id for result in results}) == 1

    async def test_the_same_photo_is_done_once_where_that_is_wanted(self, records: Records) -> None:
        first, again = await _twins(records)
        made = await records.jobs.submit(first)
        twin = await records.jobs.submit(again)
        assert (made.replayed, twin.replayed) == (False, True)
        assert twin.reading.job == made.reading.job
        assert await records.jobs.get(again.job_id) is None

    async def test_another_photo_slot_or_version_is_another_job(self, records: Records) -> None:
        first, again = await _twins(records)
        await records.jobs.submit(first)
        others = [
            await a_submission(records, deduplicate=True),
            replace(again, slot=replace(again.slot, version=again.slot.version + 1)),
            with_payload_of(await a_submission(records, slot=a_slot(ANOTHER_SLOT), deduplicate=True), first),
        ]
        for other in others:
            assert not (await records.jobs.submit(other)).replayed

    async def test_a_job_that_was_not_to_be_shared_is_not(self, records: Records) -> None:
        first, again = await _twins(records)
        await records.jobs.submit(replace(first, deduplicate=False))
        assert not (await records.jobs.submit(again)).replayed

    async def test_a_completed_job_answers_for_its_photo_until_its_result_ends(
        self, records: Records
    ) -> None:
        first, again = await _twins(records)
        await records.jobs.submit(first)
        [claimed] = await records.jobs.claim(limit=1, lease=MINUTE)
        await records.jobs.finalize(claimed.job.job_id, await success(records), fence=claimed.job.fence)
        assert (await records.jobs.submit(again)).replayed
        await records.time_passes(first.retention + SECOND)
        late = with_payload_of(await a_submission(records, deduplicate=True), first)
        assert not (await records.jobs.submit(late)).replayed
        later = with_payload_of(await a_submission(records, deduplicate=True), first)
        assert (await records.jobs.submit(later)).reading.job.job_id == late.job_id

    async def test_a_result_that_was_ended_answers_no_more(self, records: Records) -> None:
        first, again = await _twins(records)
        await records.jobs.submit(first)
        [claimed] = await records.jobs.claim(limit=1, lease=MINUTE)
        await records.jobs.finalize(claimed.job.job_id, await success(records), fence=claimed.job.fence)
        await records.jobs.end_results(A_SLOT, entry=an_entry())
        assert not (await records.jobs.submit(again)).replayed

    @pytest.mark.parametrize("has_stand_in", [False, True])
    async def test_a_failed_job_is_not_reused(self, records: Records, has_stand_in: bool) -> None:
        first, again = await _twins(records)
        await records.jobs.submit(first)
        [claimed] = await records.jobs.claim(limit=1, lease=MINUTE)
        failed = await stand_in(records) if has_stand_in else failure()
        await records.jobs.finalize(claimed.job.job_id, failed, fence=claimed.job.fence)
        assert not (await records.jobs.submit(again)).replayed

    async def test_a_cancelled_or_expired_job_is_not_reused(self, records: Records) -> None:
        first, again = await _twins(records)
        await records.jobs.submit(first)
        await records.jobs.cancel(first.job_id, entry=an_entry())
        assert not (await records.jobs.submit(again)).replayed
        await records.time_passes(2 * MINUTE)
        await records.jobs.expire([again.job_id])
        last = with_payload_of(await a_submission(records, deduplicate=True), first)
        assert not (await records.jobs.submit(last)).replayed

    async def test_one_that_is_wanted_anew_takes_the_place_of_the_earlier_one(self, records: Records) -> None:
        first, again = await _twins(records)
        await records.jobs.submit(first)
        assert not (await records.jobs.submit(replace(again, anew=True))).replayed
        last = with_payload_of(await a_submission(records, deduplicate=True), first)
        assert (await records.jobs.submit(last)).reading.job.job_id == again.job_id

    async def test_of_concurrent_twins_one_makes_the_job(self, records: Records) -> None:
        for _ in range(10):
            first = await a_submission(records, deduplicate=True)
            rest = [await a_submission(records, deduplicate=True) for _ in range(9)]
            all_of_them = [first, *(with_payload_of(submission, first) for submission in rest)]
            results = await asyncio.gather(*map(records.jobs.submit, all_of_them))
            assert [result.replayed for result in results].count(False) == 1
            assert len({result.reading.job.job_id for result in results}) == 1

    async def test_a_twin_whose_file_was_not_announced_is_refused(self, records: Records) -> None:
        submission = replace(await a_submission(records, deduplicate=True), payload=an_image())
        with pytest.raises(InternalError):
            await records.jobs.submit(submission)

    async def test_a_completed_job_reads_as_it_was_returned(self, records: Records) -> None:
        finished = await a_completed_job(records)
        assert (await present(records, finished)).job == finished.job
