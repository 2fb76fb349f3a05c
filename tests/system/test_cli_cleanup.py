"""`photochanger cleanup` and `verify` over a real installation: what they find, do, say, and end with."""

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import psycopg
import pytest

from photochanger.domain.audit import Actor
from photochanger.domain.consistency import Code
from photochanger.domain.media import MediaId, MediaKind, media_key
from photochanger.entrypoints.cli.exit_codes import ExitCode
from photochanger.testing.harness import new_id
from photochanger.testing.photos import plain_jpeg
from tests.system.installation import Installation
from tests.system.terminal import Terminal

pytestmark = pytest.mark.system

NOTHING: Final[Mapping[str, Any]] = {
    "dry_run": False,
    "ended_jobs": 0,
    "deleted_files": {},
    "deleted_bytes": 0,
    "undeleted_files": 0,
    "stray_files": 0,
    "lost_files": 0,
    "forgotten_jobs": 0,
    "forgotten_files": 0,
}

_END_LINKS: Final = """
    UPDATE media_object SET expires_at = clock_timestamp(), offer_at = clock_timestamp()
    WHERE kind = 'provider_link'"""


@pytest.fixture
def media(installation: Installation) -> Path:
    return installation.environment.media_dir


@pytest.fixture
def link(installation: Installation, terminal: Terminal, media: Path) -> Path:
    """Return the file of a public link whose time is over."""
    terminal.json("cleanup")  # whatever comes first with a new installation
    asyncio.run(_register(installation))
    with psycopg.connect(installation.environment.database_url or "", autocommit=True) as connection:
        connection.execute(_END_LINKS)
    [path] = (media / "provider_link").glob("*/*")
    return path


async def _register(installation: Installation) -> None:
    async with installation.container() as container:
        register = container.register_media()
        with register.receiving(await register.limit_bytes()) as received:
            received.write(plain_jpeg())
            await register(received, job_id=None, actor=Actor(name="serg"))


@pytest.fixture
def template(terminal: Terminal, tmp_path: Path, media: Path) -> Path:
    """Return the file of a template."""
    (tmp_path / "frame.jpg").write_bytes(plain_jpeg(300, 200))
    terminal.json("templates", "add", "frame.jpg", "--name", "Frame")
    [path] = (media / "template").glob("*/*")
    return path


def a_stray_file(media: Path, kind: MediaKind = MediaKind.RESULT) -> Path:
    path = media / media_key(kind, MediaId(new_id()))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"nobody knows me")
    return path


def key_of(path: Path) -> str:
    return "/".join(path.parts[-3:])


# --- nothing to do ---


def test_where_there_is_nothing_to_do_it_says_so(terminal: Terminal, template: Path) -> None:
    looked, done, verified = (
        terminal(*command) for command in (["cleanup", "--dry-run"], ["cleanup"], ["verify", "--contents"])
    )

    assert (looked.exit_status, looked.stdout) == (0, "There is nothing to do.\n")
    assert (done.exit_status, done.stdout) == (0, "There was nothing to do.\n")
    assert (verified.exit_status, verified.stdout) == (0, "All is as it should be: 2 files compared.\n")
    assert looked.stderr + done.stderr + verified.stderr == ""
    assert terminal.json("cleanup") == NOTHING
    assert terminal.json("cleanup", "--dry-run") == {**NOTHING, "dry_run": True}
    assert terminal.json("verify") == {"clean": True, "compared_files": 2, "discrepancies": []}
    assert template.exists()


# --- what has expired ---


def test_a_dry_run_tells_what_a_sweep_then_does(terminal: Terminal, link: Path, template: Path) -> None:
    size = link.stat().st_size
    expected = {**NOTHING, "deleted_files": {"provider_link": 1}, "deleted_bytes": size}

    assert terminal.json("cleanup", "--dry-run") == {**expected, "dry_run": True}
    shown = terminal("cleanup", "--dry-run")
    assert link.exists()
    assert terminal.json("cleanup") == expected

    assert shown.exit_status == 0
    assert shown.stdout.splitlines()[0].split() == ["WHAT", "IS", "TO", "DO"]
    assert "Files deleted (provider_link)  1\n" in shown.stdout
    assert not link.exists()
    assert template.exists()
    assert terminal.json("cleanup") == NOTHING


def test_what_was_done_is_told_in_words(terminal: Terminal, link: Path, media: Path) -> None:
    a_stray_file(media)

    done = terminal("cleanup")

    assert (done.exit_status, done.stderr) == (0, "")
    assert [line.rstrip() for line in done.stdout.splitlines()] == [
        "WHAT WAS DONE",
        "Files deleted (provider_link)  1",
        "Files deleted (result)         1",
        f"Room made                      {link_size(done.stdout)}",
        "Files that no record expected  1",
    ]


def link_size(told: str) -> str:
    [size] = [line.split(maxsplit=2)[2] for line in told.splitlines() if line.startswith("Room made")]
    assert size.strip().endswith("MB")
    return size.strip()


def test_a_file_that_cannot_be_deleted_is_told_of(terminal: Terminal, link: Path, media: Path) -> None:
    link.unlink()
    link.mkdir()
    stray = a_stray_file(media)

    done = terminal("cleanup", "--json")

    assert done.exit_status == ExitCode.UNAVAILABLE
    assert done.stderr == "photochanger: Files that could not be deleted: 1\n"
    assert not stray.exists()
    # The one document says both: what was done, and what was not.
    told = json.loads(done.stdout)
    assert (told["undeleted_files"], told["deleted_files"]) == (1, {"result": 1})


