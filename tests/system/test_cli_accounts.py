"""Accounts, sessions, hashes and the audit log from the command line."""

import json
import stat
from pathlib import Path

import pytest
from argon2 import PasswordHasher

from photochanger.domain.permissions import Permission
from photochanger.entrypoints.cli.exit_codes import ExitCode
from tests.system.installation import Installation
from tests.system.terminal import Terminal

pytestmark = pytest.mark.system

PASSWORD = "correct horse battery"
EVERYTHING = sorted(Permission)


@pytest.fixture
def file(installation: Installation) -> Path:
    return installation.environment.credentials_path


def test_accounts_are_added_seen_and_removed(terminal: Terminal, file: Path) -> None:
    serg = terminal("account", "add", " Serg ", "--all", stdin=f"{PASSWORD}\n")
    igor = terminal.json(
        *("account", "add", "igor", "--permission", "slots:read", "--permission", "stats:read"),
        stdin=f"{PASSWORD}\r\n",
    )
    listed = terminal.json("account", "list")
    table = terminal("account", "list").stdout
    [stored, _] = json.loads(file.read_text())["accounts"]
    removed = terminal("account", "remove", "IGOR", "--yes")

    assert (serg.exit_status, serg.stdout) == (0, "The account serg may do everything.\n")
    assert igor == {"username": "igor", "permissions": ["slots:read", "stats:read"]}
    assert listed == [igor, {"username": "serg", "permissions": EVERYTHING}]
    assert "igor     slots:read, stats:read\nserg     everything\n" in table
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert PasswordHasher().verify(stored["password_hash"], PASSWORD)
    assert removed.stdout == "The account igor is removed.\n"
    assert [account["username"] for account in terminal.json("account", "list")] == ["serg"]


def test_a_password_that_was_made_up_is_printed_once(terminal: Terminal, file: Path) -> None:
    made = terminal.json("account", "add", "serg", "--all", "--generate")
    told = terminal("account", "add", "igor", "--all", "--generate").stdout
    stored = json.loads(file.read_text())["accounts"]

    made_up = [made["password"], told.splitlines()[1].removeprefix("Password  ")]
    for password, account in zip(made_up, stored, strict=True):
        assert len(password) >= 24
        assert PasswordHasher().verify(account["password_hash"], password)
        assert password not in str([terminal("account", "list"), terminal("audit", "--json")])


def test_an_account_is_only_replaced_on_purpose(terminal: Terminal) -> None:
    terminal.json("account", "add", "serg", "--all", "--generate")

    refused = terminal("account", "add", "SERG", "--permission", "slots:read", stdin=f"{PASSWORD}\n")
    terminal.json("account", "add", "serg", "--permission", "slots:read", "--replace", stdin=f"{PASSWORD}\n")

    assert refused.exit_status == ExitCode.USAGE
    assert refused.stderr == "photochanger: username: there is already an account of this name\n"
    assert terminal.json("account", "list") == [{"username": "serg", "permissions": ["slots:read"]}]
    changed, added = terminal.json("audit")["items"]
    assert (changed["action"], added["action"]) == ("account_changed", "account_added")
    assert changed["changes"]["password"] == {"old": "set", "new": "set anew"}
    assert changed["changes"]["permissions"] == {"old": EVERYTHING, "new": ["slots:read"]}


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["add", "serg"], "either --permission, or --all"),
        (["add", "serg", "--all", "--permission", "slots:read"], "either --permission, or --all"),
        (["add", "serg", "--permission", "slots:eat"], "not one of 'slots:read'"),
        (["add", "serg/../x", "--all"], "username: must have 1 to 64"),
        (["add", "serg", "--all"], "password: must have 8 to 1024 characters"),
        (["remove", "nobody", "--yes"], "username: there is no such account"),
        (["logout", "nobody"], "username: there is no such account"),
    ],
)
def test_an_account_that_cannot_be_is_refused(
    terminal: Terminal, file: Path, arguments: list[str], told: str
) -> None:
    done = terminal("account", *arguments, stdin="seven 7\n")

    assert done.exit_status == ExitCode.USAGE
    assert told in " ".join(done.stderr.split())
    assert not file.exists()


