"""What ends while real processes run: refused at once, and its file gone soon after, by one of them."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final
from urllib.error import HTTPError
from urllib.request import urlopen

import psycopg
import pytest

from photochanger.domain.audit import Actor
from photochanger.domain.consistency import FILE_OVERDUE_AFTER
from photochanger.domain.job import JobState
from photochanger.domain.media import MediaId, MediaKind, media_key
from photochanger.domain.slot import SlotId
from photochanger.entrypoints.cli.booth import Delivery, Refusal
from photochanger.testing.harness import HOUR, new_id
from photochanger.testing.photos import plain_jpeg
from tests.system.installation import Installation, eventually

pytestmark = [pytest.mark.anyio, pytest.mark.system]

HANGING: Final = SlotId("slot-002")
LIFE: Final = timedelta(seconds=4)
"""How long results and links live from when they are given their end: long enough to be seen alive."""

_END_SOON: Final = """
    WITH moment AS MATERIALIZED (
        SELECT clock_timestamp() + %(life)s AS the_end
    ), ended AS (
        UPDATE job SET retention = the_end - finalized_at FROM moment WHERE result IS NOT NULL
    )
    UPDATE media_object SET expires_at = the_end, offer_at = the_end FROM moment
    WHERE kind IN ('result', 'preview', 'provider_link')
    RETURNING kind, media_id, the_end"""

_WATCH: Final = """
    CREATE TABLE seen (at timestamptz DEFAULT clock_timestamp(), media_id text, state text);
    CREATE FUNCTION see_file() RETURNS trigger LANGUAGE plpgsql AS
        'BEGIN INSERT INTO seen (media_id, state) VALUES (new.media_id, new.state); RETURN NULL; END';
    CREATE TRIGGER see_file AFTER UPDATE OF state ON media_object FOR EACH ROW EXECUTE FUNCTION see_file();
    CREATE TABLE turn (before text, after text);
    CREATE FUNCTION see_turn() RETURNS trigger LANGUAGE plpgsql AS
        'BEGIN INSERT INTO turn VALUES (old.holder, new.holder); RETURN NULL; END';
    CREATE TRIGGER see_turn AFTER UPDATE ON sweeper FOR EACH ROW EXECUTE FUNCTION see_turn();"""

_SLOW_DOWN: Final = """
    CREATE FUNCTION tarry() RETURNS trigger LANGUAGE plpgsql AS
        'BEGIN PERFORM pg_sleep(0.3); RETURN NULL; END';
    CREATE TRIGGER tarry AFTER UPDATE OF state ON media_object FOR EACH STATEMENT EXECUTE FUNCTION tarry();"""


@dataclass(frozen=True, slots=True)
class Database:
    """The installation's database, looked at from outside."""

    connection: psycopg.AsyncConnection[Any]

    async def rows(self, statement: str, **parameters: object) -> Sequence[tuple[Any, ...]]:
        cursor = await self.connection.execute(statement.encode(), parameters or None)
        return [] if cursor.description is None else await cursor.fetchall()

    async def now(self) -> datetime:
        [[now]] = await self.rows("SELECT clock_timestamp()")
        assert isinstance(now, datetime)
        return now


@asynccontextmanager
async def database_of(installation: Installation) -> AsyncIterator[Database]:
    url = installation.environment.database_url or ""
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        yield Database(connection)


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.jpg"
    path.write_bytes(plain_jpeg())
    return path


def path_of(installation: Installation, kind: str, media_id: str) -> Path:
    return installation.environment.media_dir / media_key(MediaKind(kind), MediaId(media_id))


async def a_link(installation: Installation) -> str:
    async with installation.container() as container:
        register = container.register_media()
        with register.receiving(await register.limit_bytes()) as received:
            received.write(plain_jpeg())
            registered = await register(received, job_id=None, actor=Actor(name="serg"))
        return str(registered.path)


async def a_photo_that_times_out(
    installation: Installation, base: Any, photo: Path
) -> tuple[Path, datetime, asyncio.Task[Delivery | Refusal]]:
    """Send a photo to a provider that hangs; return the payload's file, and the job's deadline."""
    sending = asyncio.create_task(installation.send(base, photo, slot_id=HANGING))

    async def found() -> list[tuple[Path, datetime]]:
        return [
            (path_of(installation, "payload", job.payload_id), job.deadline)
            for job in await installation.jobs()
            if job.state is JobState.PROCESSING
        ]

    [(path, deadline)] = await eventually(found)
    assert path.exists()
    return path, deadline, sending


async def answers_until_gone(installation: Installation, url: str, end: datetime) -> None:
    """Ask again and again: 200 up to the end, 410 from then on, by the database's clock."""
    statuses = list[int]()
    async with database_of(installation) as database:
        while not statuses or statuses[-1] == 200:
            asked_at = await database.now()
            statuses.append(await asyncio.to_thread(status_of, url))
            if await database.now() < end:
                assert statuses[-1] == 200
            if asked_at >= end:
                assert statuses[-1] == 410
    assert statuses[0] == 200
    assert statuses[-1] == 410


async def gone_after(database: Database, path: Path, end: datetime) -> timedelta:
    """Wait until the file is gone, and return how long after its end it was seen to be."""

    async def gone_at() -> datetime | None:
        return None if path.exists() else await database.now()

    gone = await eventually(gone_at, within_sec=90)
    assert gone is not None
    assert gone >= end
    return gone - end


