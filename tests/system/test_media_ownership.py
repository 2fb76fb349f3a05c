"""Processes that are pointed at somebody else's files, and first starts: on folders and on a bucket."""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from photochanger.adapters.object_store.bucket import Bucket
from photochanger.adapters.postgres import migrate
from photochanger.application.media_ownership import MARK_KEY
from photochanger.domain.media import MediaKind
from photochanger.entrypoints.cli.booth import Delivery
from photochanger.entrypoints.cli.exit_codes import ExitCode
from photochanger.entrypoints.cli.processes import ServeProcess
from photochanger.testing.photos import plain_jpeg
from tests.s3_server import S3Server
from tests.system.installation import Installation, as_url
from tests.system.terminal import Terminal
from tests.unit.adapters.media_files import a_key

pytestmark = [pytest.mark.anyio, pytest.mark.system]

MakeDatabase = Callable[..., str]


@pytest.fixture
def databases(new_database: MakeDatabase) -> list[str]:
    """Two databases that were made independently: the copies that tests get otherwise have one id."""
    made = [new_database(migrated=False) for _ in range(2)]
    for dsn in made:
        migrate(dsn)
    return made


@pytest.fixture(params=["folder", "bucket"])
def bucket(request: pytest.FixtureRequest, s3_server: S3Server) -> Bucket | None:
    return s3_server.new_bucket() if request.param == "bucket" else None


@pytest.fixture
def installations(
    tmp_path: Path, databases: list[str], bucket: Bucket | None
) -> Iterator[list[Installation]]:
    """Two of them, with a database each, and the same media."""
    made = [Installation(tmp_path / "data", as_url(dsn), bucket=bucket) for dsn in databases]
    yield made
    for installation in made:
        installation.kill_all()


def ids(databases: list[str]) -> list[str]:
    """Return the installation's id in each of the databases."""
    found = []
    for dsn in databases:
        with psycopg.connect(dsn) as connection:
            row = connection.execute("SELECT installation_id FROM installation").fetchone()
            assert row is not None
            found.append(row[0])
    return found


async def mark_of(installation: Installation) -> str:
    """Return what the mark says, for an installation whose mark it is."""
    async with installation.container() as container:
        return b"".join([chunk async for chunk in container.store().read(MARK_KEY)]).decode()


async def test_a_process_with_the_wrong_database_does_not_start_and_touches_nothing(
    installations: list[Installation], databases: list[str], tmp_path: Path
) -> None:
    right, wrong = installations
    photo = tmp_path / "photo.jpg"
    photo.write_bytes(plain_jpeg())
    await right.set_up({"effect": "comic"})
    server = await asyncio.to_thread(right.serve)
    assert isinstance(await right.send(server, photo), Delivery)
    assert await mark_of(right) == ids(databases)[0]

    refused = [wrong.start_server(), wrong.worker()]
    for process in refused:
        assert await asyncio.to_thread(process.wait) == ExitCode.UNAVAILABLE
        last_line = process.log_path.read_text().splitlines()[-1]
        assert "The media store belongs to another database" in last_line
        assert MARK_KEY in last_line
        assert str(tmp_path) not in last_line
    assert await right.discrepancies() == []
    assert isinstance(await right.send(server, photo), Delivery)


async def test_of_first_starts_at_once_those_with_one_database_win(
    installations: list[Installation], databases: list[str]
) -> None:
    started: list[list[ServeProcess]] = [
        [installation.start_server() for _ in range(2)] for installation in installations
    ]

    def ends_well(process: ServeProcess) -> bool:
        try:
            process.wait_until_ready()
        except Exception:  # noqa: BLE001  # it ended; its status is looked at below
            return False
        return True

    ready = await asyncio.gather(
        *(asyncio.to_thread(ends_well, process) for processes in started for process in processes)
    )
    assert sorted([ready[:2], ready[2:]]) == [[False, False], [True, True]]
    winner = ready.index(True) // 2
    assert await mark_of(installations[winner]) == ids(databases)[winner]
    assert {process.exit_status for process in started[1 - winner]} == {ExitCode.UNAVAILABLE}


@pytest.fixture
def folder(tmp_path: Path, databases: list[str]) -> Iterator[Installation]:
    installation = Installation(tmp_path / "data", as_url(databases[0]))
    yield installation
    installation.kill_all()


async def test_a_folder_from_before_there_were_marks_gets_one(
    folder: Installation, databases: list[str]
) -> None:
    mark = folder.environment.media_dir / MARK_KEY
    await folder.set_up({"effect": "comic"})
    older = folder.environment.media_dir / a_key(kind=MediaKind.TEMPLATE)
    older.parent.mkdir(parents=True)
    older.write_bytes(b"older")
    mark.unlink()
    server = await asyncio.to_thread(folder.serve)
    assert mark.read_text() == ids(databases)[0]
    assert older.read_bytes() == b"older"
    assert server.stop() == 0


async def test_commands_refuse_the_wrong_media_too_and_their_advice_helps(
    folder: Installation, databases: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    await folder.set_up({"effect": "comic"})
    terminal = Terminal(folder.folder, {"DATABASE_URL": as_url(databases[1])})
    done = await asyncio.to_thread(terminal, "slots", "list")
    assert done.exit_status == ExitCode.UNAVAILABLE
    assert MARK_KEY in done.stderr
    (folder.environment.media_dir / MARK_KEY).unlink()
    assert (await asyncio.to_thread(terminal, "slots", "list")).exit_status == ExitCode.OK
    environment = replace(folder.environment, database_url=as_url(databases[1]))
    assert (environment.media_dir / MARK_KEY).read_text() == ids(databases)[1]
