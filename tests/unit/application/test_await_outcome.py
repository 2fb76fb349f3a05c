"""Held requests: woken at once, ended at the deadline and not before, whatever the database does."""

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import timedelta

import pytest

from photochanger.application import await_outcome as module
from photochanger.application.await_outcome import error_of
from photochanger.application.ports import JobReading
from photochanger.domain.errors import (
    DatabaseUnavailable,
    DeadlineExceeded,
    JobFinalized,
    JobNotFound,
    ProviderRefused,
)
from photochanger.domain.job import JobId, JobResult, JobState, ResultSource
from photochanger.testing.harness import an_image
from tests.unit.application.house import House, hang

pytestmark = pytest.mark.anyio


@pytest.fixture
async def house() -> House:
    house = House()
    await house.set_up()
    return house


async def test_a_waiter_is_woken_when_its_job_is_final(house: House) -> None:
    job_id = (await house.submit()).reading.job.job_id
    waiting = asyncio.create_task(house.await_outcome(job_id, deadline=house.clock.monotonic() + 30))

    await house.process_job(await house.claim())

    reading = await asyncio.wait_for(waiting, 1)
    assert reading.job.state is JobState.COMPLETED


async def test_a_job_that_is_final_already_is_returned_at_once(house: House) -> None:
    job_id = (await house.submit()).reading.job.job_id
    await house.process_job(await house.claim())

    assert (await house.await_outcome(job_id, deadline=house.clock.monotonic() + 30)).job.is_finalized