def status_of(url: str) -> int:
    try:
        with urlopen(url, timeout=10) as answer:
            answer.read()
            return int(answer.status)
    except HTTPError as refused:
        return refused.code


def swept_by_logs(installation: Installation) -> int:
    lines = [json.loads(line) for line in installation.logs().splitlines() if line.startswith("{")]
    return sum(line["count"] for line in lines if line["event"] == "swept")


@pytest.mark.parametrize("crowd", ["one server", "two servers and a worker"])
async def test_what_ends_is_refused_at_once_and_its_file_goes_soon(
    installation: Installation, photo: Path, crowd: str
) -> None:
    await installation.set_up({"effect": "none"})
    await installation.set_up({"outcome": "hang"}, slot_id=HANGING, timeout_sec=3)
    if crowd == "one server":
        server = installation.serve()
    else:
        server, _ = installation.serve_several(2)
        installation.worker()
    delivery = await installation.send(server, photo)
    assert isinstance(delivery, Delivery)
    [job] = await installation.jobs()
    link = await a_link(installation)
    async with database_of(installation) as database:
        await database.rows(_WATCH)
        payload, deadline, sending = await a_photo_that_times_out(installation, server, photo)
        ending = await database.rows(_END_SOON, life=LIFE)
        assert {kind for kind, _, _ in ending} == {"result", "preview", "provider_link"}
        [end] = {end for _, _, end in ending}
        paths = [path_of(installation, kind, media_id) for kind, media_id, _ in ending]
        assert all(path.exists() for path in paths)

        result = f"/public/results/{job.job_id}"
        await asyncio.gather(
            *(
                answers_until_gone(installation, f"{server.base_url}{each}", end)
                for each in (result, f"{result}/preview", link)
            ),
        )
        took = [await gone_after(database, path, end) for path in paths]
        took.append(await gone_after(database, payload, deadline))

        assert max(took) <= FILE_OVERDUE_AFTER
        refusal = await sending
        assert isinstance(refusal, Refusal)
        assert refusal.status == 504
        await eventually(lambda: all_deleted(database))
        await assert_one_at_a_time(database)
        await eventually(lambda: logged(installation, len(ending) + 2))
    assert await installation.discrepancies() == []


async def all_deleted(database: Database) -> bool:
    [[left]] = await database.rows("SELECT count(*) FROM media_object WHERE state <> 'deleted'")
    return bool(left == 0)


async def logged(installation: Installation, files: int) -> bool:
    """Say whether the processes have told of so many deletions, taken together."""
    return swept_by_logs(installation) == files


async def assert_one_at_a_time(database: Database) -> None:
    """See that no turn was taken from a holder, and that no file was deleted twice."""
    turns = await database.rows("SELECT before, after FROM turn")
    assert len({after for _, after in turns if after}) > 1
    assert [turn for turn in turns if turn[0] and turn[1] and turn[0] != turn[1]] == []
    twice = await database.rows("""
        SELECT media_id FROM seen WHERE state = 'deleted' GROUP BY media_id HAVING count(*) > 1""")
    assert twice == []


FILES: Final = 1_500


async def test_when_the_sweeping_process_is_killed_another_takes_over(installation: Installation) -> None:
    await installation.set_up({"effect": "none"})
    sweeping = installation.serve()
    async with database_of(installation) as database:
        paths = await stray_uploads(installation)
        await database.rows(_SLOW_DOWN)
        await database.rows("UPDATE media_object SET expires_at = now(), offer_at = now()")

        async def under_way() -> bool:
            [[deleted]] = await database.rows("SELECT count(*) FROM media_object WHERE state = 'deleted'")
            return bool(deleted)

        await eventually(under_way)
        installation.worker()
        sweeping.kill()
        killed_at = await database.now()
        assert sum(path.exists() for path in paths) > FILES / 2
        [[holder]] = await database.rows("SELECT holder FROM sweeper")
        assert holder is not None
        await database.rows("DROP TRIGGER tarry ON media_object")
        await time_passes(database, SKIPPED)

        await eventually(lambda: all_deleted(database), within_sec=60)
        took = await database.now() - killed_at + SKIPPED
    assert took <= timedelta(minutes=1)
    assert [path for path in paths if path.exists()] == []
    assert await installation.discrepancies() == []


SKIPPED: Final = timedelta(seconds=18)
"""So much of the waiting for the turn, and for the files that the killed process had in hand, is left out."""


async def time_passes(database: Database, by: timedelta) -> None:
    await database.rows("UPDATE sweeper SET lease_expires_at = lease_expires_at - %(by)s", by=by)
    await database.rows(
        "UPDATE media_object SET offer_at = offer_at - %(by)s WHERE state = 'deleting'", by=by
    )


async def stray_uploads(installation: Installation) -> list[Path]:
    """Leave what many uploads that were cut off leave: rows, and files that nobody stores."""
    media_ids = [MediaId(new_id()) for _ in range(FILES)]
    async with installation.container() as container:
        intents = [(media_id, MediaKind.PAYLOAD) for media_id in media_ids]
        await container.registry().intend(intents, slot_id=SlotId("slot-001"), ttl=HOUR)
    paths = [path_of(installation, "payload", media_id) for media_id in media_ids]
    for path in paths:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.write_bytes(b"half a photo")
    return paths