def test_accounts_that_others_could_read_are_refused_with_the_reason(terminal: Terminal, file: Path) -> None:
    terminal.json("account", "add", "serg", "--all", "--generate")
    file.chmod(0o644)

    for command in (
        ("account", "list"),
        ("account", "remove", "serg", "--yes"),
        ("account", "add", "igor", "--all", "--generate"),
        ("account", "logout", "serg"),
    ):
        done = terminal(*command)
        assert done.exit_status == ExitCode.USAGE
        assert "chmod 600" in done.stderr
        assert done.stdout == ""


def test_accounts_are_listed_where_there_is_no_database(tmp_path: Path) -> None:
    done = Terminal(tmp_path / "empty", {})("account", "list")

    assert (done.exit_status, done.stderr) == (0, "")
    assert "There are no accounts in" in done.stdout
    assert not (tmp_path / "empty").exists()


def test_the_log_tells_who_did_what(terminal: Terminal) -> None:
    terminal.json("slots", "set", "slot-002", "display_name=Zwei\x1b[2J", "is_active=true")
    terminal.json("settings", "password", stdin="a-new-password\n")
    terminal.json("slots", "cleanup", "slot-002", "--yes")

    page = terminal.json("audit")
    of_a_slot = terminal.json("audit", "--action", "slot_changed", "--subject", "slot-002", "--from", "1h")
    first = terminal.json("audit", "--limit", "1")
    second = terminal.json("audit", "--limit", "1", "--cursor", first["next_cursor"])
    long_ago = terminal.json("audit", "--to", "2020-01-01T00:00:00+03:00")
    table = terminal("audit", "--limit", "2").stdout
    everything = terminal("audit").stdout

    assert [event["action"] for event in page["items"]] == [
        *("slot_cleaned", "ingest_password_rotated", "slot_changed")
    ]
    assert {event["origin"] for event in page["items"]} == {"command line"}
    assert all(event["actor"] for event in page["items"])
    assert of_a_slot["items"] == [page["items"][2]]
    assert (first["items"] + second["items"], page["next_cursor"]) == (page["items"][:2], None)
    assert long_ago == {"items": [], "next_cursor": None}
    assert "There are more: --cursor " in table
    assert "is_active: false → true" in everything
    assert "\x1b" not in everything
    assert max(map(len, everything.splitlines())) <= 80


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--action", "eat"], "is not one of"),
        (["--from", "yesterday"], "nor an age"),
        (["--from", "999999999w"], "nor an age"),
        (["--from", "2026-01-14T09:30:00"], "must say its zone"),
        (["--limit", "0"], "limit: must be at least 1"),
        (["--limit", "201"], "limit: must be at most 200"),
        (["--cursor", "x"], "cursor: is not a cursor of ours"),
        (["--actor", "x" * 201], "actor: must have at most 200"),
    ],
)
def test_a_question_that_cannot_be_answered_is_refused(
    arguments: list[str], told: str, tmp_path: Path
) -> None:
    done = Terminal(tmp_path, {})("audit", *arguments)

    assert done.exit_status == ExitCode.USAGE
    assert told in " ".join(done.stderr.split())


def test_a_hash_is_what_the_credentials_file_holds(tmp_path: Path) -> None:
    terminal = Terminal(tmp_path, {})

    printed = terminal("hash-password", stdin=f"{PASSWORD}\n")
    hashed = terminal.json("hash-password", stdin=PASSWORD)["password_hash"]
    refusals = [terminal("hash-password", stdin=given) for given in ("", "short\n", "with\0 a NUL inside\n")]

    assert printed.stdout.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    for found in (printed.stdout.strip(), hashed):
        assert PasswordHasher().verify(found, PASSWORD)
    assert [done.exit_status for done in refusals] == [ExitCode.USAGE] * 3
    assert not list(tmp_path.iterdir())