async def test_a_job_that_was_expected_is_not_looked_for_before_a_signal_comes(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    get, looks = house.jobs.get, 0

    async def counted(job_id: JobId) -> JobReading | None:
        nonlocal looks
        looks += 1
        return await get(job_id)

    monkeypatch.setattr(house.jobs, "get", counted)
    with house.await_outcome.expecting() as expected:
        submitted = await house.submit(job_id=expected.job_id)
        assert submitted.reading.job.job_id == expected.job_id
        await house.process_job(await house.claim())  # before anybody waits
        reading = await house.await_outcome(
            expected.job_id, deadline=house.clock.monotonic() + 30, is_own=True, expected=expected
        )

    assert reading.job.state is JobState.COMPLETED
    assert looks == 1


async def test_an_older_job_that_was_found_instead_is_looked_for(house: House) -> None:
    job_id = (await house.submit()).reading.job.job_id
    await house.process_job(await house.claim())

    with house.await_outcome.expecting() as expected:
        reading = await house.await_outcome(job_id, deadline=house.clock.monotonic() + 30, expected=expected)

    assert reading.job.job_id == job_id != expected.job_id
    assert reading.job.is_finalized


async def test_at_the_deadline_the_waiter_ends_the_job_itself_and_not_before(house: House) -> None:
    submitted = await house.submit(time_left_sec=0.3)
    deadline = house.clock.monotonic() + 0.25

    reading = await house.await_outcome(submitted.reading.job.job_id, deadline=deadline)

    assert reading.job.state is JobState.FAILED_TIMEOUT
    assert reading.now >= reading.job.deadline
    assert house.clock.monotonic() >= deadline


async def test_an_unknown_job_is_not_waited_for(house: House) -> None:
    with pytest.raises(JobNotFound):
        await house.await_outcome(JobId("0" * 32), deadline=house.clock.monotonic() + 30)
    with pytest.raises(JobNotFound):
        await house.await_outcome(JobId("0" * 32), deadline=house.clock.monotonic() - 1)


async def test_an_older_job_with_a_later_deadline_is_left_alone(house: House) -> None:
    submitted = await house.submit(time_left_sec=30)

    with pytest.raises(DeadlineExceeded):
        await house.await_outcome(submitted.reading.job.job_id, deadline=house.clock.monotonic())

    assert (await house.state_of(submitted)).job.state is JobState.PENDING


async def test_waiters_with_one_deadline_share_their_statements(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    expire, calls = house.jobs.expire, []

    async def counting(job_ids: Collection[JobId]) -> Sequence[JobReading]:
        calls.append(len(job_ids))
        await asyncio.sleep(0.01)  # as long as a database might take
        return await expire(job_ids)

    monkeypatch.setattr(house.jobs, "expire", counting)
    house.await_outcome = module.AwaitOutcome(
        jobs=house.jobs, signals=house.storage.signals, clock=house.clock
    )
    submitted = [await house.submit(time_left_sec=0.3) for _ in range(100)]
    deadline = house.clock.monotonic() + 0.3

    readings = await asyncio.gather(
        *(house.await_outcome(each.reading.job.job_id, deadline=deadline) for each in submitted)
    )

    assert {reading.job.state for reading in readings} == {JobState.FAILED_TIMEOUT}
    assert {reading.job.job_id for reading in readings} == {each.reading.job.job_id for each in submitted}
    assert len(calls) < 20


async def test_the_deadline_is_kept_when_the_database_does_not_answer(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(_: object) -> None:
        raise DatabaseUnavailable

    async def stay_silent(_: object) -> None:
        await asyncio.Event().wait()

    submitted = await house.submit()
    for reading, expiring in ((refuse, refuse), (stay_silent, stay_silent)):
        monkeypatch.setattr(house.jobs, "get", reading)
        monkeypatch.setattr(house.jobs, "expire", expiring)
        await_outcome = module.AwaitOutcome(jobs=house.jobs, signals=house.storage.signals, clock=house.clock)
        deadline = house.clock.monotonic() + 0.1
        with pytest.raises(DeadlineExceeded):
            await await_outcome(submitted.reading.job.job_id, deadline=deadline)
        assert 0 <= house.clock.monotonic() - deadline < module.SETTLING_SEC + 0.2


async def test_the_deadline_is_kept_when_the_database_takes_its_time_to_refuse(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse_slowly(_: object) -> None:
        await asyncio.sleep(0.4)
        raise DatabaseUnavailable

    monkeypatch.setattr(module, "POLL_SEC", 0.3)
    for name in ("get", "get_many", "expire"):
        monkeypatch.setattr(house.jobs, name, refuse_slowly)
    await_outcome = module.AwaitOutcome(jobs=house.jobs, signals=house.storage.signals, clock=house.clock)
    deadline = house.clock.monotonic() + 0.5

    with pytest.raises(DeadlineExceeded):
        await await_outcome((await house.submit()).reading.job.job_id, deadline=deadline)

    assert 0 <= house.clock.monotonic() - deadline < module.SETTLING_SEC + 0.1


async def test_no_look_is_begun_that_the_deadline_would_cut_off(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    get, looks = house.jobs.get, []

    async def counting(job_id: JobId) -> JobReading | None:
        looks.append(job_id)
        return await get(job_id)

    monkeypatch.setattr(house.jobs, "get", counting)
    monkeypatch.setattr(module, "POLL_SEC", 0.1)
    submitted = await house.submit(time_left_sec=0.14)
    deadline = house.clock.monotonic() + 0.14

    await house.await_outcome(submitted.reading.job.job_id, deadline=deadline)

    assert len(looks) == 1


async def test_others_may_end_the_job_a_moment_before_the_waiters_deadline_and_the_answer_waits(
    house: House,
) -> None:
    submitted = await house.submit(time_left_sec=0.05)
    deadline = house.clock.monotonic() + 0.2
    waiting = asyncio.create_task(house.await_outcome(submitted.reading.job.job_id, deadline=deadline))

    async def sweep_until_it_is_ended() -> None:
        while not await house.jobs.expire_overdue(limit=1):  # noqa: ASYNC110 - the clock makes it due
            await asyncio.sleep(0.01)

    await asyncio.wait_for(sweep_until_it_is_ended(), 1)
    assert (await waiting).job.state is JobState.FAILED_TIMEOUT
    assert house.clock.monotonic() >= deadline


async def test_a_lost_signal_costs_no_more_than_a_poll(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "POLL_SEC", 0.02)
    monkeypatch.setattr(house.storage.records.hub, "announce", lambda *_: None)
    job_id = (await house.submit()).reading.job.job_id
    waiting = asyncio.create_task(house.await_outcome(job_id, deadline=house.clock.monotonic() + 30))
    await asyncio.sleep(0)

    await house.process_job(await house.claim())

    assert (await asyncio.wait_for(waiting, 2)).job.is_finalized


async def test_all_who_look_for_themselves_at_one_time_do_so_together(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    get_many, asked = house.jobs.get_many, list[int]()

    async def counted(job_ids: Collection[JobId]) -> Sequence[JobReading]:
        asked.append(len(job_ids))
        await asyncio.sleep(0)
        return await get_many(job_ids)

    monkeypatch.setattr(module, "POLL_SEC", 0.2)
    monkeypatch.setattr(house.jobs, "get_many", counted)
    await_outcome = module.AwaitOutcome(jobs=house.jobs, signals=house.storage.signals, clock=house.clock)
    submitted = [await house.submit(b"image: %d" % number, time_left_sec=0.7) for number in range(100)]
    deadline = house.clock.monotonic() + 0.7

    readings = await asyncio.gather(
        *(await_outcome(each.reading.job.job_id, deadline=deadline) for each in submitted)
    )

    assert [each.job.job_id for each in readings] == [each.reading.job.job_id for each in submitted]
    assert sum(asked) >= 100
    assert len(asked) < 50


async def test_a_waiter_that_leaves_does_not_disturb_the_job(house: House) -> None:
    house.provider.behaviour = hang
    submitted = await house.submit()
    job_id = submitted.reading.job.job_id
    waiting = asyncio.create_task(house.await_outcome(job_id, deadline=house.clock.monotonic() + 30))
    await asyncio.sleep(0)

    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting

    assert (await house.state_of(submitted)).job.state is JobState.PENDING


async def test_without_a_stand_in_the_error_of_a_job_is_that_of_its_failure_reason(house: House) -> None:
    async def refuse(*_: object) -> None:
        raise ProviderRefused

    house.provider.behaviour = refuse
    submitted = await house.submit()
    await house.process_job(await house.claim())

    job = (await house.state_of(submitted)).job
    assert isinstance(error_of(job), ProviderRefused)
    stand_in = JobResult(image=an_image(), preview=an_image(), source=ResultSource.ORIGINAL)
    assert error_of(replace(job, result=stand_in)) is None


async def test_a_completed_job_means_no_error_and_a_cancelled_one_a_conflict(house: House) -> None:
    submitted = await house.submit()
    job = submitted.reading.job
    ended = replace(job, finalized_at=job.created_at + timedelta(seconds=1))
    await house.process_job(await house.claim())

    assert error_of((await house.state_of(submitted)).job) is None
    assert isinstance(error_of(replace(ended, state=JobState.CANCELLED)), JobFinalized)
    assert isinstance(
        error_of(replace(ended, state=JobState.FAILED_TIMEOUT, failure_reason="timeout")), DeadlineExceeded
    )
