"""Administering an installation from the command line, as somebody who is logged in over ssh, or cron."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import rich_click as click

from photochanger.entrypoints.cli.commands import ADMINISTRATION, photochanger
from photochanger.entrypoints.cli.deferred import Deferred
from photochanger.entrypoints.cli.exit_codes import ExitCode
from photochanger.entrypoints.cli.options import EXIT_STATUSES
from photochanger.testing.photos import plain_jpeg
from tests.system.installation import Installation
from tests.system.terminal import Terminal

pytestmark = pytest.mark.system

PASSWORD = "a-new-password"


def commands_of(command: click.Command, name: str = "") -> list[tuple[str, click.Command]]:
    if isinstance(command, Deferred):
        return commands_of(command.load(), name)
    if not isinstance(command, click.Group):
        return [(name, command)]
    return [
        pair
        for inner, subcommand in command.commands.items()
        for pair in commands_of(subcommand, f"{name} {inner}".strip())
    ]


# --- help ---


@pytest.mark.parametrize("name", ADMINISTRATION)
def test_the_first_help_says_of_a_command_what_its_own_says(name: str) -> None:
    deferred = photochanger.commands[name]
    assert isinstance(deferred, Deferred)

    own = (deferred.load().help or "").partition("\n\n")[0]

    assert own == ADMINISTRATION[name]


def test_every_command_of_administration_teaches() -> None:
    found = [pair for name in ADMINISTRATION for pair in commands_of(photochanger.commands[name], name)]

    assert len(found) > 20
    assert [name for name, command in found if f"photochanger {name}" not in (command.help or "")] == []
    assert [name for name, command in found if command.epilog != EXIT_STATUSES] == []
    assert {"as_json"} <= {param.name for _, command in found for param in command.params}


def test_the_first_help_loads_nothing_of_the_installation(tmp_path: Path) -> None:
    code = (
        "import sys; from photochanger.entrypoints.cli import main\n"
        "try: main(['--help'])\n"
        "finally: print(sorted({'msgspec', 'psycopg', 'litestar', 'aiohttp'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"
    for name in ADMINISTRATION:
        assert f" {name} " in done.stdout


# --- slots ---


def test_slots_are_listed(terminal: Terminal) -> None:
    listed = terminal.json("slots", "list")
    table = terminal("slots", "list")

    assert [slot["slot_id"] for slot in listed] == [f"slot-{number:03}" for number in range(1, 16)]
    assert table.stderr == ""
    assert "slot-015  -         rehearsal photo_effect  48 s      1\n" in table.stdout
    assert max(map(len, table.stdout.splitlines())) <= 80


def test_a_slot_is_set_up_by_the_names_that_are_shown(terminal: Terminal) -> None:
    done = terminal(
        *("slots", "set", "slot-004", "is_active=true", "params.effect=sepia", "retry.max_attempts=1"),
        *("display_name=Комикс [bold]", 'fallback={"provider": "rehearsal", "operation": "photo_effect"}'),
    )
    table = terminal("slots", "show", "slot-004").stdout
    shown = terminal.json("slots", "show", "slot-004")

    assert done.exit_status == 0, done.stderr
    assert "slot-004 is version 2 now." in done.stdout
    assert "is_active           false  true\n" in done.stdout
    assert shown["is_active"] is True
    assert shown["params"] == {"effect": "sepia"}
    assert shown["retry"] == {"max_attempts": 1, "backoff_ms": 500, "repeat_maybe_billed": False}
    assert shown["fallback"]["provider"] == "rehearsal"
    assert (shown["display_name"], shown["recent_results"]) == ("Комикс [bold]", [])
    for line in ("display_name               Комикс [bold]", "retry.max_attempts         1"):
        assert line in table


def test_what_was_set_is_taken_out_again(terminal: Terminal) -> None:
    terminal.json(
        "slots",
        "set",
        "slot-004",
        "params.effect=sepia",
        'fallback.provider="rehearsal"',
        "fallback.operation=photo_effect",
        "sync_response_timeout_sec=30",
    )
    after = terminal.json(
        "slots",
        "set",
        "slot-004",
        "fallback=null",
        "--unset",
        "params.effect",
        "sync_response_timeout_sec=null",
    )

    assert (after["params"], after["fallback"], after["sync_response_timeout_sec"]) == ({}, None, None)


def test_a_setup_is_taken_over_from_another_slot(terminal: Terminal) -> None:
    terminal.json("slots", "set", "slot-001", "is_active=true", "params.effect=comic")
    shown = terminal("slots", "show", "slot-001", "--json").stdout

    taken_over = terminal.json(
        "slots", "set", "slot-002", "--from-file", "-", "display_name=Copy", stdin=shown
    )

    assert taken_over["params"] == {"effect": "comic"}
    assert (taken_over["slot_id"], taken_over["display_name"], taken_over["version"]) == (
        "slot-002",
        "Copy",
        2,
    )


def test_a_file_may_hold_a_part_of_the_setup(terminal: Terminal, tmp_path: Path) -> None:
    (tmp_path / "part.json").write_text('{"retry": {"max_attempts": 0}, "params": {"effect": "mirror"}}')
    terminal.json("slots", "set", "slot-001", "params.effect=sepia", "retry.backoff_ms=100")

    after = terminal.json("slots", "set", "slot-001", "--from-file", "part.json")

    assert after["retry"] == {"max_attempts": 0, "backoff_ms": 100, "repeat_maybe_billed": False}
    assert after["params"] == {"effect": "mirror"}


def test_a_version_that_is_no_longer_so_is_refused_with_the_way_out(terminal: Terminal) -> None:
    seen = terminal("slots", "show", "slot-001", "--json").stdout
    terminal.json("slots", "set", "slot-001", "display_name=Faster")

    by_file = terminal("slots", "set", "slot-001", "--from-file", "-", "is_active=true", "--json", stdin=seen)
    by_key = terminal("slots", "set", "slot-001", "version=1", "is_active=true")

    for done in (by_file, by_key):
        assert done.exit_status == ExitCode.REFUSED
        assert "slot-001 is version 2, and the change is of version 1" in done.stderr
        assert "photochanger slots show slot-001" in done.stderr
    assert by_file.json()["code"] == "version_conflict"
    assert terminal.json("slots", "show", "slot-001")["is_active"] is False


def test_everything_that_is_wrong_with_a_slot_is_told_at_once(terminal: Terminal) -> None:
    done = terminal(
        *("slots", "set", "slot-001", "size_limit_mb=big", "retry.tries=3", "is_active=1", "fallback={}"),
        "--json",
    )
    by_rule = terminal("slots", "set", "slot-001", "size_limit_mb=0", "params.effect=none", "provider=nobody")

    assert done.exit_status == by_rule.exit_status == ExitCode.USAGE
    told = done.stderr.splitlines()
    assert "photochanger: size_limit_mb: must be a whole number" in told
    assert "photochanger: retry.tries: there is no such field" in told
    assert {problem["field"] for problem in done.json()["errors"]} == {
        *("size_limit_mb", "retry.tries", "is_active", "fallback.provider", "fallback.operation")
    }
    assert {line.split(": ")[1] for line in by_rule.stderr.splitlines()} == {"provider", "size_limit_mb"}
    assert terminal.json("slots", "show", "slot-001")["version"] == 1


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "nothing to change"),
        (["is_active"], "KEY=VALUE"),
        (["=1"], "KEY=VALUE"),
        (["retry..max=1"], "KEY=VALUE"),
        (["is_active=true", "is_active=false"], "given twice"),
        (["ingest_password=canary-secret"], "list of processes"),
        (["is_active.x=1"], "nothing inside it"),
        (["--unset", "params.nothing"], "is not there"),
        (["--from-file", "nowhere.json"], "does not exist"),
        (["--from-file", "-"], "not valid JSON"),
        (["--password", "--no-password"], "neither"),
        (["--password", "--from-file", "-"], "neither"),
        (["--password"], "no terminal to ask"),
    ],
)
def test_a_command_that_cannot_be_meant_changes_nothing(
    terminal: Terminal, arguments: list[str], told: str
) -> None:
    done = terminal("slots", "set", "slot-001", *arguments)

    assert done.exit_status == ExitCode.USAGE
    assert told in " ".join(done.stderr.split())
    assert "canary-secret" not in done.stderr + done.stdout
    assert done.stdout == ""


@pytest.mark.parametrize("command", ["show", "set", "cleanup"])
def test_an_unknown_slot_is_refused(terminal: Terminal, command: str) -> None:
    more = {"show": [], "set": ["is_active=true"], "cleanup": ["--yes"]}[command]

    done = terminal("slots", command, "slot-016", *more, "--json")

    assert done.exit_status == ExitCode.REFUSED
    assert done.json()["code"] == "slot_not_found"
    assert done.stderr == "photochanger: There is no such slot\n"


def test_a_slot_gets_a_password_of_its_own_and_loses_it(terminal: Terminal) -> None:
    given = terminal("slots", "set", "slot-001", "--password", stdin=f"{PASSWORD}\nnot this line\n")
    short = terminal("slots", "set", "slot-001", "--password", stdin="short\n")
    broken = terminal("slots", "set", "slot-001", "--password", stdin=b"\xff\xfe secret\n")
    is_set = terminal.json("slots", "show", "slot-001")["ingest_password_is_set"]
    taken = terminal.json("slots", "set", "slot-001", "--no-password")

    assert given.exit_status == 0, given.stderr
    assert short.exit_status == broken.exit_status == ExitCode.USAGE
    assert "ingest_password: must have 8 to 128 characters" in short.stderr
    assert is_set is True
    assert taken["ingest_password_is_set"] is False
    assert PASSWORD not in str([given, terminal("audit", "--json")])


def test_what_cannot_be_undone_needs_somebody_to_ask_or_yes(terminal: Terminal) -> None:
    for command in (
        ("slots", "cleanup", "slot-001"),
        ("templates", "remove", "0" * 32),
        ("jobs", "cancel", "0" * 32),
        ("account", "remove", "serg"),
        ("adopt-media",),
    ):
        done = terminal(*command, stdin="y\n")

        assert done.exit_status == ExitCode.USAGE
        assert "say --yes" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "status", "told"),
    [
        (["--slot", "slot-001", "--slots"], ExitCode.USAGE, "either --slot or --slots"),
        (["--slot", "slot-16"], ExitCode.REFUSED, "There is no such slot"),
        (["--bucket", "2m"], ExitCode.USAGE, "is not one of"),
        (["--from", "1h", "--to", "2h"], ExitCode.USAGE, "to: must be later than from"),
        (["--from", "30d", "--bucket", "1m"], ExitCode.USAGE, "bucket: must be longer"),
    ],
)
def test_statistics_of_what_is_no_period_are_refused(
    terminal: Terminal, arguments: list[str], status: ExitCode, told: str
) -> None:
    done = terminal("stats", *arguments)

    assert done.exit_status == status
    assert told in " ".join(done.stderr.split())


# --- settings ---


def test_settings_are_shown_and_changed(terminal: Terminal) -> None:
    before = terminal.json("settings", "show")
    after = terminal.json(
        "settings", "set", "ingest.sync_response_timeout_sec=40", "limits.quota_per_day.gemini=9"
    )
    table = terminal("settings", "show").stdout
    without = terminal.json("settings", "set", "--unset", "limits.quota_per_day.gemini")

    assert (before["version"], after["version"], without["version"]) == (1, 2, 3)
    assert after["ingest"]["sync_response_timeout_sec"] == after["derived"]["t_sync_response_sec"] == 40
    assert after["limits"]["quota_per_day"] == {"gemini": 9}
    assert without["limits"]["quota_per_day"] == {}
    assert "ingest.sync_response_timeout_sec  40" in table
    assert "providers.rehearsal.key_is_set    true" in table


def test_settings_go_out_and_in_again_as_a_file(terminal: Terminal) -> None:
    shown = terminal("settings", "show", "--json").stdout

    again = terminal.json("settings", "set", "--from-file", "-", "results.gallery_size=3", stdin=shown)

    assert again["results"] == {"retention_hours": 72, "gallery_size": 3}


def test_wrong_settings_are_refused_all_at_once(terminal: Terminal) -> None:
    done = terminal("settings", "set", "results.retention_hours=1", "limits.per_provider.nobody=1")
    stale = terminal("settings", "set", "version=7", "results.gallery_size=3")

    assert done.exit_status == ExitCode.USAGE
    assert {line.split(": ")[1] for line in done.stderr.splitlines()} == {
        *("results.retention_hours", "limits.per_provider.nobody")
    }
    assert stale.exit_status == ExitCode.REFUSED
    assert "The settings are version 1, and the change is of version 7" in stale.stderr


@pytest.mark.parametrize(
    "given", ["ingest.dslr_password=canary-secret", 'ingest={"dslr_password": "canary-secret"}']
)
def test_the_ingest_password_is_never_an_argument(terminal: Terminal, given: str) -> None:
    done = terminal("settings", "set", given)

    assert done.exit_status == ExitCode.USAGE
    assert "photochanger settings password" in " ".join(done.stderr.split())
    assert "canary-secret" not in done.stderr


# --- templates ---


@pytest.fixture
def frame(tmp_path: Path) -> Path:
    path = tmp_path / "frame.jpg"
    path.write_bytes(plain_jpeg(300, 200))
    return path


def test_a_template_comes_is_seen_and_goes(
    terminal: Terminal, frame: Path, installation: Installation
) -> None:
    added = terminal("templates", "add", str(frame), "--name", "Рамка \x1b[31m")
    [refused] = added.stderr.splitlines()
    template_id = terminal("templates", "add", str(frame), "--name", "Рамка").stdout.strip()
    [listed] = terminal.json("templates", "list")
    table = terminal("templates", "list").stdout
    shown = terminal.json("templates", "show", template_id)
    removed = terminal("templates", "remove", template_id, "--yes")

    assert (added.exit_status, "printable" in refused) == (ExitCode.USAGE, True)
    assert (listed["template_id"], listed["name"], listed["width"]) == (template_id, "Рамка", 300)
    assert listed["size_bytes"] == frame.stat().st_size
    assert shown == listed | {"slot_ids": []}
    assert f"{template_id}  Рамка  300×200" in table
    assert removed.exit_status == 0, removed.stderr
    assert terminal.json("templates", "list") == []
    assert "no templates" in terminal("templates", "list").stdout
    assert terminal("templates", "show", template_id).exit_status == ExitCode.REFUSED
    assert terminal("templates", "remove", template_id, "--yes").exit_status == ExitCode.REFUSED


def test_a_template_in_use_goes_only_by_force(terminal: Terminal, frame: Path) -> None:
    template_id = terminal.json("templates", "add", str(frame), "--name", "Frame")["template_id"]
    bound = json.dumps([{"role": "style", "template_id": template_id}])
    terminal.json(
        *("slots", "set", "slot-007", "provider=turbotext", "operation=mix_images"),
        *("params={}", f"template_media={bound}"),
    )

    refused = terminal("templates", "remove", template_id, "--yes", "--json")
    users = terminal.json("templates", "show", template_id)["slot_ids"]
    forced = terminal("templates", "remove", template_id, "--yes", "--force")

    assert (refused.exit_status, refused.json()["slot_ids"]) == (ExitCode.REFUSED, ["slot-007"])
    assert "slot-007" in refused.stderr
    assert users == ["slot-007"]
    assert forced.exit_status == 0, forced.stderr
    assert terminal.json("slots", "show", "slot-007")["template_media"] == []


def test_a_letter_is_no_template(terminal: Terminal, tmp_path: Path) -> None:
    (tmp_path / "letter.jpg").write_text("Dear Sir or Madam")
    (tmp_path / "nothing.jpg").write_bytes(b"")

    letter = terminal("templates", "add", "letter.jpg", "--name", "x")
    nothing = terminal("templates", "add", "nothing.jpg", "--name", "x")

    assert letter.exit_status == nothing.exit_status == ExitCode.REFUSED
    assert "JPEG, PNG and WebP" in letter.stderr
    assert "empty" in nothing.stderr
