"""Secrets, typed into every place where they belong and into many where they do not: nothing shows them."""

import asyncio
import json
import os
import secrets
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import psutil
import pytest
import yaml

from photochanger.entrypoints.cli.processes import ServeProcess
from photochanger.testing.fake_gemini import FakeGemini
from photochanger.testing.fake_turbotext import FakeTurbotext
from photochanger.testing.photos import plain_jpeg
from tests.conftest import DatabaseFactory
from tests.system.administration import Headers, read
from tests.system.canaries import Canaries, Role, Witness, provider_that_repeats_what_it_was_sent
from tests.system.http_server import BOUNDARY, Answer, form, part
from tests.system.installation import Installation, eventually

pytestmark = [pytest.mark.anyio, pytest.mark.system, pytest.mark.slow]

CONTRACT: Final = Path(__file__).parents[2] / "contracts" / "openapi.yaml"
MULTIPART: Final = ("Content-Type", f"multipart/form-data; boundary={BOUNDARY}")
JSON: Final = ("Content-Type", "application/json")
PHOTO: Final = part("fileToUpload", plain_jpeg(200, 100), file_name="a.jpg", content_type="image/jpeg")


@dataclass
class House:
    """An installation that is full of secrets, and what was seen of it."""

    installation: Installation
    role: Role
    canaries: Canaries
    witness: Witness
    variables: dict[str, str]
    token: str = ""

    @property
    def authorized(self) -> Headers:
        """The headers of somebody who may do everything."""
        return [("Authorization", f"Bearer {self.token}")]

    async def run(self, *arguments: str, typed: str = "") -> int:
        """Run a command with something on its standard input, and keep what it says."""
        done = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-m", "photochanger", *arguments, "--data-dir", str(self.installation.folder)],
            env={**os.environ, **self.variables, "LOG_LEVEL": "DEBUG"},
            input=typed + "\n",
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        self.witness.note(f"photochanger {arguments[0]} {arguments[1]}", done.stdout + done.stderr)
        return done.returncode

    async def ask(self, server: ServeProcess, method: str, path: str, document: object = None) -> Answer:
        """Ask as somebody who may do everything."""
        return await self.witness.ask(server, method, path, document=document, headers=self.authorized)

    async def send(
        self, server: ServeProcess, slot: str, *parts: bytes, query: str = "", headers: Headers = ()
    ) -> int:
        """Send a photo as a booth, and return the answer's status."""
        answer = await self.witness.ask(
            server,
            "POST",
            f"/ingest/{slot}{query}",
            body=form(*parts, PHOTO),
            headers=[MULTIPART, ("Cache-Control", "no-cache"), *headers],
        )
        return answer.status


@pytest.fixture
async def house(tmp_path: Path, new_database: DatabaseFactory) -> AsyncIterator[House]:
    canaries = Canaries()
    role = Role(new_database(), canaries.new("DATABASE_URL"))
    installation = Installation(tmp_path / "data", role.url)
    variables = {
        "DATABASE_URL": role.url,
        "JWT_SIGNING_KEY": canaries.new("JWT_SIGNING_KEY", more=secrets.token_hex(24)),
        "JWT_PREVIOUS_KEYS": canaries.new("JWT_PREVIOUS_KEYS", more=secrets.token_hex(24)),
        "GEMINI_API_KEY": canaries.new("GEMINI_API_KEY"),
        "TURBOTEXT_API_KEY": canaries.new("TURBOTEXT_API_KEY"),
        "LOG_LEVEL": "DEBUG",
        "OTEL_TRACES_EXPORTER": "console",
    }
    yield House(installation, role, canaries, Witness(canaries), variables)
    installation.kill_all()
    role.drop()


