"""Connections: how many, how patient, and checked before they are used."""

import asyncio
import select
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, TypeAlias

import psycopg
from psycopg import AsyncConnection
from psycopg.conninfo import conninfo_to_dict
from psycopg.pq import ExecStatus
from psycopg.rows import DictRow, dict_row
from psycopg_pool import AsyncConnectionPool

from photochanger.adapters.postgres.errors import NO_VIOLATIONS, Violations, translate_errors

Pool: TypeAlias = AsyncConnectionPool[AsyncConnection[DictRow]]

_SERVER_SETTINGS: Final[Mapping[str, str]] = {
    "timezone": "UTC",
    "random_page_cost": "1.1",  # plans are made early and kept: they have to suit the tables' later size
    "jit": "off",  # compiling a statement takes longer than running any of ours
    "max_parallel_workers_per_gather": "0",  # statistics must not take the cores from photos
    "statement_timeout": "5s",
    "lock_timeout": "2s",
    "idle_in_transaction_session_timeout": "10s",
}

_RECONNECT_TIMEOUT_SEC: Final = 2.0
"""Short, because the pool's pauses between two attempts double until then: a server that is back is found
within a second or so, not after half a minute."""


def connection_options(dsn: str, *, application_name: str) -> dict[str, Any]:
    """Return the arguments that every connection of ours is opened with, beside the DSN.

    Time-outs and time zone are set by the server from the first statement on. Options that the DSN brings
    come later in the list, and win.
    """
    ours = " ".join(f"-c {name}={value}" for name, value in _SERVER_SETTINGS.items())
    theirs = conninfo_to_dict(dsn).get("options") or ""
    return {
        "autocommit": True,
        "application_name": application_name,
        "connect_timeout": 2,
        "keepalives_idle": 10,
        "keepalives_interval": 5,
        "keepalives_count": 3,
        "options": f"{ours} {theirs}".strip(),
    }


def create_pool(
    dsn: str,
    *,
    min_size: int = 2,
    max_size: int = 10,
    timeout_sec: float = 2.5,
    application_name: str = "photochanger",
) -> Pool:
    """Return a pool that is not open yet; whoever composes the program opens and closes it.

    Connections are in autocommit and checked before each use, so that a restart of the server goes
    unnoticed. Who gets no connection within `timeout_sec` is told `DatabaseUnavailable`.
    """
    options = connection_options(dsn, application_name=application_name)
    return AsyncConnectionPool(
        dsn,
        connection_class=AsyncConnection[DictRow],
        kwargs={**options, "row_factory": dict_row},
        min_size=min_size,
        max_size=max_size,
        timeout=timeout_sec,
        reconnect_timeout=_RECONNECT_TIMEOUT_SEC,
        check=_check,
        name=application_name,
        open=False,
    )


async def _check(connection: AsyncConnection[DictRow]) -> None:
    """Raise where the server has closed the connection.

    A server that ends says so on the socket of an idle connection, so only where something has arrived there
    is a question to the server worth its time; on the others it would double the cost of every statement.
    """
    waiting = select.poll()
    waiting.register(connection.fileno(), select.POLLIN)
    if waiting.poll(0):
        await AsyncConnectionPool.check_connection(connection)


@asynccontextmanager
async def borrowed(pool: Pool) -> AsyncIterator[AsyncConnection[DictRow]]:
    """Give a connection of the pool, for the time of the context.

    A task that is cancelled while it waits for one is cancelled, also where the connection comes at the same
    moment: the pool would forget the cancellation then (psycopg issue 1345, Python's `wait_for` before 3.12).
    """
    task = asyncio.current_task()
    before = task.cancelling() if task else 0
    async with pool.connection() as connection:
        if task and task.cancelling() > before:
            raise asyncio.CancelledError
        yield connection


async def fetch_all(
    pool: Pool,
    statement: bytes,
    parameters: Mapping[str, object],
    *,
    repeatable: bool = False,
    violations: Violations = NO_VIOLATIONS,
) -> Sequence[DictRow]:
    """Run one statement on a connection of its own, and return its rows.

    A `repeatable` statement does no harm when it runs twice; it is sent once more where the server went away
    before it answered. `violations` are those of constraints that are no defects.
    """
    with translate_errors(violations):
        async with borrowed(pool) as connection:
            try:
                return await _rows(connection, statement, parameters)
            except psycopg.OperationalError:
                if not (repeatable and connection.closed):
                    raise
        async with borrowed(pool) as connection:
            return await _rows(connection, statement, parameters)


async def fetch_one(
    pool: Pool,
    statement: bytes,
    parameters: Mapping[str, object],
    *,
    repeatable: bool = False,
    violations: Violations = NO_VIOLATIONS,
) -> DictRow | None:
    """Do the same, and return the first row, if there is one."""
    rows = await fetch_all(pool, statement, parameters, repeatable=repeatable, violations=violations)
    return rows[0] if rows else None


async def _rows(
    connection: AsyncConnection[DictRow], statement: bytes, parameters: Mapping[str, object]
) -> Sequence[DictRow]:
    cursor = await connection.execute(statement, parameters)
    # `cursor.description` says the same, but makes a description of every column first
    has_rows = cursor.pgresult is not None and cursor.pgresult.status == ExecStatus.TUPLES_OK
    return await cursor.fetchall() if has_rows else []
