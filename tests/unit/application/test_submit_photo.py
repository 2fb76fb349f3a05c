"""Taking photos in: what becomes a job, what is refused, and what is left behind (nothing)."""

from datetime import timedelta

import pytest

from photochanger.adapters.memory import ManualClock
from photochanger.application.ports import JobSubmission
from photochanger.application.submit_photo import ABANDONED_AFTER
from photochanger.domain.errors import (
    DatabaseUnavailable,
    DeadlineExceeded,
    IdempotencyKeyReused,
    InvalidImage,
    InvalidRequest,
    PayloadTooLarge,
    PhotoChangerError,
    SlotDisabled,
    SlotNotFound,
    UnsupportedMediaType,
)
from photochanger.domain.job import JobSource, JobState
from photochanger.domain.media import MediaState
from tests.unit.application.house import BROKEN, PHOTO, SLOT, House

pytestmark = pytest.mark.anyio


@pytest.fixture
async def house() -> House:
    house = House()
    await house.set_up()
    return house


async def test_a_photo_becomes_a_pending_job_with_its_payload_stored(house: House) -> None:
    job = (await house.submit()).reading.job

    assert job.state is JobState.PENDING
    assert (job.deadline - job.created_at).total_seconds() == pytest.approx(48, abs=0.5)
    row = await house.storage.media.get(job.payload_id)
    assert row is not None
    assert row.state is MediaState.STORED
    assert row.sha256 == job.content_hash
    async with house.storage.files.open(row.key) as file:
        assert file.read() == PHOTO


async def test_the_job_keeps_the_configuration_that_it_came_with(house: House) -> None:
    job = (await house.submit()).reading.job

    await house.set_up(operation="something else")

    reading = await house.jobs.get(job.job_id)
    assert reading is not None
    assert reading.job.configuration.call.operation == "paint"


@pytest.mark.parametrize("slot_id", ["slot-016", "", "slot-001/..", "ѕlot-001"])
async def test_an_unknown_slot_is_refused_before_any_byte(house: House, slot_id: str) -> None:
    with pytest.raises(SlotNotFound):
        await house.submit_photo.admit(slot_id, arrived_at=0)


async def test_a_slot_that_is_off_is_refused(house: House) -> None:
    with pytest.raises(SlotDisabled):
        await house.submit_photo.admit("slot-002", arrived_at=0)


@pytest.mark.parametrize(
    ("content", "error"),
    [(b"", InvalidRequest), (b"some text", UnsupportedMediaType), (BROKEN, InvalidImage)],
)
async def test_what_is_no_image_is_refused_and_leaves_nothing(
    house: House, content: bytes, error: type[PhotoChangerError]
) -> None:
    with pytest.raises(error):
        await house.submit(content)

    await house.sweep()
    assert (await house.files(), house.living_rows(), house.storage.records.jobs) == ([], [], {})