def test_it_is_deleted_once_it_can_be(terminal: Terminal, installation: Installation, link: Path) -> None:
    content = link.read_bytes()
    link.unlink()
    link.mkdir()
    in_words = terminal("cleanup")
    link.rmdir()
    link.write_bytes(content)
    with psycopg.connect(installation.environment.database_url or "", autocommit=True) as connection:
        connection.execute("UPDATE media_object SET offer_at = now()")  # as if half a minute had passed

    assert in_words.exit_status == ExitCode.UNAVAILABLE
    assert "Files that could not be deleted  1\n" in in_words.stdout
    assert terminal.json("cleanup")["deleted_files"] == {"provider_link": 1}
    assert not link.exists()


# --- what differs ---


def test_a_stray_file_is_found_and_deleted(terminal: Terminal, template: Path, media: Path) -> None:
    stray, foreign = a_stray_file(media), media / "notes.txt"
    foreign.write_text("not ours")

    verified = terminal("verify", "--json")
    looked = terminal.json("cleanup", "--dry-run")
    is_left = stray.exists()
    done = terminal.json("cleanup")

    assert verified.exit_status == ExitCode.DEFECT
    assert verified.json() == {
        "clean": False,
        "compared_files": 3,
        "discrepancies": [
            {
                "code": "file_without_row",
                "subject": key_of(stray),
                "meaning": Code.FILE_WITHOUT_ROW.meaning,
            }
        ],
    }
    assert (looked["stray_files"], is_left) == (1, True)
    assert (done["stray_files"], done["deleted_files"]) == (1, {"result": 1})
    assert (stray.exists(), foreign.exists(), template.exists()) == (False, True, True)
    assert terminal.json("verify")["clean"]


def test_a_lost_file_is_written_off(terminal: Terminal, link: Path, template: Path) -> None:
    template.unlink()

    verified = terminal("verify")
    looked = terminal.json("cleanup", "--dry-run")
    done = terminal.json("cleanup")
    after = terminal("verify", "--json")

    assert verified.exit_status == ExitCode.DEFECT
    assert verified.stdout.splitlines()[0].split() == ["WHAT", "OF", "WHAT", "THAT", "IS"]
    assert "row_without_file" in verified.stdout
    assert (looked["lost_files"], done["lost_files"]) == (1, 1)
    # An administrator has to put it right: the template itself is still there.
    assert {each["code"] for each in after.json()["discrepancies"]} == {"template_missing"}
    assert after.exit_status == ExitCode.DEFECT


@pytest.mark.parametrize("change", ["bit", "shorter", "longer"])
def test_a_changed_file_is_found_by_its_contents_only(
    terminal: Terminal, template: Path, change: str
) -> None:
    content = template.read_bytes()
    flipped = content[:-1] + bytes([content[-1] ^ 1])
    template.write_bytes({"bit": flipped, "shorter": content[:-1], "longer": content + b"\0"}[change])

    quickly, thoroughly = terminal("verify"), terminal("verify", "--contents", "--json")

    assert quickly.exit_status == 0
    assert thoroughly.exit_status == ExitCode.DEFECT
    assert [(each["code"], each["subject"]) for each in thoroughly.json()["discrepancies"]] == [
        ("file_changed", key_of(template))
    ]
    assert template.exists()


# --- help ---

_END_OF_HELP: Final = """\
│ --json                     Print one JSON document, as HTTP answers it.      │
│ --data-dir      DIRECTORY  Folder for the database, the media and the        │
│                            secrets; default $PHOTOCHANGER_DATA_DIR or .data. │
│ --help      -h             Show this message and exit.                       │
╰──────────────────────────────────────────────────────────────────────────────╯

 Exit statuses:
 0  done
 1  a defect of PhotoChanger
 2  the command line or the configuration is wrong
 3  the server, the database or the media store cannot be reached
 4  the request was refused; repeating it will not help
 5  the image provider did not deliver a picture
 6  the picture was not ready in time

"""

_HELP: Final = {
    "cleanup": """
 Usage: photochanger cleanup [OPTIONS]

 End overdue jobs, delete what has expired, and forget what is long over.
 A server does the same all the time, unless the settings say otherwise; this
 is for cron, and for those who do not want to wait. Files and records are
 compared as well: files that no record expects are deleted, and records of
 files that are not there any more are written off. It waits for its turn while
 somebody else is sweeping.
 Examples:
   photochanger cleanup --dry-run
   photochanger cleanup --json

╭─ Options ────────────────────────────────────────────────────────────────────╮
│ --dry-run                  Say what there is to do, and do nothing.          │
""",
    "verify": """
 Usage: photochanger verify [OPTIONS]

 Look whether database and media store agree with each other, and change
 nothing.
 Prints everything that may not be: files without a record, records without
 their file, jobs and files whose time is over. Servers may be running
 meanwhile. Ends with status 1 where there is anything; most of it goes away by
 `photochanger cleanup`.
 Examples:
   photochanger verify
   photochanger verify --contents --json

╭─ Options ────────────────────────────────────────────────────────────────────╮
│ --contents                 Read every file as well, and compare its bytes'   │
│                            hash.                                             │
""",
}


@pytest.mark.parametrize("command", _HELP)
def test_the_help_as_a_terminal_of_80_columns_shows_it(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.setenv("COLUMNS", "80")

    shown = terminal(command, "--help")

    assert shown.exit_status == 0
    lines = [line.rstrip() for line in shown.stdout.splitlines()]
    assert lines == (_HELP[command] + _END_OF_HELP).splitlines()
