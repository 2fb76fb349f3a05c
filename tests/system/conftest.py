"""A running PhotoChanger for each test that asks for one."""

from collections.abc import AsyncIterator

import pytest

from tests.system.http_server import System, running


@pytest.fixture
def system() -> System:
    return System()


@pytest.fixture
async def port(system: System) -> AsyncIterator[int]:
    async with running(system) as port:
        yield port
