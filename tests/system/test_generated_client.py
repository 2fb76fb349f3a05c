"""A client that a public generator makes of the contract, without a word of ours, does an office's work."""

import asyncio
import importlib
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from io import BytesIO
from pathlib import Path
from typing import Any, Final

import pytest
from PIL import Image

from photochanger.testing.photos import plain_jpeg
from tests.system.administrator import as_update, initial_credentials
from tests.system.contract import CONTRACT
from tests.system.installation import Installation
from tests.system.office import Office

pytestmark = [pytest.mark.anyio, pytest.mark.system]

PACKAGE: Final = "generated_client"
CONFIGURATION: Final = """
post_hooks: []
content_type_overrides:  # the generator asks to be told that these are bytes
  image/jpeg: application/octet-stream
  image/png: application/octet-stream
  image/webp: application/octet-stream
"""


class Generated:
    """The generated package: its modules, and clients that are closed at the end."""

    def __init__(self, base_url: str, closing: AsyncExitStack) -> None:
        self._base_url = base_url
        self._closing = closing
        self.models = self.module("models")

    def module(self, name: str) -> Any:
        return importlib.import_module(f"{PACKAGE}.{name}")

    async def client(self, token: str | None = None) -> Any:
        clients = self.module("client")
        made = (
            clients.Client(self._base_url)
            if token is None
            else clients.AuthenticatedClient(self._base_url, token=token)
        )
        return await self._closing.enter_async_context(made)

    async def call(self, name: str, *path: str, client: Any, **arguments: Any) -> Any:
        """Call an operation, as in `slots.put_slot`; return its answer in detail."""
        return await self.module(f"api.{name}").asyncio_detailed(*path, client=client, **arguments)

    def photo(self) -> Any:
        file = self.module("types").File
        return file(payload=BytesIO(plain_jpeg()), file_name="IMG_0001.JPG", mime_type="image/jpeg")


@pytest.fixture
async def generated(
    office: Office, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Generated]:
    """Generate the client; a warning of the generator's is an error in the contract."""
    await asyncio.to_thread(_generate, tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    async with AsyncExitStack() as closing:
        yield Generated(office.server.base_url, closing)
    for name in [name for name in sys.modules if name.partition(".")[0] == PACKAGE]:
        del sys.modules[name]


def _generate(folder: Path) -> None:
    configuration = folder / "generator.yaml"
    configuration.write_text(CONFIGURATION, encoding="utf-8")
    done = subprocess.run(
        [
            *(
                sys.executable,
                "-m",
                "openapi_python_client",
                "generate",
                "--meta",
                "none",
                "--fail-on-warning",
            ),
            *("--path", str(CONTRACT), "--output-path", str(folder / PACKAGE)),
            *("--config", str(configuration)),
        ],
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr


async def test_it_logs_in_edits_a_slot_rotates_the_password_and_sends_a_photo(
    generated: Generated, installation: Installation
) -> None:
    office = await _logged_in(generated, installation)
    await _edit_a_slot(generated, office)
    await _rotate_the_password(generated, office, "rotated-by-a-client")

    booth = await generated.client()
    old = initial_credentials(installation.folder)["ingest_password"]
    refused = await _send(generated, booth, password=old)
    delivered = await _send(generated, booth, password="rotated-by-a-client")

    assert (refused.status_code, refused.parsed.code) == (401, "invalid_password")
    assert delivered.status_code == 200
    saved = installation.folder / "picture.jpg"
    saved.write_bytes(delivered.parsed.payload.read())
    with Image.open(saved) as opened:
        assert opened.format == "JPEG"
    job_id = delivered.headers["x-job-id"]
    again = await generated.call("results.get_result", job_id, client=booth)
    assert again.parsed.payload.read() == saved.read_bytes()
    statistics = (await generated.call("statistics.get_system_statistics", client=office)).parsed
    assert (statistics.last_jobs[0].job_id, statistics.last_jobs[0].slot_id) == (job_id, "slot-004")
    assert statistics.totals.by_status["completed"] == statistics.totals.total == 2


async def _logged_in(generated: Generated, installation: Installation) -> Any:
    known = initial_credentials(installation.folder)
    credentials = generated.models.Credentials(known["admin_username"], known["admin_password"])
    answer = await generated.call("login.post_login", client=await generated.client(), body=credentials)
    assert isinstance(answer.parsed, generated.models.Login)
    assert "slots:write" in answer.parsed.permissions
    return await generated.client(answer.parsed.access_token)


async def _edit_a_slot(generated: Generated, office: Any) -> None:
    models = generated.models
    slots = (await generated.call("slots.list_slots", client=office)).parsed
    assert [slot.slot_id for slot in slots] == [f"slot-{number:03}" for number in range(1, 16)]
    document = as_update(slots[3].to_dict()) | {"display_name": "Хэллоуин", "params": {"effect": "sepia"}}
    body = models.SlotUpdate.from_dict(document)

    stored = (await generated.call("slots.put_slot", "slot-004", client=office, body=body)).parsed
    late = await generated.call("slots.put_slot", "slot-004", client=office, body=body)

    assert isinstance(stored, models.SlotWithResults)
    assert (stored.display_name, stored.version) == ("Хэллоуин", slots[3].version + 1)
    assert isinstance(late.parsed, models.ProblemDetails)
    assert (late.status_code, late.parsed.code) == (409, "version_conflict")


async def _rotate_the_password(generated: Generated, office: Any, password: str) -> None:
    models = generated.models
    settings = (await generated.call("settings.get_settings", client=office)).parsed
    ingest = {name: value for name, value in settings.ingest.to_dict().items() if "password" not in name}
    body = models.SettingsUpdate(
        version=settings.version,
        ingest=models.IngestUpdate.from_dict(ingest | {"dslr_password": password}),
        results=settings.results,
        limits=settings.limits,
        cleanup=settings.cleanup,
    )
    rotated = (await generated.call("settings.put_settings", client=office, body=body)).parsed
    log = (await generated.call("audit.read_audit_log", client=office, limit=1)).parsed
    assert isinstance(rotated, models.SettingsView)
    assert rotated.ingest.password_updated_by == "admin"
    assert log.items[0].action is models.AuditAction.INGEST_PASSWORD_ROTATED


async def _send(generated: Generated, booth: Any, *, password: str) -> Any:
    body = generated.models.IngestBody(file_to_upload=generated.photo(), password=password)
    return await generated.call("ingest.ingest", "slot-004", client=booth, body=body)


async def test_what_goes_wrong_is_typed(office: Office, generated: Generated) -> None:
    models = generated.models
    nobody = await generated.client("nobody's")
    somebody = await generated.client(office.administrator.token)
    slot = (await generated.call("slots.get_slot", "slot-001", client=somebody)).parsed
    wrong = models.SlotUpdate.from_dict(
        as_update(slot.to_dict()) | {"size_limit_mb": 0, "provider": "nobody"}
    )

    refused = await generated.call("login.get_me", client=nobody)
    missing = await generated.call("slots.get_slot", "slot-016", client=somebody)
    invalid = await generated.call("slots.put_slot", "slot-001", client=somebody, body=wrong)

    for answer, code in (
        (refused, "not_authenticated"),
        (missing, "slot_not_found"),
        (invalid, "validation_failed"),
    ):
        assert isinstance(answer.parsed, models.ProblemDetails)
        assert answer.parsed.code == code
    assert {problem.field for problem in invalid.parsed.errors} == {"provider", "size_limit_mb"}
