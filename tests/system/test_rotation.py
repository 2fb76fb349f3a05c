"""The ingest password changes while photos arrive: no photo is lost, and the old password is soon none."""

import asyncio
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import pytest

from photochanger.domain.job import JobState
from photochanger.entrypoints.cli.processes import ServeProcess
from tests.system.administration import ask, port_of, read, token_of
from tests.system.http_server import exchange, photo_form, picture, post
from tests.system.installation import PASSWORD, SLOT, Installation, eventually

pytestmark = [pytest.mark.anyio, pytest.mark.system, pytest.mark.slow]

NEW: Final = "battery-staple"
PER_SECOND: Final = 50
SECONDS: Final = 8.0
CHANGE_AFTER_SEC: Final = 3.0
IN_FORCE_WITHIN_SEC: Final = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """A photo that was sent and answered; times are monotonic, in seconds."""

    process: int
    password: str
    sent_at: float
    answered_at: float
    status: int
    job_id: str | None


async def test_no_photo_is_lost_while_the_password_changes(installation: Installation) -> None:
    await installation.set_up({"effect": "none"}, timeout_sec=60)
    await installation.add_account("serg")
    servers = installation.serve_several(2)
    settings = await _settings(servers[0], token := await token_of(servers[0], "serg"))
    began = time.monotonic()

    async with asyncio.TaskGroup() as booths:
        sending = [
            booths.create_task(_send(servers, number, at=began + number / PER_SECOND))
            for number in range(int(PER_SECOND * SECONDS))
        ]
        await asyncio.sleep(CHANGE_AFTER_SEC)
        asked_at = time.monotonic()
        changed = await ask(servers[0], "PUT", "/api/settings", token=token, document=_with(settings, NEW))
        changed_at = time.monotonic()
    photos = [task.result() for task in sending]

    assert changed.status == 200
    assert Counter(photo.status for photo in photos).keys() == {200, 401}
    for process in range(len(servers)):
        of_process = [photo for photo in photos if photo.process == process]
        before = [photo for photo in of_process if photo.answered_at < asked_at]
        after = [photo for photo in of_process if photo.sent_at > changed_at + IN_FORCE_WITHIN_SEC]
        assert _outcomes(before) == {(PASSWORD, 200), (NEW, 401)}
        assert _outcomes(after) == {(NEW, 200), (PASSWORD, 401)}
    await _expect_all_jobs(installation, photos)


async def _send(servers: list[ServeProcess], number: int, *, at: float) -> Sent:
    """Send a photo at its time, whatever became of those before it; old and new passwords take turns."""
    process, password = number % 2, (PASSWORD, NEW)[number // 2 % 2]
    await asyncio.sleep(max(0.0, at - time.monotonic()))
    sent_at = time.monotonic()
    body = photo_form(picture(color=f"#{number:06x}"), password)
    answer = await exchange(port_of(servers[process]), post(body, f"/ingest/{SLOT}"))
    job_id = answer["X-Job-Id"] if answer.status == 200 else None
    return Sent(
        process=process,
        password=password,
        sent_at=sent_at,
        answered_at=time.monotonic(),
        status=answer.status,
        job_id=job_id,
    )


def _outcomes(photos: list[Sent]) -> set[tuple[str, int]]:
    return {(photo.password, photo.status) for photo in photos}


async def _settings(server: ServeProcess, token: str) -> Mapping[str, Any]:
    return read(await ask(server, "GET", "/api/settings", token=token))


def _with(settings: Mapping[str, Any], password: str) -> dict[str, Any]:
    """Return the document that changes the password and nothing else."""
    shown_only = {"password_is_set", "password_updated_at", "password_updated_by"}
    ingest = {name: value for name, value in settings["ingest"].items() if name not in shown_only}
    kept = {name: settings[name] for name in ("version", "results", "limits", "cleanup")}
    return {**kept, "ingest": {**ingest, "dslr_password": password}}


async def _expect_all_jobs(installation: Installation, photos: list[Sent]) -> None:
    """For each picture that was answered there is a completed job, and there are no others."""

    async def all_final() -> bool:
        return all(job.is_finalized for job in await installation.jobs())

    await eventually(all_final)
    jobs = {job.job_id: job.state for job in await installation.jobs()}
    assert jobs == {photo.job_id: JobState.COMPLETED for photo in photos if photo.job_id}
    assert len(jobs) == sum(photo.status == 200 for photo in photos)
