"""A whole PhotoChanger whose records' clock stands still until it is set: in memory, and in PostgreSQL.

In PostgreSQL the functions that tell the time are hidden by others of the same names, which tell what is
written in a table. So the statements that are tried are the real ones, to the microsecond.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import psycopg

from photochanger.adapters.memory import ManualClock
from photochanger.application.sweep import Swept
from photochanger.entrypoints.container import Container
from photochanger.entrypoints.http.app import create_app
from photochanger.entrypoints.opening import opened
from photochanger.entrypoints.settings import Environment
from photochanger.testing.harness import an_entry
from tests.system.http_server import PASSWORD, SLOT, System, running, served
from tests.system.installation import as_url

NOON = datetime(2026, 1, 14, 12, 0, 0, 654321, tzinfo=UTC)

_STOP = """
    CREATE SCHEMA stopped;
    CREATE TABLE stopped.clock (at timestamptz NOT NULL);
    INSERT INTO stopped.clock VALUES ('{at}');
    CREATE FUNCTION stopped.clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE
        AS 'SELECT at FROM stopped.clock';
    CREATE FUNCTION stopped.statement_timestamp() RETURNS timestamptz LANGUAGE sql STABLE
        AS 'SELECT at FROM stopped.clock';
    CREATE FUNCTION stopped.now() RETURNS timestamptz LANGUAGE sql STABLE
        AS 'SELECT at FROM stopped.clock';
"""
_LOOK_THERE_FIRST = "&options=-csearch_path%3Dstopped%2Cpg_catalog%2Cpublic"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stopped:
    """A running server, and its records' clock."""

    port: int
    container: Container
    set_clock: Callable[[datetime], Awaitable[None]]

    async def sweep(self) -> Swept:
        """Add up what is over, and do a whole sweep."""
        while await self.container.statistics().roll_up(limit=24 * 40):
            pass
        swept: Swept | None = await self.container.sweep()(compare=True)
        assert swept is not None
        assert swept.is_finished
        return swept


class SettableClock(ManualClock):
    """The event loop's time, on a wall clock that tests may set."""

    def __init__(self) -> None:
        super().__init__(NOON)
        self._real = System().the_clock

    def monotonic(self) -> float:
        return self._real.monotonic()


@asynccontextmanager
async def stopped_in_memory(base_url: str) -> AsyncIterator[Stopped]:
    """Run it in memory, at `NOON`."""
    clock = SettableClock()
    system = System(clock=clock, base_url=base_url)

    async def set_clock(at: datetime) -> None:
        clock.set_now(at)

    async with running(system) as port:
        yield Stopped(port=port, container=system.container, set_clock=set_clock)


@asynccontextmanager
async def stopped_in_postgres(base_url: str, dsn: str, folder: Path) -> AsyncIterator[Stopped]:
    """Run it on this database, at `NOON`, with media in `folder`."""

    async def execute(statement: str) -> None:
        async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
            await connection.execute(statement.encode())

    async def set_clock(at: datetime) -> None:
        await execute(f"UPDATE stopped.clock SET at = '{at.isoformat()}'")

    await execute(_STOP.format(at=NOON.isoformat()))
    url = as_url(dsn) + _LOOK_THERE_FIRST
    environment = Environment(data_dir=folder, database_url=url, public_base_url=base_url, workers=4)
    async with opened(environment) as container:
        await _set_up(container)
        worker = container.worker()
        working = asyncio.create_task(worker.serve())
        try:
            async with served(create_app(container)) as port:
                yield Stopped(port=port, container=container, set_clock=set_clock)
        finally:
            worker.stop()
            await working


async def _set_up(container: Container) -> None:
    slot = await container.slots().get(SLOT)
    configuration = replace(slot.configuration, is_active=True, sync_response_timeout_sec=20)
    await container.slots().save(replace(slot, configuration=configuration), entry=an_entry("test"))
    settings = await container.settings().get()
    ingest = replace(settings.ingest, password_hash=await container.hasher().hash(PASSWORD))
    await container.settings().save(replace(settings, ingest=ingest), entry=an_entry("test"))
