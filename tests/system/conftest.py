"""A running PhotoChanger for each test that asks for one."""

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from tests.system.http_server import System, running
from tests.system.installation import Installation, as_url


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
