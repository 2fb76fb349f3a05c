"""What one photo costs: every statement and every file of it, and how often its bytes are copied.

`docs/scaling.md` tells these figures, and reckons with them.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Final

import psutil
import pytest

from photochanger.application import await_outcome, worker
from photochanger.domain.slot import ProviderCall
from photochanger.entrypoints.cli.booth import Delivery
from photochanger.entrypoints.cli.processes import ServeProcess
from photochanger.testing.fake_gemini import FakeGemini
from photochanger.testing.photos import camera_jpeg
from tests.resilience.postgres import PostgresServer, servers
from tests.system.installation import Installation, eventually
from tests.system.statement_log import (
    CLAIM,
    CLAIM_OF_NOTHING,
    UNTIL_DURABLE,
    Statement,
    log_every_statement,
    statements,
)

pytestmark = [pytest.mark.anyio, pytest.mark.system]

DATABASE: Final = "cost"
SUBMIT: Final = "job_statements.SUBMIT"
FINALIZE: Final = "job_statements.FINALIZE[succeeded]"
LOOK: Final = "job_statements.GET_MANY"
A_PHOTO: Final = [
    "ingest_gate._ENTER_BY_RATE",  # the rate, the traffic, and the announcement of the photo's file
    SUBMIT,
    CLAIM,  # the whole transaction is one message
    UNTIL_DURABLE,
    "usage._TAKE",  # the call is counted against the provider's quota
    "media._INTEND",  # the files of the picture and its preview, announced together
    FINALIZE,
    "job_statements.GET",  # the held request reads what its answer needs
]
"""The statements of a photo, each one way to PostgreSQL and back, in their order."""

OUR_QUESTION: Final = "SELECT count(*) FROM media_object"
BACKGROUND: Final = {
    OUR_QUESTION,
    "job_statements.RENEW",  # of a job that takes longer than a third of its lease
    "job_statements.EXPIRE_OVERDUE",
    "ingest_gate._TELL_OF_WORKERS",
    "slots._LIST",
    "settings._GET",
    "housekeeping._TAKE_TURN",
    "housekeeping._LAST_SWEEP",
    "housekeeping._FORGET",
    "housekeeping._END_TURN",
    "media._DOOMED",  # deletes the photos of all jobs that have ended since the last sweep
    "media._CONFIRM",
    "statistics._ROLL_UP",
    "statistics._PRESENT",  # for the metrics
    "usage._USED",
    "SELECT 1",  # whether the connection for signals is still there
    "claim_lock._PREPARE_CLAIM",  # once for each connection
}
"""What comes by the clock or once, however many photos there are."""

POLLS_SEC: Final = {CLAIM_OF_NOTHING: worker.POLL_SEC, LOOK: await_outcome.POLL_SEC}
"""What is asked again when nothing was heard for so long."""

WARMING_UP, PHOTOS = 3, 5
FILES: Final = 3
"""The photo, the picture and its preview."""


COPIED_OF_A_PHOTO: Final = 2 + 4 / 3
"""Into the store; without its metadata into a file; to the provider, as base64."""
COPIED_OF_A_PICTURE: Final = 4
"""Out of the base64 into a file, without its metadata into another, into the store, to the booth."""
SMALL_BYTES: Final = 150_000
"""The preview, statements, log lines."""

_CALL: Final = ProviderCall(provider="gemini", operation="edit_image", params={"prompt": "as a comic"})
_PHOTO, _PICTURE = camera_jpeg(2048, 1536), camera_jpeg(1800, 1200, noise=0.5)


@pytest.fixture(scope="module")
def postgres() -> Iterator[PostgresServer]:
    """A server whose log nobody else writes into."""
    with servers() as [server]:
        server.create()
        yield server


@pytest.fixture(scope="module")
async def gemini() -> AsyncIterator[FakeGemini]:
    async with FakeGemini(draw=lambda _call, _prompt: _PICTURE, mime_type="image/jpeg") as gemini:
        yield gemini


@pytest.fixture(scope="module")
async def counted(
    tmp_path_factory: pytest.TempPathFactory, postgres: PostgresServer, gemini: FakeGemini
) -> AsyncIterator[Installation]:
    url = postgres.create_database(DATABASE)
    log_every_statement(postgres, DATABASE)
    installation = Installation(tmp_path_factory.mktemp("data"), url)
    installation.variables |= {"GEMINI_API_KEY": gemini.api_key, "GEMINI_BASE_URL": gemini.base_url}
    await installation.set_up({}, call=_CALL)
    yield installation
    installation.kill_all()


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A server that has taken its first photos, and what it is looked at by."""

    installation: Installation
    server: ServeProcess
    postgres: PostgresServer
    photo: Path

    async def send(self, photos: int) -> None:
        """Send photos, each after the other's answer."""
        for _ in range(photos):
            delivery = await self.installation.send(self.server, self.photo)
            assert isinstance(delivery, Delivery), delivery

    def files(self) -> int:
        """Return how many files were ever announced."""
        [(count,)] = self.postgres.ask(OUR_QUESTION, database=DATABASE)
        return int(count)

    async def statements(self) -> Sequence[Statement]:
        """Return all that was asked when the worker has polled after all photos were done."""
        photos = self.files() // FILES

        async def look() -> Sequence[Statement]:
            found = await asyncio.to_thread(lambda: statements(self.postgres))
            ends = [number for number, each in enumerate(found) if each.name == FINALIZE]
            claims = [each for each in found[ends[-1] :] if each.name in (CLAIM, CLAIM_OF_NOTHING)]
            has_polled = any(is_poll(*pair) for pair in pairwise(claims))
            return found if has_polled and len(ends) == photos else []

        return await eventually(look)


