"""How every job repository ends a job."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TypeAlias

import pytest

from photochanger.application.ports.jobs import Verdict
from photochanger.application.ports.signals import Topic
from photochanger.domain.errors import InternalError
from photochanger.domain.job import JobEvent, JobId, JobState
from photochanger.domain.media import MediaState
from photochanger.domain.retention import has_passed
from photochanger.testing.harness import (
    HOUR,
    MINUTE,
    SECOND,
    Records,
    RecordsContract,
    a_completed_job,
    a_job_in,
    a_pending_job,
    a_processing_job,
    an_ended_job,
    an_image,
    doomed_ids,
    failure,
    new_id,
    present,
    present_result,
    stand_in,
    success,
)

Maker: TypeAlias = Callable[[Records], Awaitable[Verdict]]

MAKERS = [success, stand_in]
"""Verdicts that bring a result."""


class JobOutcomeContract(RecordsContract):
    """`finalize`, `get_result`, `expire` and `expire_overdue`."""

    async def test_success_completes_the_job(self, records: Records) -> None:
        claimed = await a_processing_job(records)
        verdict = await success(records)
        finished = await records.jobs.finalize(claimed.job.job_id, verdict, fence=1)
        assert finished is not None
        assert finished.job == replace(
            claimed.job,
            state=JobState.COMPLETED,
            attempts=verdict.attempts,
            result=verdict.result,
            finalized_at=finished.now,
            lease_expires_at=None,
        )
        assert (await present(records, claimed)).job == finished.job

    @pytest.mark.parametrize("event", [JobEvent.PROVIDER_FAILED, JobEvent.INTERNALLY_FAILED])
    async def test_a_failed_job_may_have_a_stand_in(self, records: Records, event: JobEvent) -> None:
        verdict = await stand_in(records, event)
        finished = await an_ended_job(records, verdict)
        assert (finished.job.result, finished.job.failure_reason) == (verdict.result, verdict.failure_reason)
        assert finished.job.state in {JobState.FAILED_PROVIDER, JobState.FAILED_INTERNAL}
        assert finished.job.result_expires_at == finished.now + finished.job.retention
        assert (await present(records, finished)).job == finished.job

    @pytest.mark.parametrize("verdict", MAKERS)
    async def test_the_files_of_a_result_become_stored_and_expire_with_it(
        self, records: Records, verdict: Maker
    ) -> None:
        finished = await an_ended_job(records, await verdict(records))
        result = finished.job.result
        assert result is not None
        for image in (result.image, result.preview):
            media = await records.media.get(image.media_id)
            assert media is not None
            assert (media.state, media.expires_at) == (MediaState.STORED, finished.job.result_expires_at)
            assert (media.size_bytes, media.sha256) == (image.file.size_bytes, image.file.sha256)
            assert media.image_type is image.info.image_type

    @pytest.mark.parametrize("verdict", MAKERS)
    async def test_the_files_of_a_result_are_doomed_when_it_expires(
        self, records: Records, verdict: Maker
    ) -> None:
        finished = await an_ended_job(records, await verdict(records))
        result = finished.job.result
        assert result is not None
        await records.media.confirm_deleted([m.media_id for m in await records.media.doomed(limit=9)])
        await records.time_passes(finished.job.retention - MINUTE)
        assert await doomed_ids(records) == set()
        await records.time_passes(MINUTE)
        assert await doomed_ids(records) == {result.image.media_id, result.preview.media_id}

    @pytest.mark.parametrize(
        ("event", "state"),
        [
            (JobEvent.PROVIDER_FAILED, JobState.FAILED_PROVIDER),
            (JobEvent.INTERNALLY_FAILED, JobState.FAILED_INTERNAL),
        ],
    )
    async def test_a_failure_ends_the_job_with_its_reason(
        self, records: Records, event: JobEvent, state: JobState
    ) -> None:
        claimed = await a_processing_job(records)
        verdict = failure(event)
        finished = await records.jobs.finalize(claimed.job.job_id, verdict, fence=1)
        assert finished is not None
        assert (finished.job.state, finished.job.failure_reason) == (state, verdict.failure_reason)
        assert (finished.job.attempts, finished.job.result) == (verdict.attempts, None)
        assert finished.job.finalized_at == finished.now

    async def test_the_payload_is_condemned_by_success_and_by_failure(self, records: Records) -> None:
        for verdict in (await success(records), failure(), await stand_in(records)):
            claimed = await a_processing_job(records)
            await records.jobs.finalize(claimed.job.job_id, verdict, fence=1)
            assert await doomed_ids(records) == {claimed.job.payload_id}

    async def test_job_finalized_is_announced_once_it_can_be_read(self, records: Records) -> None:
        claimed = await a_processing_job(records)
        with records.signals.subscribe(Topic.JOB_FINALIZED, claimed.job.job_id) as subscription:
            ending = asyncio.create_task(records.jobs.finalize(claimed.job.job_id, failure(), fence=1))
            assert await subscription.wait(5)
            assert (await present(records, claimed)).job.is_finalized
            await ending

    async def test_who_has_lost_the_lease_ends_nothing(self, records: Records) -> None:
        claimed = await a_processing_job(records, lease=10 * SECOND)
        verdict = await success(records)
        assert await records.jobs.finalize(claimed.job.job_id, verdict, fence=2) is None
        await records.time_passes(10 * SECOND)
        assert await records.jobs.finalize(claimed.job.job_id, verdict, fence=1) is None
        await self._assert_nothing_written(records, claimed.job.job_id, verdict, claimed.job.payload_id)

    async def test_nobody_succeeds_from_the_deadline_on(self, records: Records) -> None:
        claimed = await a_processing_job(records, lease=HOUR, time_left=MINUTE)
        verdict = await success(records)
        await records.time_passes(MINUTE)
        assert await records.jobs.finalize(claimed.job.job_id, verdict, fence=1) is None
        await self._assert_nothing_written(records, claimed.job.job_id, verdict, claimed.job.payload_id)

    async def test_a_final_job_is_not_ended_again(self, records: Records) -> None:
        finished = await a_completed_job(records)
        for verdict in (await success(records), failure(), await stand_in(records)):
            assert await records.jobs.finalize(finished.job.job_id, verdict, fence=1) is None
        assert (await present(records, finished)).job == finished.job

    async def test_a_pending_or_unknown_job_is_not_ended_by_a_worker(self, records: Records) -> None:
        pending = await a_pending_job(records)
        assert await records.jobs.finalize(pending.job.job_id, failure(), fence=0) is None
        assert await records.jobs.finalize(JobId(new_id()), failure(), fence=0) is None

    @pytest.mark.parametrize("verdict", MAKERS)
    async def test_a_result_is_read_as_its_job_says(self, records: Records, verdict: Maker) -> None:
        finished = await an_ended_job(records, await verdict(records))
        found = await present_result(records, finished)
        assert found.result == finished.job.result
        assert found.result_expires_at == finished.now + finished.job.retention

    async def test_a_result_that_has_expired_can_still_be_read(self, records: Records) -> None:
        finished = await a_completed_job(records)
        await records.time_passes(finished.job.retention)
        found = await present_result(records, finished)
        assert found.result_expires_at is not None
        assert has_passed(found.result_expires_at, now=found.now)

    @pytest.mark.parametrize("state", [JobState.PENDING, JobState.PROCESSING, JobState.FAILED_TIMEOUT])
    async def test_a_job_without_a_result_is_read_as_such(self, records: Records, state: JobState) -> None:
        assert (await present_result(records, await a_job_in(records, state))).result is None

    async def test_an_unknown_job_has_no_result_to_be_read(self, records: Records) -> None:
        assert await records.jobs.get_result(JobId(new_id())) is None

    @pytest.mark.parametrize("maker", MAKERS)
    async def test_nothing_is_written_where_a_file_of_the_result_was_not_announced(
        self, records: Records, maker: Maker
    ) -> None:
        claimed = await a_processing_job(records)
        verdict = await maker(records)
        assert verdict.result is not None
        unknown = replace(verdict, result=replace(verdict.result, preview=an_image()))
        with pytest.raises(InternalError):
            await records.jobs.finalize(claimed.job.job_id, unknown, fence=1)
        await self._assert_nothing_written(records, claimed.job.job_id, verdict, claimed.job.payload_id)

    @pytest.mark.parametrize("maker", MAKERS)
    async def test_nothing_is_written_where_a_file_of_the_result_is_condemned(
        self, records: Records, maker: Maker
    ) -> None:
        claimed = await a_processing_job(records)
        verdict = await maker(records)
        assert verdict.result is not None
        await records.media.condemn([verdict.result.preview.media_id])
        with pytest.raises(InternalError):
            await records.jobs.finalize(claimed.job.job_id, verdict, fence=1)
        assert (await present(records, claimed)).job == claimed.job

    async def _assert_nothing_written(
        self, records: Records, job_id: JobId, verdict: Verdict, payload_id: str
    ) -> None:
        reading = await records.jobs.get(job_id)
        assert reading is not None
        assert reading.job.state is JobState.PROCESSING
        assert verdict.result is not None
        for image in (verdict.result.image, verdict.result.preview):
            media = await records.media.get(image.media_id)
            assert media is not None
            assert media.state is MediaState.PENDING
        assert payload_id not in await doomed_ids(records)

    async def test_of_concurrent_verdicts_one_wins(self, records: Records) -> None:
        for _ in range(10):
            claimed = await a_processing_job(records)
            verdicts = [await success(records), failure(JobEvent.INTERNALLY_FAILED), await stand_in(records)]
            verdicts *= 2
            ends = await asyncio.gather(
                *(records.jobs.finalize(claimed.job.job_id, verdict, fence=1) for verdict in verdicts)
            )
            [winner] = [reading for reading in ends if reading is not None]
            assert (await present(records, claimed)).job == winner.job

    async def test_expiring_ends_pending_and_processing_jobs_as_timed_out(self, records: Records) -> None:
        processing = await a_processing_job(records, time_left=MINUTE, lease=HOUR)
        pending = await a_pending_job(records, time_left=MINUTE)
        await records.time_passes(MINUTE)
        for reading in (processing, pending):
            [ended] = await records.jobs.expire([reading.job.job_id])
            assert ended.job == replace(
                reading.job,
                state=JobState.FAILED_TIMEOUT,
                failure_reason="timeout",
                finalized_at=ended.job.finalized_at,
                deadline=ended.job.deadline,
                created_at=ended.job.created_at,
                started_at=ended.job.started_at,
                lease_expires_at=None,
            )
            assert ended.job.finalized_at is not None
            assert ended.job.deadline <= ended.job.finalized_at <= ended.now
            assert (await present(records, reading)).job == ended.job

    async def test_expiring_leaves_a_job_before_its_deadline_as_it_is(self, records: Records) -> None:
        claimed = await a_processing_job(records, time_left=MINUTE)
        pending = await a_pending_job(records, time_left=MINUTE)
        readings = await records.jobs.expire([claimed.job.job_id, pending.job.job_id])
        assert sorted((reading.job for reading in readings), key=lambda job: job.created_at) == [
            claimed.job,
            pending.job,
        ]

    async def test_expiring_returns_every_job_that_exists(self, records: Records) -> None:
        finished = await a_completed_job(records)
        pending = await a_pending_job(records, time_left=HOUR)
        overdue = await a_pending_job(records, time_left=SECOND)
        await records.time_passes(SECOND)
        jobs = (finished, pending, overdue)
        readings = await records.jobs.expire([JobId(new_id()), *(reading.job.job_id for reading in jobs)])
        assert {reading.job.job_id: reading.job.state for reading in readings} == {
            finished.job.job_id: JobState.COMPLETED,
            pending.job.job_id: JobState.PENDING,
            overdue.job.job_id: JobState.FAILED_TIMEOUT,
        }
        assert len(readings) == 3

    async def test_the_one_call_that_ended_a_job_says_so(self, records: Records) -> None:
        pending = await a_pending_job(records, time_left=MINUTE)
        await records.time_passes(MINUTE)
        job_id = pending.job.job_id
        calls = await asyncio.gather(*(records.jobs.expire([job_id]) for _ in range(8)))
        assert sorted(reading.ended_here for [reading] in calls) == [*[False] * 7, True]
        again = await records.jobs.get(job_id)
        assert again is not None
        assert not again.ended_here

    async def test_expiring_nothing_returns_nothing(self, records: Records) -> None:
        assert list(await records.jobs.expire([])) == []

    async def test_expiring_condemns_the_payload_and_announces_the_end(self, records: Records) -> None:
        pending = await a_pending_job(records, time_left=SECOND)
        await records.time_passes(SECOND)
        with records.signals.subscribe(Topic.JOB_FINALIZED, pending.job.job_id) as subscription:
            await records.jobs.expire([pending.job.job_id])
            assert await subscription.wait(5)
        assert await doomed_ids(records) == {pending.job.payload_id}

    async def test_no_reading_shows_an_unfinished_job_past_its_deadline(self, records: Records) -> None:
        pending = await a_pending_job(records, time_left=SECOND / 20)
        while True:
            [reading] = await records.jobs.expire([pending.job.job_id])
            if reading.job.is_finalized:
                break
            assert reading.seconds_to_deadline > 0
            await records.time_passes(SECOND / 1000)
        assert reading.job.finalized_at is not None
        assert reading.job.finalized_at >= reading.job.deadline

    async def test_overdue_jobs_are_ended_whoever_waits_for_them(self, records: Records) -> None:
        processing = await a_processing_job(records, time_left=MINUTE, lease=HOUR)
        overdue = [processing, *[await a_pending_job(records, time_left=MINUTE) for _ in range(3)]]
        alive = await a_pending_job(records, time_left=HOUR)
        await records.time_passes(MINUTE)
        first = list(await records.jobs.expire_overdue(limit=3))
        rest = list(await records.jobs.expire_overdue(limit=3))
        assert len(first) == 3
        assert {*first, *rest} == {reading.job.job_id for reading in overdue}
        assert (await present(records, alive)).job.state is JobState.PENDING
        ended = await present(records, processing)
        assert (ended.job.state, ended.job.failure_reason) == (JobState.FAILED_TIMEOUT, "timeout")
        assert await doomed_ids(records) == {reading.job.payload_id for reading in overdue}

    async def test_the_end_of_an_overdue_job_is_announced(self, records: Records) -> None:
        pending = await a_pending_job(records, time_left=SECOND)
        await records.time_passes(SECOND)
        with records.signals.subscribe(Topic.JOB_FINALIZED, pending.job.job_id) as subscription:
            await records.jobs.expire_overdue(limit=1)
            assert await subscription.wait(5)

    async def test_of_concurrent_sweepers_each_ends_other_jobs(self, records: Records) -> None:
        jobs = [await a_pending_job(records, time_left=SECOND) for _ in range(40)]
        await records.time_passes(SECOND)
        sweeps = await asyncio.gather(*(records.jobs.expire_overdue(limit=10) for _ in range(8)))
        ended = [job_id for sweep in sweeps for job_id in sweep]
        ended += await records.jobs.expire_overdue(limit=40)
        assert sorted(ended) == sorted(reading.job.job_id for reading in jobs)
