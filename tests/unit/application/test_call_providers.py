"""Carrying out the call plan: repetitions, models, the fallback, quotas, breakers, links, stand-ins."""

import asyncio
from dataclasses import replace
from io import BytesIO
from typing import BinaryIO

import pytest

from photochanger.application.identifiers import new_media_id
from photochanger.application.ports import TransformRequest
from photochanger.application.process_job import LEASE
from photochanger.application.store_image import store_image
from photochanger.domain.errors import (
    DatabaseUnavailable,
    ProviderError,
    ProviderFault,
    ProviderModelGone,
    ProviderNoImage,
    ProviderQuotaExhausted,
    ProviderRefused,
)
from photochanger.domain.job import Job, JobState, ResultSource
from photochanger.domain.media import MediaId, MediaKind, StoredImage
from photochanger.domain.quota import Quota
from photochanger.domain.settings import LimitSettings
from photochanger.domain.slot import OnFailure, ProviderCall, RetryPolicy, TemplateBinding
from photochanger.testing.harness import MINUTE, an_entry
from tests.unit.application.house import BROKEN, INFO, PHOTO, SLOT, House, ObedientProvider, fails_with, hang
from tests.unit.application.virtual_time import VirtualClock, run

pytestmark = pytest.mark.anyio

FALLBACK = ProviderCall(provider="sculptor", operation="paint")


@pytest.fixture
async def house() -> House:
    house = House()
    await house.set_up(retry=RetryPolicy(backoff_ms=0), fallback=FALLBACK)
    return house


async def done(house: House, *, time_left_sec: float = 48.0) -> Job:
    """Send a photo, have its job done, and return it."""
    submitted = await house.submit(time_left_sec=time_left_sec)
    await house.process_job(await house.claim())
    return (await house.state_of(submitted)).job


async def picture_of(house: House, job: Job) -> bytes:
    opened = await house.open_result(job.job_id)
    return b"".join([chunk async for chunk in house.open_result.content(opened).read()])


def outcome(job: Job) -> tuple[JobState, str | None, ResultSource | None, int]:
    source = job.result.source if job.result else None
    return job.state, job.failure_reason, source, job.attempts


async def test_a_failed_call_is_repeated(house: House) -> None:
    house.provider.behaviour = fails_with(ProviderNoImage(), ProviderNoImage())

    job = await done(house)

    assert outcome(job) == (JobState.COMPLETED, None, ResultSource.PROVIDER, 3)
    assert [attempt.fault.code for attempt in house.failed_attempts] == ["provider_no_image"] * 2
    assert await picture_of(house, job) == PHOTO + b", painted", "the file is read from its beginning again"


async def test_the_fallback_delivers_when_the_slots_own_call_cannot(house: House) -> None:
    house.provider.behaviour = fails_with(ProviderRefused())

    job = await done(house)

    assert outcome(job) == (JobState.COMPLETED, None, ResultSource.FALLBACK, 2)
    assert len(house.provider.requests) == len(house.other_provider.requests) == 1


async def test_a_call_that_hangs_is_cut_short_in_time_for_the_fallback(house: House) -> None:
    house.provider.behaviour = hang

    job = await done(house, time_left_sec=2.0)

    assert outcome(job) == (JobState.COMPLETED, None, ResultSource.FALLBACK, 2)
    assert house.provider.cancelled == 1
    [attempt] = house.failed_attempts
    assert attempt.fault.maybe_billed


async def test_where_all_fail_the_job_tells_of_the_slots_own_call(house: House) -> None:
    house.provider.behaviour = fails_with(ProviderRefused())
    house.other_provider.behaviour = fails_with(*[ProviderError()] * 9)

    job = await done(house)

    assert outcome(job) == (JobState.FAILED_PROVIDER, "provider_refused", None, 4)


async def test_models_are_tried_in_their_order(house: House) -> None:
    house.provider = ObedientProvider(models=("new", "old"))
    house.provider.behaviour = fails_with(ProviderModelGone())

    job = await done(house)

    assert [request.model for request in house.provider.requests] == ["new", "old"]
    assert outcome(job) == (JobState.COMPLETED, None, ResultSource.PROVIDER, 2)


async def test_a_model_that_is_gone_is_not_asked_again_by_the_next_job(house: House) -> None:
    house.provider = ObedientProvider(models=("new", "old"))
    house.provider.behaviour = fails_with(ProviderModelGone())
    await done(house)

    await done(house)

    assert [request.model for request in house.provider.requests] == ["new", "old", "old"]
    assert house.call_providers.paused() == [("painter", "new")]


async def test_a_picture_that_cannot_be_used_may_have_been_charged(house: House) -> None:
    async def broken(request: TransformRequest, into: BinaryIO) -> None:
        into.write(BROKEN)

    house.provider.behaviour = broken

    job = await done(house)

    assert outcome(job) == (JobState.COMPLETED, None, ResultSource.FALLBACK, 2)
    assert house.failed_attempts[0].fault.maybe_billed