async def test_no_secret_is_seen_anywhere(house: House) -> None:
    async with AsyncExitStack() as stack:
        gemini = await stack.enter_async_context(FakeGemini(api_key=house.variables["GEMINI_API_KEY"]))
        turbotext = await stack.enter_async_context(
            FakeTurbotext(api_key=house.variables["TURBOTEXT_API_KEY"])
        )
        server = house.installation.serve(
            variables={
                **house.variables,
                "GEMINI_BASE_URL": gemini.base_url,
                "TURBOTEXT_BASE_URL": turbotext.base_url,
            }
        )
        password = await _set_up(house, server)
        for slot in ("slot-002", "slot-003"):
            assert await house.send(server, slot, part("password", password.encode())) == 200
        assert gemini.calls
        assert turbotext.calls
        await _send_photos(house, server, password)
        await _log_in_and_out(house, server)
        _look_at_processes(house)
        assert await asyncio.to_thread(server.stop) == 0

        repeating = await stack.enter_async_context(provider_that_repeats_what_it_was_sent())
        server = house.installation.serve(
            variables={**house.variables, "GEMINI_BASE_URL": repeating, "TURBOTEXT_BASE_URL": repeating}
        )
        for slot in ("slot-002", "slot-003"):
            assert await house.send(server, slot, part("password", password.encode())) == 502
        await _misuse_every_endpoint(house, server)
        await _lose_the_database(house, server, password)
        await _run_commands(house)
        await _start_wrongly(house)
        await _read_everything(house, server)
        _look_at_processes(house)

    assert house.witness.leaks() == []
    _expect_that_it_was_looked_at_well(house)


async def _set_up(house: House, server: ServeProcess) -> str:
    """Log in with the initial password, set two passwords and two slots, and return the general password."""
    note = house.installation.folder / "secrets" / "initial-credentials.json"
    initial = json.loads(note.read_text())
    house.canaries.named["initial admin password"] = initial["admin_password"]
    house.canaries.named["initial ingest password"] = initial["ingest_password"]
    await _log_in(house, server, initial["admin_username"], initial["admin_password"])

    password = house.canaries.new("ingest password")
    settings = _writable(read(await house.ask(server, "GET", "/api/settings")))
    wrong = house.canaries.new("ingest password in a refused document")
    for change in (
        {"dslr_password": wrong, "max_upload_mb": -1},
        {"dslr_password": [wrong]},
        {"dslr_password": wrong * 8},
        {"rate_limit_rps": wrong, "dslr_password": wrong},
    ):
        refused = {**settings, "ingest": {**settings["ingest"], **change}}
        assert (await house.ask(server, "PUT", "/api/settings", refused)).status == 422
    rotated = {**settings, "ingest": {**settings["ingest"], "dslr_password": password}}
    assert (await house.ask(server, "PUT", "/api/settings", {**rotated, "version": 99})).status == 409
    assert (await house.ask(server, "PUT", "/api/settings", rotated)).status == 200

    own = house.canaries.new("slot's password")
    await _set_slot(house, server, "slot-001", ingest_password=own)
    await _set_slot(
        house, server, "slot-002", provider="gemini", operation="edit_image", params={"prompt": "a"}
    )
    await _set_slot(
        house,
        server,
        "slot-003",
        provider="turbotext",
        operation="generate_image2image",
        params={"content": "a"},
    )
    return password


def _writable(view: Mapping[str, Any]) -> dict[str, Any]:
    shown_only = {"password_is_set", "password_updated_at", "password_updated_by"}
    ingest = {name: value for name, value in view["ingest"].items() if name not in shown_only}
    return {"ingest": ingest, **{name: view[name] for name in ("version", "results", "limits", "cleanup")}}


async def _set_slot(house: House, server: ServeProcess, slot: str, **changes: object) -> None:
    view = read(await house.ask(server, "GET", f"/api/slots/{slot}"))
    kept = ("version", "display_name", "provider", "operation", "params", "size_limit_mb", "public_gallery")
    update = {name: view[name] for name in kept} | {"on_failure": "error", "is_active": True}
    update |= {"retry": {"max_attempts": 0, "backoff_ms": 0}} | changes
    wrong = house.canaries.new(f"password of {slot} in a refused document")
    for refused in ({"ingest_password": [wrong]}, {"ingest_password": wrong * 8}, {"version": wrong}):
        assert (await house.ask(server, "PUT", f"/api/slots/{slot}", update | refused)).status == 422
    assert (await house.ask(server, "PUT", f"/api/slots/{slot}", update)).status == 200


async def _send_photos(house: House, server: ServeProcess, password: str) -> None:
    """Show the right password and wrong ones in all three places, and malformed ones."""
    own, wrong = house.canaries.named["slot's password"], house.canaries.new("wrong ingest password")
    for typed, status in ((own, 200), (wrong, 401), (password, 401)):
        as_field = part("password", typed.encode())
        assert await house.send(server, "slot-001", as_field) == status
        assert await house.send(server, "slot-001", query=f"?key={typed}") == status
        assert await house.send(server, "slot-001", headers=[("X-Ingest-Password", typed)]) == status
    for malformed in (wrong.encode() + b"\xff", wrong.encode() * 9, wrong.encode() * 400):
        assert await house.send(server, "slot-001", part("password", malformed)) in {400, 401, 413}
    assert await house.send(server, wrong, query=f"?key={wrong}&key={wrong}") == 404
    assert await house.send(server, "slot-001", query=f"?key={wrong}&key={wrong}") == 400


