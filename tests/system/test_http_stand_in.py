"""A job that failed and has a stand-in, over a real socket: the booth gets a picture, and the truth."""

import asyncio
import io
import json
from base64 import b64decode
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

import pytest

from photochanger.application.identifiers import new_media_id
from photochanger.application.ports import Verdict
from photochanger.application.store_image import store_image
from photochanger.domain.image import ImageInfo, ImageType
from photochanger.domain.job import Job, JobEvent, JobResult, JobState, ResultSource
from photochanger.domain.media import MediaKind, StoredImage
from tests.system.http_server import (
    SLOT,
    Answer,
    System,
    exchange,
    get,
    photo_form,
    picture,
    post,
    until,
)

pytestmark = [pytest.mark.anyio, pytest.mark.system]

PHOTO = picture(side=900)
PREVIEW = picture(side=90)


async def stored(system: System, kind: MediaKind, content: bytes) -> StoredImage:
    media_id = new_media_id()
    await system.storage.media.intend([(media_id, kind)], slot_id=SLOT, ttl=timedelta(minutes=1))
    info = ImageInfo(image_type=ImageType.JPEG, width=1, height=1)
    return await store_image(system.storage.files, kind, media_id, io.BytesIO(content), info)


async def the_job(system: System) -> Job:
    """Wait until the worker is at the one job there is, and return it."""

    async def is_processing() -> bool:
        return [job.state for job in system.storage.records.jobs.values()] == [JobState.PROCESSING]

    await until(is_processing)
    [job] = system.storage.records.jobs.values()
    return job


@dataclass
class Ended:
    """What the booth was answered, and the job."""

    answer: Answer
    job: Job


async def ended(
    system: System, port: int, event: JobEvent, headers: Mapping[str, str] | None = None
) -> Ended:
    """Send a photo whose job fails, with the photo as its stand-in."""
    await system.set_slot(params={"outcome": "hang"})
    booth = asyncio.create_task(exchange(port, post(photo_form(PHOTO), headers=headers)))
    job = await the_job(system)
    result = JobResult(
        image=await stored(system, MediaKind.RESULT, PHOTO),
        preview=await stored(system, MediaKind.PREVIEW, PREVIEW),
        source=ResultSource.ORIGINAL,
    )
    verdict = Verdict(event=event, attempts=3, failure_reason="provider_error", result=result)
    reading = await system.storage.jobs.finalize(job.job_id, verdict, fence=job.fence)
    assert reading is not None
    return Ended(await booth, reading.job)


@pytest.mark.parametrize("event", [JobEvent.PROVIDER_FAILED, JobEvent.INTERNALLY_FAILED])
async def test_the_booth_gets_the_picture_and_is_told_whose_it_is(
    system: System, port: int, event: JobEvent
) -> None:
    outcome = await ended(system, port, event)

    assert (outcome.answer.status, outcome.answer.body) == (200, PHOTO)
    assert outcome.answer["content-type"] == "image/jpeg"
    assert outcome.answer["x-result-source"] == "original"
    assert outcome.answer["x-job-id"] == outcome.job.job_id
    assert outcome.answer["x-result-url"].endswith(f"/public/results/{outcome.job.job_id}")


async def test_the_json_answer_tells_the_jobs_own_state(system: System, port: int) -> None:
    outcome = await ended(system, port, JobEvent.PROVIDER_FAILED, {"Accept": "application/json"})

    body = json.loads(outcome.answer.body)
    assert outcome.answer.status == 200
    assert (body["status"], body["result_source"]) == ("failed_provider", "original")
    assert b64decode(body["result_inline_base64"]) == PHOTO


async def test_the_picture_is_public_and_the_job_says_what_became_of_it(system: System, port: int) -> None:
    job = (await ended(system, port, JobEvent.PROVIDER_FAILED)).job
    path = f"/public/results/{job.job_id}"

    assert (await exchange(port, get(path))).body == PHOTO
    assert (await exchange(port, get(f"{path}/preview"))).body == PREVIEW
    view = json.loads((await exchange(port, get(f"/api/jobs/{job.job_id}"))).body)
    assert (view["status"], view["failure_reason"]) == ("failed_provider", "provider_error")
    assert (view["result_source"], view["attempts"], view["is_finalized"]) == ("original", 3, True)
    assert view["result_url"] == f"http://booth.test{path}"
    assert view["preview_url"] == f"http://booth.test{path}/preview"
    assert view["result_expires_at"] is not None


async def test_a_repetition_gets_the_same(system: System, port: int) -> None:
    headers = {"Idempotency-Key": "k"}
    outcome = await ended(system, port, JobEvent.PROVIDER_FAILED, headers)

    again = await exchange(port, post(photo_form(PHOTO), headers=headers))
    assert (again.status, again.body, again["idempotent-replayed"]) == (200, outcome.answer.body, "true")
    assert again["x-result-source"] == "original"


async def test_without_a_stand_in_the_booth_is_told_the_error(system: System, port: int) -> None:
    await system.set_slot(params={"outcome": "error"})

    answer = await exchange(port, post(photo_form(PHOTO)))
    assert (answer.status, json.loads(answer.body)["code"]) == (502, "provider_error")


async def test_an_exhausted_quota_says_when_to_come_again(system: System, port: int) -> None:
    await system.set_slot(params={"outcome": "hang"})
    booth = asyncio.create_task(exchange(port, post(photo_form(PHOTO))))
    job = await the_job(system)
    verdict = Verdict(event=JobEvent.PROVIDER_FAILED, attempts=0, failure_reason="provider_quota_exhausted")
    await system.storage.jobs.finalize(job.job_id, verdict, fence=job.fence)

    answer = await booth
    assert (answer.status, json.loads(answer.body)["code"]) == (503, "provider_quota_exhausted")
    assert int(answer["retry-after"]) > 0