async def test_a_provider_that_is_down_is_left_alone(house: House) -> None:
    house.provider.behaviour = fails_with(*[ProviderError()] * 99)
    for _ in range(5):
        assert (await done(house)).state is JobState.COMPLETED

    assert len(house.provider.requests) == 3
    assert len(house.other_provider.requests) == 5


async def test_a_provider_that_hangs_opens_the_breaker_too(house: House) -> None:
    house.provider.behaviour = hang
    await house.set_up(fallback=None)
    for _ in range(3):
        assert (await done(house, time_left_sec=0.9)).state is JobState.FAILED_TIMEOUT

    assert house.call_providers.paused() == [("painter", None)]
    assert [attempt.fault.maybe_billed for attempt in house.failed_attempts] == [True] * 3, "and is told of"


@pytest.mark.parametrize(("waited_sec", "is_told"), [(15.0, True), (30.0, False)])
@pytest.mark.parametrize("fallback", [None, FALLBACK])
def test_a_call_that_began_late_and_is_cut_short_says_nothing_of_the_provider(
    waited_sec: float, is_told: bool, fallback: ProviderCall | None
) -> None:
    async def scenario() -> bool:
        house = House(VirtualClock())
        house.provider.behaviour = hang
        await house.set_up(fallback=fallback)
        for _ in range(3):
            await house.submit()
        await asyncio.sleep(waited_sec)
        claimed = [await house.claim() for _ in range(3)]
        await asyncio.gather(*(house.process_job(reading) for reading in claimed))
        assert len(house.failed_attempts) == 3, "all the same it is told of"
        return ("painter", None) in house.call_providers.paused()

    assert run(scenario()) is is_told


async def test_cancellations_say_nothing_of_the_provider(house: House) -> None:
    house.provider.behaviour = hang
    for _ in range(4):
        await house.submit()
        house.provider.called.clear()
        working = asyncio.create_task(house.process_job(await house.claim()))
        await house.provider.called.wait()
        working.cancel()
        await asyncio.wait([working])
        [reading] = await house.jobs.claim(limit=1, lease=LEASE)
        house.provider.behaviour = fails_with(ProviderRefused())
        await house.process_job(reading)
        house.provider.behaviour = hang

    assert house.call_providers.paused() == []