async def _log_in(
    house: House, server: ServeProcess, username: str, password: str, expected: int = 200
) -> None:
    """Log in, and go on with the new token."""
    answer = await house.witness.ask(
        server, "POST", "/api/login", document={"username": username, "password": password}
    )
    assert answer.status == expected
    if expected == 200:
        house.token = read(answer)["access_token"]


async def _log_in_and_out(house: House, server: ServeProcess) -> None:
    """Type passwords rightly, wrongly, and where the name belongs; show tokens where they do not."""
    password = house.canaries.new("account's password")
    assert await house.run("account", "add", "serg", "--all", typed=password) == 0
    await _log_in(house, server, "serg", password)
    wrong = house.canaries.new("wrong account password")
    as_name = house.canaries.new("password typed as a name")
    await _log_in(house, server, "serg", wrong, expected=401)
    await _log_in(house, server, as_name, as_name, expected=401)
    for document in ({"username": as_name}, {"username": [as_name], "password": wrong}, wrong, [wrong]):
        await house.witness.ask(server, "POST", "/api/login", document=document)
    await house.witness.ask(server, "GET", f"/api/me?access_token={house.token}")
    await house.witness.ask(server, "GET", "/api/me", headers=[("Authorization", f"Token {house.token}")])
    assert (await house.ask(server, "POST", "/api/logout")).status == 204
    assert (await house.ask(server, "GET", "/api/me")).status == 401
    await _log_in(house, server, "serg", password)


async def _misuse_every_endpoint(house: House, server: ServeProcess) -> None:
    """Ask everything with secrets in the wrong places: as strangers, as administrators, and with nonsense."""
    stray = house.canaries.new("secret in the wrong place")
    fields = ("password", "dslr_password", "ingest_password", "config", "job_id", "username", "version")
    document = dict.fromkeys(fields, stray) | {"ingest": {"dslr_password": stray}, "params": {"x": [stray]}}
    bodies = (
        (MULTIPART, form(*(part(name, stray.encode()) for name in fields if name != "version"), PHOTO)),
        (JSON, json.dumps(document).encode()),
        (JSON, f'{{"password": "{stray}'.encode()),
    )
    strays = [("X-Ingest-Password", stray), ("Cookie", f"session={stray}")]
    stranger = [("Authorization", f"Bearer {stray}"), *strays]
    ask = house.witness.ask
    for method, template in _operations():
        for path in (_filled(template, "slot-001"), _filled(template, stray)):
            await ask(server, method, f"{path}?key={stray}", headers=stranger)
            await ask(server, method, f"{path}?limit={stray}&from={stray}", headers=stranger)
            if template == "/api/logout":
                continue
            for kind, body in bodies:
                headers = [kind, *strays, *house.authorized]
                await ask(server, method, path, body=body, headers=headers)
                await ask(server, method, f"{path}?limit={stray}&from={stray}", body=body, headers=headers)


def _operations() -> Iterator[tuple[str, str]]:
    paths = yaml.safe_load(CONTRACT.read_text())["paths"]
    return ((method.upper(), path) for path, operations in paths.items() for method in operations)


def _filled(template: str, value: str) -> str:
    return "/".join(value if step.startswith("{") else step for step in template.split("/"))


async def _lose_the_database(house: House, server: ServeProcess, password: str) -> None:
    """Let every kind of request and the background meet a database that refuses its password."""
    house.role.keep_out()
    paths = ("/api/me", "/api/settings", "/api/audit", "/readyz", "/healthz")
    answers = await asyncio.gather(
        *(house.ask(server, "GET", path) for path in paths),
        house.ask(server, "POST", "/api/login", {"username": "serg", "password": password}),
    )
    assert {answer.status for answer in answers} == {503}
    assert await house.send(server, "slot-001", part("password", password.encode())) in {401, 503}
    house.role.let_in()

    async def is_back() -> bool:
        return (await house.ask(server, "GET", "/readyz")).status == 200

    await eventually(is_back)


