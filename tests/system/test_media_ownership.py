"""Processes that are pointed at somebody else's files, and first starts: on folders and on a bucket."""

import asyncio
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import LiteralString

import psycopg
import pytest

from photochanger.adapters.object_store.bucket import Bucket
from photochanger.adapters.postgres import migrate
from photochanger.application.media_ownership import MARK_KEY, CheckMediaOwner
from photochanger.domain.media import MediaKind
from photochanger.entrypoints.cli.booth import Delivery
from photochanger.entrypoints.cli.exit_codes import ExitCode
from photochanger.entrypoints.cli.processes import ServeProcess
from photochanger.testing.photos import plain_jpeg
from tests.s3_server import S3Server
from tests.system.installation import Installation, as_url, eventually, fetched
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


def execute(dsn: str, statement: LiteralString) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(statement)


async def is_true(dsn: str, question: LiteralString) -> bool:
    with psycopg.connect(dsn) as connection:
        return connection.execute(question).fetchone() == (True,)


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
        assert "photochanger adopt-media" in last_line
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
    execute(databases[0], "UPDATE installation SET media_marked_at = NULL")
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
    assert "photochanger adopt-media" in done.stderr
    adopted = await asyncio.to_thread(terminal.json, "adopt-media", "--yes")
    assert adopted == {"previous_owner": "another_database"}
    assert (await asyncio.to_thread(terminal, "slots", "list")).exit_status == ExitCode.OK
    environment = replace(folder.environment, database_url=as_url(databases[1]))
    assert (environment.media_dir / MARK_KEY).read_text() == ids(databases)[1]


