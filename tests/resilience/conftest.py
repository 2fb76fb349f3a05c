"""A PostgreSQL server that may be ill-treated."""

from collections.abc import Iterator

import pytest

from tests.resilience.postgres import PostgresServer, servers
from tests.system.conftest import installation

__all__ = ["installation"]


@pytest.fixture(scope="module")
def postgres() -> Iterator[PostgresServer]:
    """A server for a module's tests; each makes a database of its own, and leaves the server running."""
    with servers() as [server]:
        server.create()
        yield server
