"""The command line, as somebody who types it."""

import asyncio
import fcntl
import io
import json
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from photochanger.entrypoints.cli.exit_codes import ExitCode
from photochanger.entrypoints.cli.processes import ServeProcess
from photochanger.testing.marks import metadata_markers
from photochanger.testing.photos import plain_jpeg
from tests.conftest import DatabaseFactory
from tests.system.installation import PASSWORD, Installation, as_url, free_port

pytestmark = pytest.mark.system


def photochanger(
    *arguments: str, folder: Path, variables: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run the command in `folder` and return what it did."""
    inherited = {name: value for name, value in os.environ.items() if name != "DATABASE_URL"}
    return subprocess.run(
        [sys.executable, "-m", "photochanger", *arguments],
        cwd=folder,
        env={**inherited, **(variables or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "guest.jpg"
    path.write_bytes(plain_jpeg())
    return path


@pytest.fixture
def usual_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Have this test alone among those of all workers try the port that the demo takes if it is free."""
    with (tmp_path_factory.getbasetemp().parent / "usual-port.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def test_help_teaches_and_names_every_exit_status(tmp_path: Path) -> None:
    done = photochanger("--help", folder=tmp_path)

    assert done.returncode == 0
    for command in ("serve", "worker", "migrate", "send", "demo", "openapi"):
        assert command in done.stdout
    assert "Exit statuses" in done.stdout


def test_the_version_is_told(tmp_path: Path) -> None:
    assert photochanger("--version", folder=tmp_path).stdout.startswith("photochanger 0.")


@pytest.mark.usefixtures("usual_port")
def test_the_demo_shows_a_picture_and_ends_well(tmp_path: Path) -> None:
    done = photochanger("demo", folder=tmp_path)

    assert done.returncode == 0, done.stdout + done.stderr
    [picture] = (tmp_path / ".data" / "demo").glob("*.jpg")
    for expected in (str(picture.name), "/public/results/", "/public/slots/slot-001", " s  "):
        assert expected in done.stdout
    assert metadata_markers(picture.read_bytes()) == []
    with Image.open(picture) as image:
        assert image.size == (512, 512)
    assert not list((tmp_path / ".data" / "postgres").glob("postmaster.pid")), "the database still runs"


@pytest.mark.usefixtures("usual_port")
def test_the_demo_takes_a_photo_of_your_own(tmp_path: Path, photo: Path) -> None:
    done = photochanger("demo", "--photo", str(photo), "--data-dir", str(tmp_path / "d"), folder=tmp_path)

    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "d" / "demo" / "guest-changed.jpg").exists()


@pytest.mark.usefixtures("usual_port")
def test_a_demo_with_something_else_than_a_photo_says_so(tmp_path: Path) -> None:
    (tmp_path / "letter.jpg").write_text("Dear Sir or Madam")

    done = photochanger("demo", "--photo", "letter.jpg", folder=tmp_path)

    assert done.returncode == ExitCode.REFUSED
    assert "JPEG, PNG and WebP" in done.stderr


def test_the_first_start_prints_what_to_type_into_the_booth(tmp_path: Path, photo: Path) -> None:
    data_dir = tmp_path / "каталог данных"
    note = data_dir / "secrets" / "initial-credentials.json"
    passwords = set()
    for _ in range(2):
        server = ServeProcess(data_dir, free_port(), log_path=tmp_path / "serve.log")
        try:
            server.wait_until_ready()
            passwords.add(json.loads(note.read_text())["ingest_password"])
            [password] = passwords
            done = photochanger(
                *("send", str(photo), "--url", f"{server.base_url}/ingest/slot-003", "--json"),
                folder=tmp_path,
                variables={"PHOTOCHANGER_INGEST_PASSWORD": password},
            )
            assert done.returncode == 0, done.stderr
        finally:
            assert server.stop() == 0
    told = (tmp_path / "serve.log").read_text()
    assert stat.S_IMODE(note.stat().st_mode) == 0o600
    assert "/ingest/slot-001   Timeout 50" in told
    assert str(note) in told
    assert passwords.pop() not in told


@pytest.fixture
def server(installation: Installation) -> ServeProcess:
    asyncio.run(installation.set_up({"effect": "sepia"}, timeout_sec=3))
    return installation.serve()


def send(
    server: ServeProcess, photo: Path, *options: str, password: str = PASSWORD
) -> subprocess.CompletedProcess[str]:
    return photochanger(
        *("send", str(photo), "--url", f"{server.base_url}/ingest/slot-001", *options),
        folder=photo.parent,
        variables={"PHOTOCHANGER_INGEST_PASSWORD": password},
    )


def test_send_saves_the_picture_and_says_where(server: ServeProcess, photo: Path) -> None:
    done = send(server, photo)

    assert done.returncode == 0, done.stderr
    picture = photo.with_name("guest-changed.jpg")
    assert picture.name in done.stdout
    assert "/public/results/" in done.stdout
    Image.open(io.BytesIO(picture.read_bytes())).load()


def test_send_tells_a_script_everything(server: ServeProcess, photo: Path) -> None:
    told = json.loads(send(server, photo, "--json", "-o", "out/picture.jpg").stdout)

    assert told["file"] == "out/picture.jpg"
    assert (photo.parent / "out" / "picture.jpg").stat().st_size == told["size_bytes"]
    assert told["content_type"] == "image/jpeg"
    assert told["result_source"] == "provider"
    assert told["total_ms"] >= told["upload_ms"]


def test_send_with_a_wrong_password_is_refused(server: ServeProcess, photo: Path) -> None:
    done = send(server, photo, password="not-the-one")

    assert done.returncode == ExitCode.REFUSED
    assert "invalid_password" in done.stderr
    assert "not-the-one" not in done.stderr
    assert not photo.with_name("guest-changed.jpg").exists()


def test_send_to_a_slot_that_hangs_ends_with_the_time_out(
    installation: Installation, server: ServeProcess, photo: Path
) -> None:
    asyncio.run(installation.set_up({"outcome": "hang"}, timeout_sec=2))

    assert send(server, photo).returncode == ExitCode.TIMEOUT


def test_send_to_a_slot_whose_provider_fails_says_so(
    installation: Installation, server: ServeProcess, photo: Path
) -> None:
    asyncio.run(installation.set_up({"outcome": "no_image"}))
    done = send(server, photo, "--json")

    assert done.returncode == ExitCode.PROVIDER
    assert json.loads(done.stdout)["code"] == "provider_no_image"


def test_send_where_nobody_listens_is_unavailable(tmp_path: Path, photo: Path) -> None:
    done = photochanger(
        *("send", str(photo), "--url", f"http://127.0.0.1:{free_port()}/ingest/slot-001", "--password", "x"),
        folder=tmp_path,
    )

    assert done.returncode == ExitCode.UNAVAILABLE
    assert "cannot be reached" in done.stderr


def test_a_wrong_configuration_is_reported_all_at_once(tmp_path: Path) -> None:
    done = photochanger("serve", folder=tmp_path, variables={"WORKERS": "none", "PUBLIC_BASE_URL": "x"})

    assert done.returncode == ExitCode.USAGE
    assert "WORKERS" in done.stderr
    assert "PUBLIC_BASE_URL" in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("variable", ["JWT_SIGNING_KEY", "JWT_PREVIOUS_KEYS"])
def test_a_weak_signing_key_ends_the_start(tmp_path: Path, variable: str) -> None:
    weak = "canary-changeme-changeme-changeme-changeme"
    done = photochanger("serve", "--port", "0", folder=tmp_path, variables={variable: weak})

    assert done.returncode == ExitCode.USAGE
    assert variable in done.stderr
    assert "openssl rand" in done.stderr
    assert weak not in done.stdout + done.stderr
    assert not list(tmp_path.iterdir())


def test_accounts_that_others_can_read_end_the_start(tmp_path: Path, new_database: DatabaseFactory) -> None:
    accounts = tmp_path / "accounts.json"
    accounts.write_text('{"accounts": []}')
    accounts.chmod(0o644)
    done = photochanger(
        *("serve", "--port", "0"),
        folder=tmp_path,
        variables={"CREDENTIALS_FILE": str(accounts), "DATABASE_URL": as_url(new_database())},
    )

    assert done.returncode == ExitCode.USAGE
    assert f"CREDENTIALS_FILE: {accounts}: others than its owner may use it: chmod 600" in done.stderr


def test_an_exporter_that_does_not_exist_is_named(tmp_path: Path) -> None:
    done = photochanger(
        "serve", "--port", "0", folder=tmp_path, variables={"OTEL_TRACES_EXPORTER": "carrier-pigeon"}
    )

    assert done.returncode == ExitCode.USAGE
    assert "OTEL_TRACES_EXPORTER" in done.stderr


def test_a_database_that_does_not_answer_is_named_without_its_password(tmp_path: Path) -> None:
    url = f"postgresql://somebody:canary-secret@127.0.0.1:{free_port()}/photochanger"
    done = photochanger("serve", "--port", "0", folder=tmp_path, variables={"DATABASE_URL": url})

    assert done.returncode == ExitCode.UNAVAILABLE
    assert "canary-secret" not in done.stdout + done.stderr


def test_a_database_without_the_schema_is_refused_with_the_way_out(
    tmp_path: Path, new_database: DatabaseFactory
) -> None:
    url = as_url(new_database(migrated=False))

    refused = photochanger("serve", "--port", "0", folder=tmp_path, variables={"DATABASE_URL": url})
    first = photochanger("migrate", folder=tmp_path, variables={"DATABASE_URL": url})
    second = photochanger("migrate", folder=tmp_path, variables={"DATABASE_URL": url})

    assert refused.returncode == ExitCode.UNAVAILABLE
    assert "photochanger migrate" in refused.stderr
    assert (first.returncode, second.returncode) == (0, 0)
    assert "applied 0001" in first.stdout
    assert "up to date" in second.stdout


def test_a_port_that_is_taken_is_named(tmp_path: Path, server: ServeProcess) -> None:
    port = server.base_url.rpartition(":")[2]
    done = photochanger("serve", "--host", "127.0.0.1", "--port", port, folder=tmp_path)

    assert done.returncode == ExitCode.UNAVAILABLE
    assert port in done.stderr


def test_openapi_prints_the_contract(tmp_path: Path) -> None:
    contract = Path(__file__).parents[2] / "contracts" / "openapi.yaml"

    assert photochanger("openapi", folder=tmp_path).stdout == contract.read_text()
