"""A running PhotoChanger for each test that asks for one."""

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from photochanger.adapters.object_store.bucket import Bucket
from photochanger.testing.fake_turbotext import FakeTurbotext
from photochanger.testing.links import Links
from tests.s3_gate import S3Gate
from tests.system.http_server import System, running
from tests.system.installation import Installation, as_url
from tests.system.office import Office, opened_office
from tests.system.terminal import Terminal


@pytest.fixture
def system() -> System:
    return System()


@pytest.fixture
async def port(system: System) -> AsyncIterator[int]:
    async with running(system) as port:
        yield port


@pytest.fixture
def installation(tmp_path: Path, new_database: Callable[[], str]) -> Iterator[Installation]:
    """An installation of real processes on a PostgreSQL database of its own; none outlives the test."""
    installation = Installation(tmp_path / "данные 1", as_url(new_database()))
    yield installation
    installation.kill_all()


@pytest.fixture
def installation_in_a_bucket(
    tmp_path: Path, new_database: Callable[[], str], bucket: Bucket, gate: S3Gate
) -> Iterator[Installation]:
    """Another, whose media are in a bucket behind the gate."""
    installation = Installation(tmp_path / "data", as_url(new_database()), bucket=gate.before(bucket))
    yield installation
    installation.kill_all()


@pytest.fixture
def terminal(installation: Installation, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Terminal:
    """The installation's command line, in a folder without an `.env`."""
    monkeypatch.chdir(tmp_path)
    return Terminal(installation.folder, {"DATABASE_URL": installation.environment.database_url or ""})


@pytest.fixture
async def office(installation: Installation) -> AsyncIterator[Office]:
    """A server on PostgreSQL with all slots switched on, and somebody logged in."""
    async with opened_office(installation) as office:
        yield office


@pytest.fixture
async def links() -> AsyncIterator[Links]:
    """Public links to images, on this machine."""
    async with Links() as links:
        yield links


@pytest.fixture
async def turbotext() -> AsyncIterator[FakeTurbotext]:
    """A fake Turbotext in which all goes well, unless its script says otherwise."""
    async with FakeTurbotext() as turbotext:
        yield turbotext