@pytest.fixture
def terminal(
    folder: Installation, databases: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Terminal:
    monkeypatch.chdir(tmp_path)
    return Terminal(folder.folder, {"DATABASE_URL": as_url(databases[0])})


async def served(folder: Installation, tmp_path: Path) -> tuple[ServeProcess, Delivery]:
    """Start a server, and have a photo made into a picture."""
    photo = tmp_path / "photo.jpg"
    photo.write_bytes(plain_jpeg())
    await folder.set_up({"effect": "comic"})
    server = await asyncio.to_thread(folder.serve)
    delivery = await folder.send(server, photo)
    assert isinstance(delivery, Delivery)
    return server, delivery


async def result_of(server: ServeProcess, delivery: Delivery) -> tuple[int, bytes]:
    return await fetched(f"{server.base_url}/public/results/{delivery.job_id}")


async def refusals(folder: Installation) -> set[str]:
    """Start what can be started, see that it is refused, and return why."""
    told = set()
    for process in (folder.start_server(), folder.worker()):
        assert await asyncio.to_thread(process.wait) == ExitCode.UNAVAILABLE
        told.add(process.log_path.read_text().splitlines()[-1])
    return told


async def test_while_the_disk_is_not_mounted_nothing_starts_and_nothing_is_lost(
    folder: Installation, tmp_path: Path, terminal: Terminal
) -> None:
    media, elsewhere = folder.environment.media_dir, tmp_path / "elsewhere"
    server, delivery = await served(folder, tmp_path)
    assert server.stop() == 0
    media.rename(elsewhere)
    media.mkdir()

    [told] = await refusals(folder)
    assert "The media store has lost its mark" in told
    assert "photochanger adopt-media" in told
    assert str(tmp_path) not in told
    for command in (["verify"], ["cleanup"], ["slots", "list"]):
        done = await asyncio.to_thread(terminal, *command)
        assert (done.exit_status, done.stdout) == (ExitCode.UNAVAILABLE, "")
    assert not (media / MARK_KEY).exists()

    media.rename(tmp_path / "empty")
    elsewhere.rename(media)
    server = await asyncio.to_thread(folder.serve)
    assert await result_of(server, delivery) == (200, delivery.picture)
    assert (await asyncio.to_thread(terminal.json, "verify"))["clean"]


async def test_a_wrong_prefix_is_refused(tmp_path: Path, databases: list[str], s3_server: S3Server) -> None:
    bucket = s3_server.new_bucket()
    right = Installation(tmp_path / "data", as_url(databases[0]), bucket=bucket)
    await right.set_up({"effect": "comic"})
    wrong = Installation(tmp_path / "data", as_url(databases[0]), bucket=replace(bucket, prefix="typo"))
    [told] = await refusals(wrong)
    assert "The media store has lost its mark" in told
    assert s3_server.names(bucket) == [f"{bucket.prefix}/{MARK_KEY}"]


async def test_after_a_real_loss_the_store_is_adopted_and_the_lost_results_end(
    folder: Installation, databases: list[str], tmp_path: Path, terminal: Terminal
) -> None:
    server, delivery = await served(folder, tmp_path)
    assert server.stop() == 0
    shutil.rmtree(folder.environment.media_dir)
    assert len(await refusals(folder)) == 1

    adopted = await asyncio.to_thread(terminal, "adopt-media", "--yes")
    assert adopted.exit_status == ExitCode.OK, adopted.stderr
    assert "It had no mark." in adopted.stdout
    again = await asyncio.to_thread(terminal.json, "adopt-media", "--yes")
    assert again == {"previous_owner": "this_database"}
    verified = (await asyncio.to_thread(terminal, "verify", "--json")).json()
    assert {each["code"] for each in verified["discrepancies"]} == {"row_without_file"}

    server = await asyncio.to_thread(folder.serve)
    cleaned = await asyncio.to_thread(terminal.json, "cleanup")
    assert cleaned["lost_files"] == len(verified["discrepancies"]) == 2
    assert (await result_of(server, delivery))[0] == 410
    assert (await asyncio.to_thread(terminal.json, "verify"))["clean"]


async def test_a_disk_that_vanishes_while_a_server_runs_has_lost_nothing(
    folder: Installation, databases: list[str], tmp_path: Path
) -> None:
    media, elsewhere = folder.environment.media_dir, tmp_path / "elsewhere"
    server, delivery = await served(folder, tmp_path)
    await eventually(lambda: is_true(databases[0], "SELECT compared_at IS NOT NULL FROM sweeper"))
    media.rename(elsewhere)
    media.mkdir()
    execute(databases[0], "UPDATE sweeper SET compared_at = NULL, swept_at = NULL")

    async def is_told() -> bool:
        return "files and records cannot be compared" in server.log_path.read_text()

    await eventually(is_told)
    await eventually(lambda: is_true(databases[0], "SELECT swept_at IS NOT NULL FROM sweeper"))
    assert await is_true(databases[0], "SELECT compared_at IS NULL FROM sweeper")

    media.rename(tmp_path / "empty")
    elsewhere.rename(media)
    await eventually(lambda: is_true(databases[0], "SELECT compared_at IS NOT NULL FROM sweeper"))
    assert await result_of(server, delivery) == (200, delivery.picture)
    assert await folder.discrepancies() == []
    assert server.stop() == 0


@pytest.mark.parametrize("command", [["verify"], ["cleanup", "--dry-run"], ["cleanup"]])
async def test_a_command_that_cannot_compare_says_why(
    folder: Installation, terminal: Terminal, monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    await folder.set_up({"effect": "comic"})
    check = CheckMediaOwner.__call__

    async def then_unmount(self: CheckMediaOwner) -> None:
        await check(self)
        (folder.environment.media_dir / MARK_KEY).unlink()

    monkeypatch.setattr(CheckMediaOwner, "__call__", then_unmount)
    done = await asyncio.to_thread(terminal, *command, "--json")
    assert done.exit_status == ExitCode.UNAVAILABLE
    assert "The media store has lost its mark" in done.stderr
    told = done.json()
    assert "The media store has lost its mark" in told["not_compared" if command == ["cleanup"] else "detail"]
