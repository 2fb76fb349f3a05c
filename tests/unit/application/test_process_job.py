"""Doing jobs: success, every way to fail, and what cuts the work short."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any, BinaryIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from photochanger.application import process_job as module
from photochanger.application.ports import TransformRequest
from photochanger.domain.errors import (
    DatabaseUnavailable,
    PhotoChangerError,
    ProviderError,
    ProviderNoImage,
    ProviderRefused,
    ResultNotFound,
)
from photochanger.domain.job import JobEvent, JobId, JobState
from photochanger.domain.media import MediaKind
from photochanger.domain.slot import RetryPolicy
from tests.unit.application.house import PHOTO, House, ObedientProvider, hang, paint

pytestmark = pytest.mark.anyio


@pytest.fixture
async def house() -> House:
    house = House()
    await house.set_up(retry=RetryPolicy(max_attempts=0))
    return house


async def test_a_photo_comes_out_as_a_picture_with_a_preview(house: House) -> None:
    submitted = await house.submit()

    await house.process_job(await house.claim())

    job = (await house.state_of(submitted)).job
    assert job.state is JobState.COMPLETED
    assert job.attempts == 1
    result = await house.open_result(job.job_id)
    assert (
        b"".join([chunk async for chunk in house.open_result.content(result).read()]) == PHOTO + b", painted"
    )
    preview = await house.open_result(job.job_id, MediaKind.PREVIEW)
    assert b"".join([chunk async for chunk in house.open_result.content(preview).read()]) == b"preview"


async def test_the_provider_is_asked_with_all_parameters_and_the_deadline(house: House) -> None:
    await house.submit(time_left_sec=20)

    await house.process_job(await house.claim())

    [request] = house.provider.requests
    assert request.operation == "paint"
    assert request.params == {"strength": 40}
    assert request.deadline - house.clock.monotonic() == pytest.approx(20, abs=1)


async def test_the_payload_goes_when_the_job_is_done(house: House) -> None:
    await house.submit()
    await house.process_job(await house.claim())

    await house.sweep()

    assert await house.files() == ["preview", "result"]
    assert house.living_rows() == ["preview", "result"]


@pytest.mark.parametrize("error", [ProviderError, ProviderRefused, ProviderNoImage])
async def test_a_providers_failure_is_the_jobs_with_its_code(
    house: House, error: type[PhotoChangerError]
) -> None:
    async def fail(request: TransformRequest, into: BinaryIO) -> None:
        raise error

    house.provider.behaviour = fail
    submitted = await house.submit()

    await house.process_job(await house.claim())

    job = (await house.state_of(submitted)).job
    assert (job.state, job.failure_reason, job.attempts) == (JobState.FAILED_PROVIDER, error.code, 1)
    await house.sweep()
    assert (await house.files(), house.living_rows()) == ([], [])


async def test_a_picture_that_is_none_is_the_providers_failure(house: House) -> None:
    async def answer_with_a_page(request: TransformRequest, into: BinaryIO) -> None:
        into.write(b"<html>Bad gateway</html>")

    house.provider.behaviour = answer_with_a_page
    submitted = await house.submit()

    await house.process_job(await house.claim())

    job = (await house.state_of(submitted)).job
    assert (job.state, job.failure_reason) == (JobState.FAILED_PROVIDER, "provider_error")


@pytest.mark.parametrize(("provider", "operation"), [("nobody", "paint"), ("painter", "sculpt")])
async def test_a_provider_that_is_not_there_is_a_mistake_in_the_set_up(
    house: House, provider: str, operation: str
) -> None:
    await house.set_up(provider=provider, operation=operation)
    submitted = await house.submit()

    await house.process_job(await house.claim())

    job = (await house.state_of(submitted)).job
    assert (job.state, job.failure_reason) == (JobState.FAILED_PROVIDER, "provider_misconfigured")
    assert job.attempts == 0


async def test_a_photo_that_cannot_be_decoded_after_all_says_so(house: House) -> None:
    submitted = await house.submit(PHOTO + b" undecodable")

    await house.process_job(await house.claim())

    job = (await house.state_of(submitted)).job
    assert (job.state, job.failure_reason) == (JobState.FAILED_INTERNAL, "invalid_image")


async def test_a_defect_ends_the_job_and_is_raised_for_the_log(house: House) -> None:
    async def stumble(request: TransformRequest, into: BinaryIO) -> None:
        raise ZeroDivisionError

    house.provider.behaviour = stumble
    submitted = await house.submit()

    with pytest.raises(ZeroDivisionError):
        await house.process_job(await house.claim())

    job = (await house.state_of(submitted)).job
    assert (job.state, job.failure_reason) == (JobState.FAILED_INTERNAL, "internal_error")


async def test_an_error_of_a_job_that_is_over_is_no_defect(house: House) -> None:
    submitted = await house.submit()
    claimed = await house.claim()
    cancelled = claimed.job.apply(JobEvent.CANCEL_REQUESTED, now=house.clock.now())
    house.storage.records.replace_job(cancelled)
    await house.storage.files.delete(await house.keys())

    await house.process_job(claimed)

    assert (await house.state_of(submitted)).job == cancelled


async def test_a_provider_that_hangs_is_cut_short_and_the_job_times_out(house: House) -> None:
    house.provider.behaviour = hang
    submitted = await house.submit(time_left_sec=1.0)

    await house.process_job(await house.claim())

    job = (await house.state_of(submitted)).job
    assert (job.state, job.failure_reason) == (JobState.FAILED_TIMEOUT, "timeout")
    assert job.finalized_at is not None
    assert job.finalized_at >= job.deadline
    assert house.provider.cancelled == 1
    await house.sweep()
    assert (await house.files(), house.living_rows()) == ([], [])


async def test_a_job_without_time_for_a_call_frees_the_room_and_is_not_tried_again(house: House) -> None:
    house.provider = ObedientProvider(least_useful_sec=60.0)
    submitted = await house.submit(time_left_sec=48.0)

    await asyncio.wait_for(house.process_job(await house.claim()), 2)

    job = (await house.state_of(submitted)).job
    assert job.state is JobState.PROCESSING
    assert job.lease_expires_at is not None
    assert abs(job.lease_expires_at - job.deadline) < timedelta(seconds=1)
    assert house.provider.requests == []


async def test_a_time_out_of_a_library_is_not_taken_for_the_deadline(house: House) -> None:
    async def give_up(request: TransformRequest, into: BinaryIO) -> None:
        raise TimeoutError

    house.provider.behaviour = give_up
    submitted = await house.submit()

    with pytest.raises(TimeoutError):
        await house.process_job(await house.claim())

    assert (await house.state_of(submitted)).job.state is JobState.FAILED_INTERNAL


async def test_the_work_stops_when_somebody_else_ends_the_job(house: House) -> None:
    house.provider.behaviour = hang
    submitted = await house.submit(time_left_sec=30)
    job_id = submitted.reading.job.job_id
    working = asyncio.create_task(house.process_job(await house.claim()))
    await house.provider.called.wait()

    house.storage.records.replace_job(
        (await house.state_of(submitted)).job.apply(JobEvent.CANCEL_REQUESTED, now=house.clock.now())
    )
    house.storage.signals.announce_everything()
    await asyncio.wait_for(working, 2)

    assert house.provider.cancelled == 1
    with pytest.raises(ResultNotFound):
        await house.open_result(job_id)


def first_renewal(house: House, monkeypatch: pytest.MonkeyPatch) -> asyncio.Event:
    """Return what is set when a lease has been renewed."""
    renew, renewed = house.jobs.renew, asyncio.Event()

    async def watched(job_id: JobId, *, fence: int, lease: timedelta, attempts: int = 0) -> bool:
        held = await renew(job_id, fence=fence, lease=lease, attempts=attempts)
        renewed.set()
        return held

    monkeypatch.setattr(house.jobs, "renew", watched)
    return renewed


async def test_a_signal_for_nothing_costs_neither_the_job_nor_a_second_call(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    renewed, go_on = first_renewal(house, monkeypatch), asyncio.Event()

    async def paint_later(request: TransformRequest, into: BinaryIO) -> None:
        await go_on.wait()
        await paint(request, into)

    house.provider.behaviour = paint_later
    submitted = await house.submit()
    working = asyncio.create_task(house.process_job(await house.claim()))
    await house.provider.called.wait()

    house.storage.signals.announce_everything()
    await asyncio.wait_for(renewed.wait(), 2)
    go_on.set()
    await asyncio.wait_for(working, 2)

    assert (await house.state_of(submitted)).job.state is JobState.COMPLETED
    assert len(house.provider.requests) == 1


async def test_the_lease_is_renewed_while_the_work_goes_on(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RENEW_EVERY_SEC", 0.01)
    renewed = first_renewal(house, monkeypatch)
    house.provider.behaviour = hang
    submitted = await house.submit()
    claimed = await house.claim()
    working = asyncio.create_task(house.process_job(claimed))

    await asyncio.wait_for(renewed.wait(), 2)

    before, after = claimed.job.lease_expires_at, (await house.state_of(submitted)).job.lease_expires_at
    assert before is not None
    assert after is not None
    assert after > before
    assert (await house.state_of(submitted)).job.attempts == 1, "a job that times out tells of its calls too"
    working.cancel()
    await asyncio.wait([working])


@given(now=st.floats(min_value=0, max_value=1e7))
def test_all_jobs_of_a_process_are_renewed_at_the_same_moments(now: float) -> None:
    every = module.RENEW_EVERY_SEC
    wait = module._to_next_renewal(now)
    assert every / 2 <= wait <= every * 3 / 2
    assert (now + wait) / every == pytest.approx(round((now + wait) / every), abs=1e-6)


async def test_a_worker_that_lost_its_lease_stops_and_writes_nothing(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RENEW_EVERY_SEC", 0.01)
    house.provider.behaviour = hang
    submitted = await house.submit()
    claimed = await house.claim()
    records = house.storage.records
    lapsed = replace(claimed.job, lease_expires_at=claimed.now - timedelta(seconds=1))
    records.replace_job(lapsed)

    await asyncio.wait_for(house.process_job(claimed), 2)

    assert house.provider.cancelled == 1
    assert (await house.state_of(submitted)).job == lapsed


async def test_a_shutdown_hands_the_job_back(house: House) -> None:
    house.provider.behaviour = hang
    submitted = await house.submit()
    working = asyncio.create_task(house.process_job(await house.claim()))
    await house.provider.called.wait()

    working.cancel()
    with pytest.raises(asyncio.CancelledError):
        await working

    assert (await house.state_of(submitted)).job.state is JobState.PENDING
    assert house.provider.cancelled == 1


def lose(
    monkeypatch: pytest.MonkeyPatch, target: object, name: str, *, times: int, answer_only: bool = False
) -> None:
    """Have the database lose so many statements, or the answers to them."""
    call, losses = getattr(target, name), iter(range(times))

    async def lost(*given: Any, **named: Any) -> Any:
        for _ in losses:
            if answer_only:
                await call(*given, **named)
            raise DatabaseUnavailable
        return await call(*given, **named)

    monkeypatch.setattr(target, name, lost)


async def test_a_database_that_is_away_for_a_moment_does_not_cost_the_result(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    lose(monkeypatch, house.jobs, "finalize", times=2)
    submitted = await house.submit()

    await house.process_job(await house.claim())

    assert (await house.state_of(submitted)).job.state is JobState.COMPLETED


@pytest.mark.parametrize("answer_only", [False, True], ids=["the statement", "its answer"])
async def test_nor_where_the_picture_is_announced(
    house: House, monkeypatch: pytest.MonkeyPatch, answer_only: bool
) -> None:
    submitted = await house.submit()
    claimed = await house.claim()
    lose(monkeypatch, house.storage.media, "intend", times=2, answer_only=answer_only)

    await house.process_job(claimed)

    assert (await house.state_of(submitted)).job.state is JobState.COMPLETED
    assert len(house.provider.requests) == 1
    result = await house.open_result(submitted.reading.job.job_id)
    stored = b"".join([chunk async for chunk in house.open_result.content(result).read()])
    assert stored == PHOTO + b", painted"


async def test_a_database_that_stays_away_while_the_picture_is_announced_costs_the_time_there_is(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    submitted = await house.submit(time_left_sec=1.0)
    claimed = await house.claim()
    lose(monkeypatch, house.storage.media, "intend", times=1_000)

    await house.process_job(claimed)

    assert (await house.state_of(submitted)).job.state is JobState.FAILED_TIMEOUT


async def test_a_result_that_lost_against_the_deadline_is_swept_away(house: House) -> None:
    async def take_too_long_to_store(request: TransformRequest, into: BinaryIO) -> None:
        into.write(b"image: late")
        records = house.storage.records
        job = records.jobs[request_job]
        records.replace_job(replace(job, deadline=house.clock.now()))
        await house.jobs.expire([request_job])

    house.provider.behaviour = take_too_long_to_store
    submitted = await house.submit()
    request_job = submitted.reading.job.job_id

    await house.process_job(await house.claim())

    job = (await house.state_of(submitted)).job
    assert (job.state, job.result) == (JobState.FAILED_TIMEOUT, None)
    for media_id in list(house.storage.records.media):
        await house.storage.media.condemn([media_id])
    await house.sweep()
    assert (await house.files(), house.living_rows()) == ([], [])


async def test_what_is_stored_of_a_result_that_finds_no_room_goes_with_the_next_sweep(house: House) -> None:
    submitted = await house.submit()
    mark, picture = await house.storage.installation.get_id(), PHOTO + b", painted"
    house.storage.files.capacity_bytes = len(mark) + len(PHOTO) + len(picture) + len(b"preview") - 1
    await house.process_job(await house.claim())
    job = (await house.state_of(submitted)).job
    assert (job.state, job.failure_reason) == (JobState.FAILED_INTERNAL, "storage_unavailable")
    assert await house.files() == ["payload", "result"]
    await house.sweep()
    assert await house.files() == []
    assert house.living_rows() == []
