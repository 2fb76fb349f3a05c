"""PostgreSQL stops, freezes, is locked or full, while requests are held: answered in time, and all comes back."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Final

import psycopg
import pytest

from photochanger.adapters.postgres import migrate
from photochanger.domain.job import JobState
from tests.resilience.postgres import PostgresServer, locked, stopped_at_last
from tests.resilience.trouble import Endurance
from tests.system.installation import Installation, as_url, eventually, states

pytestmark = [pytest.mark.anyio, pytest.mark.system, pytest.mark.slow]

TIME_OUT_SEC: Final = 6
LATENESS_SEC: Final = 2.0
"""Much more than is allowed, for a machine that is busy; `python -m tests.resilience database` has figures."""

Trouble = Callable[[PostgresServer, str], AbstractAsyncContextManager[None]]


@asynccontextmanager
async def stopped(server: PostgresServer, _: str) -> AsyncIterator[None]:
    await asyncio.to_thread(server.stop)
    yield
    await asyncio.to_thread(server.start)


@asynccontextmanager
async def frozen(server: PostgresServer, _: str) -> AsyncIterator[None]:
    server.freeze()
    yield
    server.thaw()


@asynccontextmanager
async def jobs_locked(server: PostgresServer, database: str) -> AsyncIterator[None]:
    async with locked(server, database, "job"):
        yield


@asynccontextmanager
async def full(server: PostgresServer, database: str) -> AsyncIterator[None]:
    """Have others take every connection, and ours ended."""
    async with AsyncExitStack() as others:
        with psycopg.connect(server.dsn()) as administrator:
            await _fill(server, others)
            administrator.execute(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = %s", [database]
            )
            await _fill(server, others)
        yield


async def _fill(server: PostgresServer, others: AsyncExitStack) -> None:
    while True:
        try:
            await others.enter_async_context(await psycopg.AsyncConnection.connect(server.dsn()))
        except psycopg.OperationalError:
            return


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    server = PostgresServer(tmp_path_factory.mktemp("postgres"))
    with stopped_at_last(server):
        server.create()
        yield server


@pytest.fixture
def database(server: PostgresServer, request: pytest.FixtureRequest) -> str:
    name = f"photos_{abs(hash(request.node.name))}"
    server.ask(f"CREATE DATABASE {name}")
    migrate(server.dsn(name))
    return name


@pytest.fixture
def installation(tmp_path: Path, server: PostgresServer, database: str) -> Iterator[Installation]:
    installation = Installation(tmp_path / "data", as_url(server.dsn(database)))
    yield installation
    installation.kill_all()


@pytest.mark.parametrize(
    ("trouble", "is_ready"),
    [
        pytest.param(stopped, False, id="stopped"),
        pytest.param(frozen, False, id="frozen"),
        pytest.param(jobs_locked, True, id="locked"),
        pytest.param(full, False, id="full"),
    ],
)
async def test_held_requests_are_answered_at_their_deadline_and_everything_comes_back(
    installation: Installation, server: PostgresServer, database: str, trouble: Trouble, is_ready: bool
) -> None:
    endurance = Endurance(installation, time_out_sec=TIME_OUT_SEC)
    await endurance.set_up()

    seen = await endurance.go_through(trouble(server, database), held=12)

    assert {(each.status, each.code) for each in seen.held} == {(504, "timeout")}
    assert min(seen.late_sec()) >= 0
    assert max(seen.late_sec()) < LATENESS_SEC
    refused = [each for each in seen.during if each.status != 504]
    assert {(each.status, each.code) for each in refused} == {(503, "database_unavailable")}
    assert all(each.has_retry_after for each in refused)
    assert max(each.seconds for each in refused) < 3 + LATENESS_SEC
    assert {each.status for each in seen.live} == {200}
    assert {each.status for each in seen.ready} == {200 if is_ready else 503}

    async def all_final() -> bool:
        return all(job.is_finalized for job in await installation.jobs())

    await eventually(all_final)
    assert states(await installation.jobs()) == {JobState.COMPLETED, JobState.FAILED_TIMEOUT}
