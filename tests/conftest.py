"""Fixtures for all tests: above all, one PostgreSQL for a whole run, and a database for each worker."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import LiteralString

import psycopg
import pytest
from psycopg.conninfo import make_conninfo
from psycopg.sql import SQL, Identifier

pytest.register_assert_rewrite("photochanger.testing")

from photochanger.adapters.embedded_postgres import EmbeddedPostgres, EmbeddedPostgresError  # noqa: E402
from photochanger.adapters.object_store.bucket import Bucket  # noqa: E402
from photochanger.adapters.postgres import migrate  # noqa: E402
from tests import nginx  # noqa: E402
from tests.s3_gate import S3Gate  # noqa: E402
from tests.s3_server import S3Server, s3_server_running  # noqa: E402


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Run coroutine tests on asyncio."""
    return "asyncio"


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """Return the DSN of a server on which databases may be made.

    `PHOTOCHANGER_TEST_DSN` names one; else the embedded PostgreSQL runs, one for all workers of the run.
    """
    if dsn := os.environ.get("PHOTOCHANGER_TEST_DSN"):
        yield dsn
        return
    folder = _folder_of_the_run()
    server = EmbeddedPostgres(folder)
    try:
        dsn = server.start()
    except EmbeddedPostgresError as error:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(str(error))
    yield dsn
    if server.stop():
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def nginx_is_there() -> None:
    """Fail in continuous integration, and skip elsewhere, where nginx is missing."""
    if nginx.program() is None:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)("nginx is missing")


@pytest.fixture(scope="session")
def new_database(postgres_server: str) -> Iterator["DatabaseFactory"]:
    """Return a factory of migrated databases; those on a server of somebody else's are dropped at the end."""
    factory = DatabaseFactory(postgres_server)
    yield factory
    if "PHOTOCHANGER_TEST_DSN" in os.environ:
        factory.drop_all()


@pytest.fixture(scope="session")
def worker_database(new_database: "DatabaseFactory") -> str:
    """Return the DSN of this worker's database, which its tests share and clear."""
    return new_database()


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3Server]:
    """Return a local S3 service of this worker's, in which every test makes buckets of its own."""
    with s3_server_running() as server:
        yield server


@pytest.fixture
def bucket(s3_server: S3Server) -> Bucket:
    """An empty bucket, without the gate."""
    return s3_server.new_bucket()


@pytest.fixture
async def gate(s3_server: S3Server) -> AsyncIterator[S3Gate]:
    """A gate that lets everything through, unless a test says otherwise."""
    async with S3Gate(s3_server.port).open() as gate:
        yield gate


class DatabaseFactory:
    """Makes databases, as copies of one that was migrated."""

    def __init__(self, server_dsn: str) -> None:
        self._server_dsn = server_dsn
        self._run = f"photochanger_test_{os.environ.get('PYTEST_XDIST_TESTRUNUID', os.getpid())}"
        self._worker = os.environ.get("PYTEST_XDIST_WORKER", "main")
        self._made: list[str] = []

    def __call__(self, *, migrated: bool = True) -> str:
        """Make a database and return its DSN."""
        name = f"{self._run}_{self._worker}_{len(self._made)}"
        with self._alone() as connection:
            template = self._template(connection) if migrated else "template0"
            _execute(connection, "CREATE DATABASE {} TEMPLATE {}", name, template)
        self._made.append(name)
        return make_conninfo(self._server_dsn, dbname=name)

    def drop_all(self) -> None:
        """Drop what was made. A worker that still needs the template makes it anew."""
        with self._alone() as connection:
            for name in [*self._made, self._template_name]:
                _execute(connection, "DROP DATABASE IF EXISTS {} WITH (FORCE)", name)

    @property
    def _template_name(self) -> str:
        return f"{self._run}_template"

    @contextlib.contextmanager
    def _alone(self) -> Iterator[psycopg.Connection]:
        """Keep the workers of a run from making and copying the template at the same time."""
        with psycopg.connect(self._server_dsn, autocommit=True) as connection:
            connection.execute("SELECT pg_advisory_lock(hashtext(%s))", [self._run])
            yield connection

    def _template(self, connection: psycopg.Connection) -> str:
        with contextlib.suppress(psycopg.errors.DuplicateDatabase):
            _execute(connection, "CREATE DATABASE {}", self._template_name)
            migrate(make_conninfo(self._server_dsn, dbname=self._template_name))
        return self._template_name


def _execute(connection: psycopg.Connection, statement: LiteralString, *names: str) -> None:
    connection.execute(SQL(statement).format(*map(Identifier, names)))


def _folder_of_the_run() -> Path:
    """Return a folder that all workers of one run share; a short one, for sockets live in it."""
    if run := os.environ.get("PYTEST_XDIST_TESTRUNUID"):
        return Path(tempfile.gettempdir()) / f"photochanger-test-{run}"
    return Path(tempfile.mkdtemp(prefix="photochanger-test-"))