class TestQuotas:
    @pytest.fixture
    async def limited(self, house: House) -> House:
        settings = await house.storage.settings.get()
        limits = LimitSettings(quota_per_day={"painter": 2})
        await house.storage.settings.save(replace(settings, limits=limits), entry=an_entry("test"))
        return house

    async def test_a_quota_that_is_used_up_means_the_fallback(self, limited: House) -> None:
        jobs = [await done(limited, time_left_sec=2) for _ in range(3)]

        sources = [job.result.source for job in jobs if job.result]
        assert sources == [ResultSource.PROVIDER, ResultSource.PROVIDER, ResultSource.FALLBACK]
        assert jobs[-1].attempts == 1, "what was not called is no attempt"

    async def test_without_a_fallback_the_job_says_so(self, limited: House) -> None:
        await limited.set_up(fallback=None)
        jobs = [await done(limited, time_left_sec=0.9) for _ in range(3)]
        assert outcome(jobs[-1]) == (JobState.FAILED_PROVIDER, "provider_quota_exhausted", None, 0)

    async def test_the_breaker_has_nothing_to_do_with_it(self, limited: House) -> None:
        for _ in range(6):
            await done(limited, time_left_sec=2)
        assert limited.call_providers.paused() == []

    async def test_every_call_counts(self, house: House) -> None:
        house.provider.behaviour = fails_with(ProviderNoImage(), ProviderRefused())
        await done(house)
        used = {usage.provider: usage.today for usage in await house.storage.usage.used()}
        assert used == {"painter": 2, "sculptor": 1}

    async def test_a_database_that_does_not_answer_is_no_reason_not_to_call(
        self, house: House, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def no_answer(provider: str, quota: Quota) -> float | None:
            raise DatabaseUnavailable

        monkeypatch.setattr(house.storage.usage, "take", no_answer)
        assert (await done(house)).state is JobState.COMPLETED


class TestTemplates:
    async def stored(self, house: House, kind: MediaKind) -> StoredImage:
        media_id = new_media_id()
        await house.storage.media.intend([(media_id, kind)], slot_id=None, ttl=MINUTE)
        return await store_image(house.storage.files, kind, media_id, BytesIO(b"image: a style"), INFO)

    async def bound(self, house: House) -> MediaId:
        image, preview = [await self.stored(house, kind) for kind in (MediaKind.TEMPLATE, MediaKind.PREVIEW)]
        await house.storage.templates.add(image, preview=preview, name="style", entry=an_entry())
        call = ProviderCall(
            provider="painter",
            operation="paint",
            template_media=(TemplateBinding(role="style", template_id=image.media_id),),
        )
        await house.set_up(call=call)
        return image.media_id

    async def test_templates_come_with_the_photo(self, house: House) -> None:
        await self.bound(house)
        seen: list[tuple[str, bytes]] = []

        async def look(request: TransformRequest, into: BinaryIO) -> None:
            seen.extend((template.role, template.image.file.read()) for template in request.templates)
            into.write(PHOTO)

        house.provider.behaviour = look

        assert (await done(house)).state is JobState.COMPLETED
        assert seen == [("style", b"image: a style")]

    async def test_one_that_was_removed_meanwhile_is_a_mistake_in_the_set_up(self, house: House) -> None:
        template_id = await self.bound(house)
        await house.set_up(call=(await house.storage.slots.get(SLOT)).configuration.call, fallback=None)
        submitted = await house.submit()
        await house.set_up()
        await house.storage.templates.remove(template_id, entry=an_entry())

        await house.process_job(await house.claim())

        job = (await house.state_of(submitted)).job
        assert outcome(job) == (JobState.FAILED_PROVIDER, "provider_misconfigured", None, 0)


class TestLinks:
    async def test_the_photo_is_on_a_public_link_while_the_call_lasts(self, house: House) -> None:
        house.provider = ObedientProvider(takes_links=True)
        fetched: list[bytes] = []

        async def fetch(request: TransformRequest, into: BinaryIO) -> None:
            assert request.photo_url is not None
            assert request.photo_url.startswith("https://photos.example.org/public/media/")
            assert request.photo_url.endswith(".jpg")
            media_id = MediaId(request.photo_url.rpartition("/")[2].removesuffix(".jpg"))
            row = await house.storage.media.fetch(media_id)
            assert row is not None
            async with house.storage.files.open(row.media.key) as file:
                fetched.append(file.read())
            into.write(PHOTO)

        house.provider.behaviour = fetch

        job = await done(house)

        assert job.state is JobState.COMPLETED
        assert fetched == [PHOTO]
        await house.sweep()
        assert await house.files() == ["preview", "result"]

    async def test_a_failure_notes_that_nobody_fetched_the_photo(self, house: House) -> None:
        house.provider = ObedientProvider(takes_links=True)
        house.provider.behaviour = fails_with(ProviderError(maybe_billed=True))

        await done(house)

        [note] = house.failed_attempts[0].fault.__notes__
        assert "PUBLIC_BASE_URL" in note


class TestStandIns:
    @pytest.fixture
    async def kind(self, house: House) -> House:
        await house.set_up(on_failure=OnFailure.ORIGINAL, fallback=None)
        return house

    @pytest.mark.parametrize("fault", [ProviderRefused(), ProviderQuotaExhausted(retry_after_sec=99)])
    async def test_the_booth_gets_its_own_photo_and_the_job_tells_the_truth(
        self, kind: House, fault: ProviderFault
    ) -> None:
        kind.provider.behaviour = fails_with(fault)

        job = await done(kind)

        assert outcome(job) == (JobState.FAILED_PROVIDER, fault.code, ResultSource.ORIGINAL, 1)
        assert await picture_of(kind, job) == PHOTO
        assert job.result_expires_at is not None
        await kind.sweep()
        assert await kind.files() == ["preview", "result"]

    async def test_it_comes_before_the_deadline_where_the_provider_hangs(self, kind: House) -> None:
        kind.provider.behaviour = hang

        job = await done(kind, time_left_sec=3)

        assert outcome(job) == (JobState.FAILED_PROVIDER, "timeout", ResultSource.ORIGINAL, 1)
        assert job.finalized_at is not None
        assert job.finalized_at < job.deadline

    async def test_a_success_needs_none(self, kind: House) -> None:
        assert outcome(await done(kind)) == (JobState.COMPLETED, None, ResultSource.PROVIDER, 1)

    async def test_a_defect_of_ours_does_not_cost_the_guest_the_photo(self, kind: House) -> None:
        async def stumble(request: TransformRequest, into: BinaryIO) -> None:
            raise ZeroDivisionError

        kind.provider.behaviour = stumble
        submitted = await kind.submit()
        with pytest.raises(ZeroDivisionError):
            await kind.process_job(await kind.claim())

        job = (await kind.state_of(submitted)).job
        assert outcome(job) == (JobState.FAILED_INTERNAL, "internal_error", ResultSource.ORIGINAL, 1)

    async def test_a_photo_that_cannot_be_prepared_has_no_stand_in(self, kind: House) -> None:
        submitted = await kind.submit(PHOTO + b" undecodable")
        await kind.process_job(await kind.claim())
        job = (await kind.state_of(submitted)).job
        assert outcome(job) == (JobState.FAILED_INTERNAL, "invalid_image", None, 0)
        await kind.sweep()
        assert (await kind.files(), kind.living_rows()) == ([], [])


async def test_a_slot_whose_provider_is_not_set_up_says_so(house: House) -> None:
    house.provider = ObedientProvider(is_configured=False)
    await house.set_up(fallback=None)

    job = await done(house)

    assert outcome(job) == (JobState.FAILED_PROVIDER, "provider_misconfigured", None, 0)
    assert house.provider.requests == []
