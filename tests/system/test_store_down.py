"""An S3-compatible service that fails, refuses or hangs while a real server works with it."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import pytest

from photochanger.domain.job import JobState
from photochanger.entrypoints.cli.processes import ServeProcess
from photochanger.testing.photos import plain_jpeg
from tests.s3_gate import Answer as S3Answer
from tests.s3_gate import Asked, CutRequest, Fault, Hang, S3Gate
from tests.s3_server import SECRET
from tests.system.administration import ask, port_of, read, token_of
from tests.system.http_server import Answer, exchange, form, part, post
from tests.system.installation import PASSWORD, SLOT, Installation, eventually, states

pytestmark = [pytest.mark.anyio, pytest.mark.system]

TIME_OUT_SEC: Final = 5
LATENESS_SEC: Final = 2.0
"""Much more than is allowed, for a machine that is busy; and less than the store's own patience."""

PHOTO: Final = plain_jpeg()


@pytest.fixture
def installation(installation_in_a_bucket: Installation) -> Installation:
    return installation_in_a_bucket


@dataclass(frozen=True, slots=True)
class House:
    """A server and what is sent to it."""

    server: ServeProcess
    token: str

    async def send(self, path: str, *parts: bytes) -> Answer:
        request = post(form(*parts), path, headers={"Authorization": f"Bearer {self.token}"})
        return await exchange(port_of(self.server), request)

    async def photo(self) -> Answer:
        fields = part("password", PASSWORD.encode()), part("fileToUpload", PHOTO, file_name="a.jpg")
        return await self.send(f"/ingest/{SLOT}", *fields)

    async def trial(self) -> Answer:
        return await self.send(f"/api/slots/{SLOT}/test-run", part("fileToUpload", PHOTO, file_name="a.jpg"))

    async def template(self) -> Answer:
        fields = part("file", PHOTO, file_name="a.jpg"), part("name", b"frame")
        return await self.send("/api/template-media/register", *fields)

    async def link(self) -> Answer:
        return await self.send("/api/media/register", part("file", PHOTO, file_name="a.jpg"))

    async def ask(self, path: str) -> Answer:
        return await ask(self.server, "GET", path, token=self.token)


@pytest.fixture
async def house(installation: Installation) -> House:
    await installation.set_up({"effect": "none"}, timeout_sec=TIME_OUT_SEC)
    await installation.add_account("igor")
    server = await asyncio.to_thread(installation.serve)
    return House(server, await token_of(server, "igor"))


def assert_unavailable(answer: Answer) -> None:
    """See that an answer tells that the media store is not available, and when to come again."""
    assert answer.status == 503, answer
    assert int(answer["retry-after"]) >= 1
    assert read(answer)["code"] == "storage_unavailable"


async def heals(house: House, installation: Installation) -> None:
    """See that a photo is taken at once, and that after a sweep nothing stays of those that were not."""
    assert (await house.photo()).status == 200
    async with installation.container() as container, container.pool().connection() as connection:
        await connection.execute(
            "UPDATE media_object SET offer_at = now(), expires_at = now()"
            " WHERE state IN ('pending', 'deleting')"
        )

    async def clean() -> bool:
        return not await installation.leftovers() and not await installation.discrepancies()

    await eventually(clean)
    log = installation.logs()
    assert "Traceback" not in log
    assert '"level": "error"' not in log
    assert SECRET not in log


def on(method: str, kind: str, fault: Fault) -> Callable[[Asked], Fault | None]:
    """Return the rule that this goes wrong, and nothing else."""
    return lambda asked: fault if asked.method == method and f"/{kind}/" in asked.target else None


FAILURES: Final = (S3Answer(500, "InternalError"), S3Answer(403, "AccessDenied"), CutRequest(100))


async def test_a_service_that_fails_is_told_of_at_once_and_afterwards_all_is_well(
    house: House, installation: Installation, gate: S3Gate
) -> None:
    delivered = await house.photo()
    assert delivered.status == 200
    for fault in FAILURES:
        gate.rule = lambda _, fault=fault: fault  # type: ignore[misc]
        answers = await asyncio.gather(
            house.photo(),
            house.trial(),
            house.template(),
            house.link(),
            house.ask(f"/public/results/{delivered['x-job-id']}"),
        )
        for answer in answers:
            assert_unavailable(answer)
        for path in ("/livez", "/api/jobs", "/api/slots", "/metrics", f"/public/slots/{SLOT}"):
            assert (await house.ask(path)).status == 200, path
        gate.rule = on("PUT", "result", fault)
        answer = await house.photo()
        assert_unavailable(answer)
        assert read(answer)["failure_reason"] == "storage_unavailable"
        gate.rule = on("GET", "result", fault)
        assert_unavailable(await house.photo())
        gate.rule = lambda _: None
        assert (await house.ask(f"/public/results/{delivered['x-job-id']}")).status == 200
        assert (await house.photo()).status == 200
    jobs = await installation.jobs()
    assert states(jobs) == {JobState.COMPLETED, JobState.FAILED_INTERNAL}
    assert {job.failure_reason for job in jobs} == {None, "storage_unavailable"}
    await heals(house, installation)


async def test_a_service_that_hangs_holds_nobody_beyond_the_deadline(
    house: House, installation: Installation, gate: S3Gate
) -> None:
    delivered = await house.photo()
    assert delivered.status == 200
    for rule in (lambda _: Hang(), on("PUT", "result", Hang()), on("GET", "result", Hang())):
        gate.rule = rule
        gate.hanging.clear()
        began = time.monotonic()
        held = [asyncio.create_task(send()) for send in (house.photo, house.trial)]
        await gate.hanging.wait()
        for path in ("/livez", "/api/jobs", "/api/slots", "/metrics", f"/public/slots/{SLOT}"):
            assert (await house.ask(path)).status == 200, path
        assert not any(task.done() for task in held), "nobody else waits for the store"
        for task in held:
            answer = await task
            assert (answer.status, read(answer)["code"]) == (504, "timeout")
        assert TIME_OUT_SEC <= time.monotonic() - began < TIME_OUT_SEC + LATENESS_SEC
    gate.rule = lambda _: None
    assert states(await installation.jobs()) == {JobState.COMPLETED, JobState.FAILED_TIMEOUT}
    await heals(house, installation)
