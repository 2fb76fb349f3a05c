"""The contract of `JobHistory`."""

from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

import pytest

from photochanger.application.ports.administration import JobCursor, JobFilter
from photochanger.application.ports.jobs import JobReading
from photochanger.domain.job import FINAL_STATES, Job, JobId, JobSource, JobState
from photochanger.domain.slot import SLOT_IDS, SlotId
from photochanger.testing.harness import (
    A_SLOT,
    AN_INSTANT,
    ANOTHER_SLOT,
    HOUR,
    MINUTE,
    Records,
    RecordsContract,
    a_job_in,
    a_submission,
    present,
    success,
)

NO_SLOT_OF_A_JOB: Final = SLOT_IDS[-1]
FAILED: Final = FINAL_STATES - {JobState.COMPLETED}
_RETENTION: Final = timedelta(hours=72)

STATES: Final[Sequence[Collection[JobState]]] = [
    [],
    list(JobState),
    FINAL_STATES,
    FAILED,
    set(JobState) - FINAL_STATES,
    [JobState.CANCELLED],
    [JobState.PENDING, JobState.COMPLETED],
    [JobState.PROCESSING, JobState.FAILED_TIMEOUT, JobState.FAILED_TIMEOUT],
    *([state] for state in JobState),
]


def _place(job: Job) -> tuple[datetime, JobId]:
    return job.created_at, job.job_id


def _newest_first(jobs: Sequence[Job]) -> list[Job]:
    return sorted(jobs, key=_place, reverse=True)


def _cursor(job: Job) -> JobCursor:
    return JobCursor(created_at=job.created_at, job_id=job.job_id)


async def some_jobs(records: Records) -> list[Job]:
    """Make jobs in every state but cancelled, of two slots and both sources; return the newest first."""
    readings: list[JobReading] = []
    ends = [JobState.COMPLETED, *sorted(FAILED - {JobState.CANCELLED})]
    for state in [*ends, *ends, JobState.PROCESSING, JobState.PROCESSING, JobState.PENDING, JobState.PENDING]:
        slot_id = (A_SLOT, ANOTHER_SLOT)[len(readings) % 2]
        source = (JobSource.BOOTH, JobSource.BOOTH, JobSource.TEST)[len(readings) % 3]
        readings.append(await a_job_in(records, state, slot_id=slot_id, source=source))
        if len(readings) % 3 == 0:  # else, where time stands still, two are of the same moment
            await records.time_passes(MINUTE)
    return _newest_first([(await present(records, reading)).job for reading in readings])


async def _with_result(
    records: Records, *, slot_id: SlotId = A_SLOT, retention: timedelta = _RETENTION
) -> JobReading:
    submission = await a_submission(records, source=JobSource.BOOTH)
    slot = replace(submission.slot, slot_id=slot_id)
    await records.jobs.submit(replace(submission, slot=slot, retention=retention))
    [claimed] = await records.jobs.claim(limit=1, lease=HOUR)
    ended = await records.jobs.finalize(claimed.job.job_id, await success(records), fence=claimed.job.fence)
    assert ended is not None
    return ended


async def _ids_with_results(records: Records, slot_id: SlotId = A_SLOT, *, limit: int = 100) -> list[JobId]:
    return [job.job_id for job in await records.history.with_results(slot_id, limit=limit)]


