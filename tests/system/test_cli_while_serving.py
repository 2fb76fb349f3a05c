"""The command line beside a server: both tell the same, and what one changes counts for the other."""

import asyncio
import json
import os
import pty
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from photochanger.entrypoints.cli.booth import Delivery, Refusal
from photochanger.entrypoints.cli.exit_codes import ExitCode
from photochanger.entrypoints.cli.processes import ServeProcess
from photochanger.testing.photos import plain_jpeg
from tests.system.installation import PASSWORD, Installation, free_port
from tests.system.terminal import Terminal

pytestmark = pytest.mark.system

ADMIN_PASSWORD = "correct horse battery"
_PASSING = {"media_bytes", "quotas"}
"""What a sweep, or the next minute, changes."""


def request(url: str, *, token: str | None = None, body: object = None) -> tuple[int, Any]:
    headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {token}"} if token else {})}
    asked = Request(url, headers=headers, data=None if body is None else json.dumps(body).encode())
    try:
        with urlopen(asked, timeout=10) as answer:
            return answer.status, json.load(answer)
    except HTTPError as refused:
        return refused.code, json.load(refused)


@pytest.fixture
def server(installation: Installation) -> ServeProcess:
    asyncio.run(installation.set_up({"effect": "sepia"}, timeout_sec=20))
    return installation.serve()


@pytest.fixture
def beside(server: ServeProcess, terminal: Terminal) -> Terminal:
    """Return the command line with the server's public address, so that links are the same."""
    return Terminal(terminal.data_dir, {**terminal.variables, "PUBLIC_BASE_URL": server.base_url})


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "guest.jpg"
    path.write_bytes(plain_jpeg())
    return path


@pytest.fixture
def send(installation: Installation, server: ServeProcess, photo: Path) -> Callable[..., Delivery | Refusal]:
    def send(password: str = PASSWORD) -> Delivery | Refusal:
        return asyncio.run(installation.send(server, photo, password=password))

    return send


@pytest.fixture
def token(beside: Terminal, server: ServeProcess) -> str:
    beside.json("account", "add", "serg", "--all", stdin=ADMIN_PASSWORD)
    return log_in(server)


def log_in(server: ServeProcess) -> str:
    body = {"username": "serg", "password": ADMIN_PASSWORD}
    status, answer = request(f"{server.base_url}/api/login", body=body)
    assert status == 200, answer
    return str(answer["access_token"])


def test_both_tell_the_same(
    beside: Terminal,
    server: ServeProcess,
    token: str,
    photo: Path,
    send: Callable[..., Delivery | Refusal],
) -> None:
    delivery = send()
    assert isinstance(delivery, Delivery)
    template_id = beside("templates", "add", str(photo), "--name", "Frame").stdout.strip()
    since, until = (f"{datetime.now(UTC) + timedelta(hours=hours):%Y-%m-%dT%H:00:00Z}" for hours in (-5, 2))
    period = ("--from", since, "--to", until, "--bucket", "15m")

    for path, command in {
        "/api/slots": ("slots", "list"),
        "/api/slots/slot-001": ("slots", "show", "slot-001"),
        "/api/settings": ("settings", "show"),
        "/api/template-media": ("templates", "list"),
        f"/api/template-media/{template_id}": ("templates", "show", template_id),
        "/api/jobs": ("jobs", "list"),
        "/api/jobs?slot_id=slot-001&status=completed&limit=1": (
            *("jobs", "list", "--slot", "slot-001", "--status", "completed", "--limit", "1"),
        ),
        f"/api/jobs/{delivery.job_id}": ("jobs", "show", delivery.job_id),
        "/api/audit?limit=3": ("audit", "--limit", "3"),
        f"/api/stats/slots?from={since}&to={until}&bucket=15m": ("stats", "--slots", *period),
    }.items():
        status, answer = request(server.base_url + path, token=token)
        assert status == 200, path
        assert beside.json(*command) == answer, path

    _, system = request(f"{server.base_url}/api/stats/system?from={since}&to={until}&bucket=15m", token=token)
    told = beside.json("stats", *period)
    assert {name: told[name] for name in told.keys() - _PASSING} == {
        name: system[name] for name in system.keys() - _PASSING
    }
    assert told.keys() == system.keys()
    shown = beside("slots", "show", "slot-001").stdout
    assert f"{server.base_url}/ingest/slot-001" in shown
    assert delivery.job_id in shown


def test_a_password_that_was_rotated_is_taken_at_once_and_the_old_one_not(
    beside: Terminal, installation: Installation, send: Callable[..., Delivery | Refusal]
) -> None:
    assert isinstance(send(), Delivery)

    rotated = beside("settings", "password", stdin="brand-new-secret\n")
    old, new = send(PASSWORD), send("brand-new-secret")
    beside("slots", "set", "slot-001", "--password", stdin="only-for-this-slot\n")
    general, own = send("brand-new-secret"), send("only-for-this-slot")

    assert rotated.exit_status == 0, rotated.stderr
    assert isinstance(old, Refusal)
    assert old.error.code == "invalid_password"
    assert isinstance(new, Delivery)
    assert isinstance(general, Refusal)
    assert isinstance(own, Delivery)
    for secret in ("brand-new-secret", "only-for-this-slot"):
        assert secret not in rotated.stdout + rotated.stderr + installation.logs()
        assert secret not in beside("audit", "--json").stdout