async def test_what_the_database_did_not_answer_to_may_be_a_job_and_its_file_is_left(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    submit = house.storage.jobs.submit

    async def lose_the_answer(submission: JobSubmission) -> None:
        await submit(submission)
        raise DatabaseUnavailable

    monkeypatch.setattr(house.storage.jobs, "submit", lose_the_answer)
    with pytest.raises(DatabaseUnavailable):
        await house.submit()

    await house.sweep()
    await house.process_job(await house.claim())
    [job] = house.storage.records.jobs.values()
    assert job.state is JobState.COMPLETED


async def test_too_large_a_photo_is_refused_while_it_streams(house: House) -> None:
    admission = await house.submit_photo.admit(SLOT, arrived_at=house.clock.monotonic())
    written = 0

    async def stream() -> None:
        nonlocal written
        async with house.submit_photo.receive(admission) as upload:
            for _ in range(100):
                await upload.write(bytes(1_000_000))
                written += 1

    with pytest.raises(PayloadTooLarge):
        await stream()

    assert written == 50
    await house.sweep()
    assert (await house.files(), house.living_rows()) == ([], [])


async def test_the_file_is_known_to_the_database_before_its_first_byte(house: House) -> None:
    admission = await house.submit_photo.admit(SLOT, arrived_at=house.clock.monotonic())
    async with house.submit_photo.receive(admission) as upload:
        row = await house.storage.media.get(upload.media_id)
        assert row is not None
        assert row.state is MediaState.PENDING


async def test_a_photo_that_arrives_too_late_is_no_job(house: House) -> None:
    with pytest.raises(DeadlineExceeded):
        await house.submit(time_left_sec=-1)

    await house.sweep()
    assert (await house.files(), house.storage.records.jobs) == ([], {})


async def test_the_same_key_with_the_same_photo_is_the_same_job(house: House) -> None:
    first = await house.submit(key="k1")
    second = await house.submit(key="k1")

    assert (first.replayed, second.replayed) == (False, True)
    assert second.reading.job.job_id == first.reading.job.job_id
    await house.sweep()
    assert await house.files() == ["payload"]


async def test_the_same_key_with_another_photo_is_refused(house: House) -> None:
    await house.submit(key="k1")

    with pytest.raises(IdempotencyKeyReused):
        await house.submit(PHOTO + b"!", key="k1")

    await house.sweep()
    assert await house.files() == ["payload"]


async def test_the_same_photo_is_done_once_where_the_settings_say_so() -> None:
    clock = ManualClock()
    house = House(clock)
    await house.set_up()
    await house.set_deduplication(True)
    first, second = await house.submit(), await house.submit()

    assert (first.replayed, second.replayed) == (False, True)
    assert second.reading.job.job_id == first.reading.job.job_id
    assert not (await house.submit(PHOTO + b"!")).replayed

    await house.sweep()
    assert await house.files() == ["payload"] * 3
    clock.advance(timedelta(seconds=48) + ABANDONED_AFTER)
    await house.sweep()
    assert await house.files() == []


async def test_the_same_photo_is_done_anew_where_the_caller_wants_it(house: House) -> None:
    await house.set_deduplication(True)
    await house.submit()
    assert not (await house.submit(anew=True)).replayed


async def test_a_twin_keeps_its_photo_until_it_knows_that_it_is_not_needed() -> None:
    clock = ManualClock()
    house = House(clock)
    await house.set_up()
    await house.set_deduplication(True)
    first = await house.submit()
    clock.advance(timedelta(seconds=5))
    upload, twin = await house.upload_and_submit()
    assert twin.reading.job.job_id == first.reading.job.job_id

    clock.advance(timedelta(seconds=43))
    await house.jobs.expire([first.reading.job.job_id])
    again = await house.submit_photo.again(upload)

    assert again is not None
    assert not again.replayed
    assert again.reading.job.payload_id == upload.media_id
    assert again.reading.seconds_to_deadline == pytest.approx(5)


async def test_a_photo_with_a_key_has_the_outcome_of_the_keys_job(house: House) -> None:
    upload, _ = await house.upload_and_submit(key="k1")
    assert await house.submit_photo.again(upload) is None


async def test_who_brings_keys_says_which_photos_are_the_same(house: House) -> None:
    await house.set_deduplication(True)
    await house.submit()
    first, second = await house.submit(key="k1"), await house.submit(key="k2")
    assert (first.replayed, second.replayed) == (False, False)
    assert first.reading.job.job_id != second.reading.job.job_id


async def test_a_slot_that_was_changed_does_the_same_photo_again(house: House) -> None:
    await house.set_deduplication(True)
    await house.submit()
    await house.set_up(operation="something else")
    await house.set_deduplication(True)
    assert not (await house.submit()).replayed


async def test_a_test_run_is_always_done(house: House) -> None:
    await house.set_deduplication(True)
    for _ in range(2):
        admission = await house.submit_photo.admit(SLOT, arrived_at=house.clock.monotonic())
        async with house.submit_photo.receive(admission) as upload:
            await upload.write(PHOTO)
            assert not (await house.submit_photo.submit(upload, source=JobSource.TEST)).replayed