class JobHistoryContract(RecordsContract):
    """Every sentence of `JobHistory`; override the fixture `records`."""

    async def test_all_jobs_come_the_newest_first_and_whole(self, records: Records) -> None:
        jobs = await some_jobs(records)
        assert await records.history.page(JobFilter(), limit=100) == jobs

    async def test_without_a_job_there_is_nothing(self, records: Records) -> None:
        assert await records.history.page(JobFilter(), limit=100) == []
        assert await records.history.latest(JobSource.BOOTH) == {}
        assert await records.history.with_results(A_SLOT, limit=100) == []

    @pytest.mark.parametrize("limit", [1, 3, 100])
    @pytest.mark.parametrize("states", [None, FAILED])
    async def test_pages_follow_one_another_without_a_gap(
        self, records: Records, limit: int, states: Collection[JobState] | None
    ) -> None:
        jobs = await some_jobs(records)
        wanted = JobFilter(states=states)
        seen: list[Job] = []
        while page := await records.history.page(
            wanted, limit=limit, after=_cursor(seen[-1]) if seen else None
        ):
            assert len(page) <= limit
            seen += page
            await a_job_in(records, JobState.PENDING)  # is newer, and so on no page that follows
        first = [job for job in jobs if states is None or job.state in states]
        assert seen == first

    async def test_a_cursor_need_not_be_at_a_job_that_is_wanted(self, records: Records) -> None:
        jobs = await some_jobs(records)
        for cursor in map(_cursor, jobs):
            page = await records.history.page(JobFilter(slot_id=A_SLOT), limit=100, after=cursor)
            rest = [job for job in jobs if _place(job) < (cursor.created_at, cursor.job_id)]
            assert page == [job for job in rest if job.slot_id == A_SLOT]

    @pytest.mark.parametrize("states", STATES)
    async def test_only_wanted_states(self, records: Records, states: Collection[JobState]) -> None:
        jobs = await some_jobs(records)
        for slot_id in (None, A_SLOT, NO_SLOT_OF_A_JOB):
            page = await records.history.page(JobFilter(states=states, slot_id=slot_id), limit=100)
            assert page == [job for job in jobs if job.state in states and slot_id in {None, job.slot_id}]

    @pytest.mark.parametrize("source", JobSource)
    async def test_only_the_wanted_source(self, records: Records, source: JobSource) -> None:
        jobs = await some_jobs(records)
        for states in (None, FAILED, [JobState.COMPLETED, JobState.PENDING]):
            page = await records.history.page(JobFilter(source=source, states=states), limit=100)
            assert page == [
                job for job in jobs if job.source is source and (states is None or job.state in states)
            ]

    async def test_the_beginning_of_a_time_is_included_and_its_end_is_not(self, records: Records) -> None:
        jobs = await some_jobs(records)
        since, until = jobs[-3].created_at, jobs[2].created_at
        for wanted in (
            JobFilter(since=since),
            JobFilter(until=until),
            JobFilter(since=since, until=until),
            JobFilter(since=since + AN_INSTANT, until=until + AN_INSTANT),
            JobFilter(since=since, until=until, states=FAILED, source=JobSource.BOOTH),
            JobFilter(since=until, until=since),
        ):
            page = await records.history.page(wanted, limit=100)
            assert page == [
                job
                for job in jobs
                if (wanted.since is None or wanted.since <= job.created_at)
                and (wanted.until is None or job.created_at < wanted.until)
                and (wanted.states is None or job.state in wanted.states)
                and wanted.source in {None, job.source}
            ]

    @pytest.mark.parametrize("source", JobSource)
    @pytest.mark.parametrize("states", [None, *STATES])
    async def test_the_newest_of_each_slot(
        self, records: Records, states: Collection[JobState] | None, source: JobSource
    ) -> None:
        jobs = [job for job in await some_jobs(records) if job.source is source]
        newest = {job.slot_id: job for job in reversed(jobs) if states is None or job.state in states}
        assert await records.history.latest(source, states) == newest

    async def test_results_come_the_newest_first_whatever_their_end(self, records: Records) -> None:
        ended = []
        for retention in (_RETENTION, HOUR, 2 * HOUR):
            ended.append(await _with_result(records, retention=retention))
            await records.time_passes(MINUTE)
        newest_first = [reading.job.job_id for reading in reversed(ended)]
        assert await _ids_with_results(records) == newest_first
        assert await _ids_with_results(records, limit=2) == newest_first[:2]
        [first] = await records.history.with_results(A_SLOT, limit=1)
        assert first == (await present(records, ended[-1])).job

    async def test_results_are_newest_by_their_end_and_not_by_their_submission(
        self, records: Records
    ) -> None:
        early = await records.jobs.submit(await a_submission(records, time_left=HOUR))
        await records.jobs.claim(limit=1, lease=HOUR)
        await records.time_passes(MINUTE)
        late = await _with_result(records)
        await records.time_passes(MINUTE)
        await records.jobs.finalize(early.reading.job.job_id, await success(records), fence=1)
        assert await _ids_with_results(records) == [early.reading.job.job_id, late.job.job_id]

    async def test_of_results_of_one_moment_the_greater_id_comes_first(self, records: Records) -> None:
        for _ in range(5):
            await _with_result(records)
        jobs = await records.history.with_results(A_SLOT, limit=100)
        assert jobs == sorted(jobs, key=lambda job: (str(job.finalized_at), job.job_id), reverse=True)
        assert len(jobs) == 5

    async def test_a_result_is_left_out_once_its_end_has_come(self, records: Records) -> None:
        kept = await _with_result(records)
        ended = await _with_result(records, retention=2 * HOUR)
        await records.time_passes(2 * HOUR - MINUTE)
        assert set(await _ids_with_results(records)) == {kept.job.job_id, ended.job.job_id}
        await records.time_passes(MINUTE)
        assert await _ids_with_results(records) == [kept.job.job_id]

    async def test_results_of_the_longest_life_are_there_to_their_end(self, records: Records) -> None:
        kept = await _with_result(records, retention=timedelta(hours=168))
        await records.time_passes(timedelta(hours=168) - MINUTE)
        assert await _ids_with_results(records) == [kept.job.job_id]
        await records.time_passes(MINUTE)
        assert await _ids_with_results(records) == []

    async def test_only_the_slots_own_results_stand_ins_and_tests_included(self, records: Records) -> None:
        stand_in = await a_job_in(records, JobState.FAILED_PROVIDER, source=JobSource.TEST)
        await a_job_in(records, JobState.FAILED_INTERNAL)
        await a_job_in(records, JobState.FAILED_TIMEOUT)
        other = await _with_result(records, slot_id=ANOTHER_SLOT)
        assert await _ids_with_results(records) == [stand_in.job.job_id]
        assert await _ids_with_results(records, ANOTHER_SLOT) == [other.job.job_id]
        assert await _ids_with_results(records, NO_SLOT_OF_A_JOB) == []