@pytest.fixture(scope="module")
async def running(counted: Installation, postgres: PostgresServer) -> Running:
    photo = counted.folder / "photo.jpg"
    photo.write_bytes(_PHOTO)
    server = await asyncio.to_thread(counted.serve)
    running = Running(installation=counted, server=server, postgres=postgres, photo=photo)
    await running.send(WARMING_UP)
    return running


def is_poll(last: Statement, look: Statement) -> bool:
    """Whether as much time has passed since the last look as passes before a poll."""
    period = POLLS_SEC.get(look.name)
    return period is not None and look.at - last.at >= timedelta(seconds=period)


def without_polls(found: Sequence[Statement], *, first: int) -> Iterator[str]:
    """Name what was asked from number `first` on, but for what was only asked because of the time.

    A poll comes no sooner than its period after the last look, and the waiter's first after the job was made.
    """
    last: dict[str, Statement] = {}
    for number, each in enumerate(found):
        kind = {CLAIM_OF_NOTHING: CLAIM, SUBMIT: LOOK}.get(each.name, each.name)
        was_poll = kind in last and is_poll(last[kind], each)
        last[kind] = each
        if number >= first and not was_poll and each.name not in BACKGROUND:
            yield each.name


async def test_the_statements_of_a_photo_are_these_and_no_others(running: Running) -> None:
    before = len(await running.statements())

    await running.send(PHOTOS)

    asked = list(without_polls(await running.statements(), first=before))
    assert [name for name in asked if name != CLAIM_OF_NOTHING] == A_PHOTO * PHOTOS
    # A poll may have taken a job whose signal was on its way.
    assert asked.count(CLAIM_OF_NOTHING) <= 1


async def test_a_photo_is_three_files_and_its_bytes_are_copied_no_more_often_than_is_told(
    running: Running,
) -> None:
    process = psutil.Process(running.server.pid)
    files, before = running.files(), process.io_counters()

    await running.send(PHOTOS)

    written = (process.io_counters().write_chars - before.write_chars) / PHOTOS
    told = COPIED_OF_A_PHOTO * len(_PHOTO) + COPIED_OF_A_PICTURE * len(_PICTURE)
    assert told <= written <= told + SMALL_BYTES
    assert running.files() - files == FILES * PHOTOS