def test_a_slot_that_was_switched_off_takes_no_photo(
    beside: Terminal, send: Callable[..., Delivery | Refusal]
) -> None:
    assert isinstance(send(), Delivery)

    beside.json("slots", "set", "slot-001", "is_active=false")
    refused = send()

    assert isinstance(refused, Refusal)
    assert refused.error.code == "slot_disabled"


def test_results_that_were_cleaned_up_are_gone_at_once(
    beside: Terminal, server: ServeProcess, send: Callable[..., Delivery | Refusal]
) -> None:
    delivery = send()
    assert isinstance(delivery, Delivery)

    cleaned = beside.json("slots", "cleanup", "slot-001", "--yes")

    assert cleaned["deleted_results"] == 1
    assert cleaned["deleted_bytes"] > len(delivery.picture)
    assert request(delivery.result_url)[0] == 410
    assert beside("slots", "cleanup", "slot-001", "--yes").stdout == "Deleted 0 results, 0.00 MB.\n"


def test_a_job_is_seen_and_cancelled_and_its_booth_is_told(
    beside: Terminal, installation: Installation, send: Callable[..., Delivery | Refusal]
) -> None:
    asyncio.run(installation.set_up({"outcome": "hang"}, timeout_sec=60))
    with ThreadPoolExecutor(1) as pool:
        sending = pool.submit(send)
        job_id = _job_under_way(beside)
        cancelled = beside("jobs", "cancel", job_id, "--yes")
        refused = sending.result(timeout=30)

    assert cancelled.stdout == f"The job {job_id} is cancelled.\n"
    assert isinstance(refused, Refusal)
    assert beside.json("jobs", "show", job_id)["status"] == "cancelled"
    assert f"{job_id}  " in beside("jobs", "list", "--status", "cancelled", "--source", "booth").stdout
    again = beside("jobs", "cancel", job_id, "--yes", "--json")
    assert (again.exit_status, again.json()["code"]) == (ExitCode.REFUSED, "job_finalized")
    assert beside("jobs", "cancel", "0" * 32, "--yes").exit_status == ExitCode.REFUSED
    assert beside("jobs", "show", "nonsense").exit_status == ExitCode.REFUSED
    [event] = beside.json("audit", "--action", "job_cancelled")["items"]
    assert (event["subject"], event["origin"]) == (job_id, "command line")


def _job_under_way(terminal: Terminal) -> str:
    patience_ends = time.monotonic() + 30
    while time.monotonic() < patience_ends:
        for job in terminal.json("jobs", "list", "--status", "processing")["items"]:
            return str(job["job_id"])
    raise AssertionError("no job came under way")


def test_jobs_are_shown_by_how_they_ended_and_page_by_page(
    beside: Terminal, installation: Installation, send: Callable[..., Delivery | Refusal]
) -> None:
    assert isinstance(send(), Delivery)
    asyncio.run(installation.set_up({"outcome": "no_image"}))
    assert isinstance(send(), Refusal)

    table = beside("jobs", "list").stdout
    [failed] = beside.json("jobs", "list", "--status", "failed_provider", "--from", "1h")["items"]
    first = beside.json("jobs", "list", "--limit", "1")
    second = beside.json("jobs", "list", "--limit", "1", "--cursor", first["next_cursor"])

    assert failed["failure_reason"] == "provider_no_image"
    assert f"{failed['job_id']}  " in table
    assert "  slot-001  provider_no_image\n" in table
    assert "  slot-001  completed " in table
    assert max(map(len, table.splitlines())) <= 80
    assert (first["items"], second["next_cursor"]) == ([failed], None)
    assert "--cursor" in beside("jobs", "list", "--limit", "1").stdout
    assert beside.json("jobs", "list", "--to", "1h")["items"] == []
    unknown = beside("jobs", "list", "--slot", "slot-99")
    assert (unknown.exit_status, unknown.stderr) == (
        ExitCode.USAGE,
        "photochanger: slot_id: there is no such slot\n",
    )


def test_sessions_end_at_once(beside: Terminal, server: ServeProcess, token: str) -> None:
    for command, told in (
        (("account", "logout", "serg"), "Ended 2 sessions of serg.\n"),
        (("account", "remove", "serg", "--yes"), "The account serg is removed.\n"),
    ):
        token = log_in(server)
        before, _ = request(f"{server.base_url}/api/me", token=token)
        done = beside(*command)
        after, problem = request(f"{server.base_url}/api/me", token=token)

        assert done.stdout == told
        assert (before, after, problem["code"]) == (200, 401, "not_authenticated")