async def _run_commands(house: House) -> None:
    """Type passwords into commands, and where commands refuse them."""
    by_command = house.canaries.new("ingest password by command")
    of_slot = house.canaries.new("slot's password by command")
    argument = house.canaries.new("password as an argument")
    hashed = house.canaries.new("hashed password")
    *done, _ = await asyncio.gather(
        house.run("settings", "password", typed=by_command),
        house.run("slots", "set", "slot-004", "--password", typed=of_slot),
        house.run("settings", "set", f"ingest.dslr_password={argument}"),
        _hash(house, hashed),
    )
    assert done == [0, 0, 2]
    assert await house.run("audit", "--json") == 0


async def _hash(house: House, password: str) -> None:
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "photochanger", "hash-password"],
        input=password,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.startswith("$argon2id$")
    house.witness.note("photochanger hash-password", done.stdout + done.stderr)


async def _start_wrongly(house: House) -> None:
    """Have secrets in variables that are wrong themselves, or beside such."""
    weak = house.canaries.new("weak JWT_SIGNING_KEY")
    url = house.variables["DATABASE_URL"]
    wrong: Sequence[Mapping[str, str]] = (
        {"DATABASE_URL": url.replace("@/", "@127.0.0.1:1/").partition("?")[0]},
        {"DATABASE_URL": url.replace("?", "-that-is-not?")},
        {
            "DATABASE_URL": url.replace("postgresql", "mysql"),
            "JWT_SIGNING_KEY": weak,
            "PUBLIC_BASE_URL": weak,
            "TRUSTED_PROXIES": weak,
            "WORKERS": weak,
            "LOG_LEVEL": weak,
        },
        {"GEMINI_BASE_URL": f"http://{weak}@gemini.example", "OTEL_TRACES_EXPORTER": weak},
    )
    starting = [
        house.installation.start_server(variables={**house.variables, **variables}) for variables in wrong
    ]
    for process in starting:
        assert await asyncio.to_thread(process.wait) > 0


async def _read_everything(house: House, server: ServeProcess) -> None:
    """Read what is shown to administrators, what is stored, and what was logged."""
    for path in ("/metrics", "/api/settings", "/api/slots", "/api/audit?limit=200", "/api/jobs?limit=200"):
        assert (await house.ask(server, "GET", path)).status == 200
    audit = read(await house.ask(server, "GET", "/api/audit?limit=200"))
    house.witness.note("who did what", json.dumps(audit))
    for table in _tables(house.role):
        house.witness.note(f"table {table}", "\n".join(_rows(house.role, table)))
    house.witness.note("log of the database", house.role.server_log())
    for process in house.installation.processes:
        house.witness.note(f"log {process.log_path.name}", process.log_path.read_text())
    folder = house.installation.folder
    for file in (file for file in folder.rglob("*") if folder / "secrets" not in file.parents):
        content = file.read_bytes() if file.is_file() else b""
        house.witness.note(f"file {file.suffix}", f"{file.relative_to(folder)}\n{content.decode('latin-1')}")


def _tables(role: Role) -> list[str]:
    cursor = role.connection.execute(
        "SELECT quote_ident(table_name) FROM information_schema.tables WHERE table_schema = 'public'"
    )
    return [str(name) for (name,) in cursor.fetchall()]


def _rows(role: Role, table: str) -> list[str]:
    statement = f"SELECT row_to_json(found)::text FROM {table} AS found"
    return [str(text) for (text,) in role.connection.execute(statement.encode()).fetchall()]


def _look_at_processes(house: House) -> None:
    """Note the command lines of all processes, which everybody on the machine can read."""
    for process in house.installation.processes:
        if process.exit_status is None:
            running = psutil.Process(process.pid)
            for each in (running, *running.children(recursive=True)):
                house.witness.note("command line", "\0".join(each.cmdline()))
            assert set(house.variables.items()) <= set(running.environ().items())


def _expect_that_it_was_looked_at_well(house: House) -> None:
    """What is looked through is all there, and would show a secret: other things of it are found."""
    seen = house.witness.seen
    logs = "".join(text for place, text in seen.items() if " log " in place)
    for logged in ('"level": "debug"', '"level": "warning"', "POST /api/login", "ImageProvider.transform"):
        assert logged in logs
    stored = "".join(text for place, text in seen.items() if " table " in place)
    for expected in ("$argon2id$", "login_failed", "failed_provider"):
        assert expected in stored
    assert {200, 204, 400, 401, 404, 409, 413, 415, 422, 502, 503} <= house.witness.answered.keys()
    assert len(house.canaries.named) > 20
    note = house.installation.folder / "secrets" / "initial-credentials.json"
    assert {*house.canaries.found_in(note.read_text())} == {
        "initial admin password",
        "initial ingest password",
    }