def test_statistics_tell_how_many_came_and_how_they_ended(
    beside: Terminal, installation: Installation, send: Callable[..., Delivery | Refusal]
) -> None:
    nothing = beside("stats").stdout
    assert isinstance(send(), Delivery)
    asyncio.run(installation.set_up({"outcome": "no_image"}))
    assert isinstance(send(), Refusal)

    whole, by_slot = beside("stats").stdout, beside("stats", "--slots").stdout
    one = beside("stats", "--slot", "slot-001", "--from", "2h", "--bucket", "5m").stdout
    another = beside("stats", "--slot", "slot-002").stdout
    [item] = beside.json("stats", "--slot", "slot-001")["items"]

    assert "No booth's job ended in this time." in nothing
    totals = " ".join(next(line for line in whole.splitlines() if line.startswith("2     1 50.0%")).split())
    assert totals.startswith("2 1 50.0% 0 1 50.0% 0 ")
    assert "████████████████████░░░░░░░░░░░░░░░░░░░░" in whole
    assert "\nrehearsal  " in whole
    assert "Now: 0 waiting, 0 under way" in whole
    assert "in steps of 5m" in one
    for table in (whole, one, by_slot):
        assert "provider_no_image\n" in table
        assert max(map(len, table.splitlines())) <= 80
    assert "No booth's job ended in this time." in another
    assert (item["slot_id"], item["totals"]["total"]) == ("slot-001", 2)


# --- real processes ---


def test_the_embedded_database_is_worked_on_while_it_serves_and_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DATABASE_URL", raising=False)
    data_dir = tmp_path / "data"
    terminal = Terminal(data_dir, {"OTEL_TRACES_EXPORTER": "console"})
    missing = terminal("slots", "list")
    assert not data_dir.exists()
    server = ServeProcess(data_dir, free_port(), log_path=tmp_path / "serve.log")
    try:
        server.wait_until_ready()
        meanwhile = _process(terminal, "slots", "set", "slot-009", "is_active=true", "--json")
    finally:
        assert server.stop() == 0
    afterwards = terminal("slots", "show", "slot-009", "--json")

    assert missing.exit_status == ExitCode.USAGE
    assert f"there is no database in {data_dir}" in missing.stderr
    assert (meanwhile.returncode, meanwhile.stderr) == (0, "")
    assert json.loads(meanwhile.stdout)["version"] == 2
    assert (afterwards.json(), afterwards.stderr) == (json.loads(meanwhile.stdout), "")
    assert not list((data_dir / "postgres").glob("postmaster.pid")), "the database still runs"


def _process(terminal: Terminal, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "photochanger", *arguments],
        env={**os.environ, **terminal.variables, "PHOTOCHANGER_DATA_DIR": str(terminal.data_dir)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_reader_that_has_had_enough_is_no_error(terminal: Terminal) -> None:
    command = f"{sys.executable} -m photochanger slots list | :"  # which reads nothing
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {command}"],
        env={**os.environ, **terminal.variables, "PHOTOCHANGER_DATA_DIR": str(terminal.data_dir)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert (done.returncode, done.stderr) == (0, "")


def test_on_a_terminal_the_password_is_asked_for_twice_and_not_shown(terminal: Terminal) -> None:
    typed = ["first-password", "another-one", "second-password", "second-password"]

    shown, exit_status = _typed(["settings", "password"], typed, terminal)

    assert exit_status == 0, shown
    assert "do not match" in shown
    assert "The ingest password is a new one." in shown
    assert not [password for password in typed if password in shown]
    assert terminal.json("settings", "show")["ingest"]["password_is_set"] is True


@pytest.mark.parametrize(("answer", "status"), [("y", 0), ("n", 130)])
def test_on_a_terminal_it_is_asked_before_something_is_deleted(
    terminal: Terminal, answer: str, status: int
) -> None:
    shown, exit_status = _typed(["slots", "cleanup", "slot-001"], [answer], terminal)

    assert exit_status == status, shown
    assert "Delete all results of slot-001? [y/N]" in shown
    assert ("Deleted 0 results" in shown) == (status == 0)


def _typed(arguments: list[str], lines: list[str], terminal: Terminal) -> tuple[str, int]:
    """Run a command on a terminal, type a line after each of its questions, and return what was shown."""
    ours, theirs = pty.openpty()
    variables = {**os.environ, **terminal.variables, "PHOTOCHANGER_DATA_DIR": str(terminal.data_dir)}
    with subprocess.Popen(
        [sys.executable, "-m", "photochanger", *arguments],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**variables, "TERM": "dumb"},
        start_new_session=True,
    ) as process:
        os.close(theirs)
        shown = ""
        for line in lines:
            shown += _until_asked(ours)
            os.write(ours, f"{line}\n".encode())
        while chunk := _read(ours):
            shown += chunk
        os.close(ours)
    return shown, process.returncode


def _until_asked(terminal: int) -> str:
    shown = ""
    while not shown.endswith(": "):
        chunk = _read(terminal)
        assert chunk, f"it ended after: {shown}"
        shown += chunk
    return shown


def _read(terminal: int) -> str:
    try:
        return os.read(terminal, 4096).decode()
    except OSError:  # Linux says so when the other side is closed
        return ""
