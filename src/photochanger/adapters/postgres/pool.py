"""Connections: how many, how patient, and checked before they are used."""

import asyncio
import os
import select
import socket
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, Final, TypeVar
from weakref import WeakSet

import psycopg
from psycopg import AsyncConnection, errors
from psycopg.abc import PQGen
from psycopg.conninfo import conninfo_to_dict
from psycopg.pq import ExecStatus
from psycopg.rows import DictRow, dict_row
from psycopg_pool import AsyncConnectionPool

from photochanger.adapters.postgres.errors import NO_VIOLATIONS, Violations, translate_errors

_T = TypeVar("_T")

ANSWER_SEC: Final = 2.5
"""How long the server may take for a statement that a booth waits for; a lock may keep it for 2 s of that."""

SLOW_ANSWER_SEC: Final = 6.0
"""The same for statements that may use all the time that the server itself allows them."""

_INTERVAL_SEC: Final = 0.1
"""psycopg's own: how often it looks for interruptions, of which asyncio has none."""

_CANCEL_SEC: Final = 0.05
"""How long a server may take to end a statement that nobody waits for any more."""


class Connection(AsyncConnection[DictRow]):
    """A connection that is given up where the server stays silent: frozen, cut off, or gone without a word.

    A statement then fails with `psycopg.OperationalError`. Whoever is cancelled in the middle of one waits
    for no more than a moment; psycopg would wait ten seconds for the server to agree.
    """

    answer_sec: float = SLOW_ANSWER_SEC
    """How long the server may take for what is sent next, in seconds."""

    has_given_up = False
    _patience: asyncio.TimerHandle | None = None

    async def wait(self, gen: PQGen[_T], interval: float = _INTERVAL_SEC, timeout: float | None = None) -> _T:
        """Do psycopg's waiting, with an end."""
        self._lose_patience_in(self.answer_sec)
        try:
            return await super().wait(gen, interval=interval, timeout=timeout)
        finally:
            if self._patience is not None:
                self._patience.cancel()

    async def cancel_safe(self, *, timeout: float = _CANCEL_SEC) -> None:
        """Ask the server to end the statement; where it does not, it has no connection any more."""
        self._lose_patience_in(_CANCEL_SEC)
        await super().cancel_safe(timeout=min(timeout, _CANCEL_SEC))

    def _lose_patience_in(self, seconds: float) -> None:
        if self._patience is not None:
            self._patience.cancel()
        self._patience = asyncio.get_running_loop().call_later(seconds, self._hang_up)

    def _hang_up(self) -> None:
        """Close our end, so that whoever waits for the server sees the connection end."""
        self.has_given_up = True
        with suppress(psycopg.Error, OSError), socket.socket(fileno=os.dup(self.fileno())) as line:
            line.shutdown(socket.SHUT_RDWR)


class Pool(AsyncConnectionPool[Connection]):
    """A process's connections; it knows its own statements again when all are told of them."""

    def __init__(self, dsn: str, **options: Any) -> None:
        self._made: WeakSet[Connection] = WeakSet()
        super().__init__(dsn, connection_class=Connection, configure=self._remember, **options)

    async def _remember(self, connection: Connection) -> None:
        self._made.add(connection)

    def is_served_by(self, pid: int) -> bool:
        """Say whether the server's process of that number serves one of the connections."""
        return any(each.pgconn.backend_pid == pid for each in self._made if not each.closed)


_SERVER_SETTINGS: Final[Mapping[str, str]] = {
    "timezone": "UTC",
    "random_page_cost": "1.1",  # plans are made early and kept: they have to suit the tables' later size
    "jit": "off",  # compiling a statement takes longer than running any of ours
    "max_parallel_workers_per_gather": "0",  # statistics must not take the cores from photos
    "statement_timeout": "5s",
    "lock_timeout": "2s",
    "idle_in_transaction_session_timeout": "10s",
}

_RECONNECT_EVERY_SEC: Final = 0.4
"""How often a server that is away is tried: it is found so soon when it is back. The pool's own pauses would
begin with a second, and double."""


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
        "tcp_user_timeout": 10_000,  # milliseconds: for what was sent and nobody acknowledges
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

    Connections are in autocommit. Those that the server has closed are not used (see `borrowed`), so that a
    restart goes unnoticed, and a server that is back is found within half a second. Who gets no connection
    within `timeout_sec` is told `DatabaseUnavailable`.
    """
    options = connection_options(dsn, application_name=application_name)
    return Pool(
        dsn,
        kwargs={**options, "row_factory": dict_row},
        min_size=min_size,
        max_size=max_size,
        timeout=timeout_sec,
        reconnect_timeout=_RECONNECT_EVERY_SEC,
        reconnect_failed=_try_on,
        name=application_name,
        open=False,
    )


async def _try_on(pool: Pool) -> None:
    """Try once more to connect, whoever may be waiting for it by now.

    The pool tries twice, `reconnect_timeout` apart, and gives that connection up then. It would try again
    for the next who asks; but who has asked already may have others wait for him.
    """
    stats = pool.get_stats()
    if stats["pool_size"] < pool.min_size or stats["requests_waiting"]:
        await pool.check()


async def _is_there(connection: Connection) -> bool:
    """Say whether the server has not closed the connection.

    A server that ends says so on the socket of an idle connection, so only where something has arrived there
    is a question to the server worth its time; on the others it would double the cost of every statement.
    """
    waiting = select.poll()
    try:
        waiting.register(connection.fileno(), select.POLLIN)
        if waiting.poll(0):
            await AsyncConnectionPool.check_connection(connection)
    except psycopg.Error:
        return False
    return True


@asynccontextmanager
async def borrowed(pool: Pool) -> AsyncIterator[Connection]:
    """Give a connection of the pool that the server has not closed, for the time of the context.

    A closed one is given back, and the next is taken at once: the pool itself would wait for a second then.
    """
    patience_ends = asyncio.get_running_loop().time() + pool.timeout
    while True:
        async with _lent(pool, patience_ends - asyncio.get_running_loop().time()) as connection:
            if await _is_there(connection):
                connection.answer_sec = SLOW_ANSWER_SEC
                yield connection
                return


@asynccontextmanager
async def _lent(pool: Pool, timeout_sec: float) -> AsyncIterator[Connection]:
    """Give any connection of the pool.

    A task that is cancelled while it waits for one is cancelled, also where the connection comes at the same
    moment: the pool would forget the cancellation then (psycopg issue 1345, Python's `wait_for` before 3.12).
    """
    task = asyncio.current_task()
    before = task.cancelling() if task else 0
    connection = await pool.getconn(timeout_sec)
    try:
        if task and task.cancelling() > before:
            raise asyncio.CancelledError
        yield connection
    finally:
        await pool.putconn(connection)


async def fetch_all(
    pool: Pool,
    statement: bytes,
    parameters: Mapping[str, object],
    *,
    repeatable: bool = False,
    slow: bool = False,
    violations: Violations = NO_VIOLATIONS,
) -> Sequence[DictRow]:
    """Run one statement on a connection of its own, and return its rows.

    A `repeatable` statement does no harm when it runs twice; it is sent once more where the server went away
    before it answered. A `slow` one may take longer than a booth should wait. `violations` are those of
    constraints that are no defects.
    """
    answer_sec = SLOW_ANSWER_SEC if slow else ANSWER_SEC
    with translate_errors(violations):
        async with borrowed(pool) as connection:
            try:
                return await _rows(connection, statement, parameters, answer_sec)
            except psycopg.OperationalError:
                if not (repeatable and connection.closed) or connection.has_given_up:
                    raise
        async with borrowed(pool) as connection:
            return await _rows(connection, statement, parameters, answer_sec)


async def fetch_one(
    pool: Pool,
    statement: bytes,
    parameters: Mapping[str, object],
    *,
    repeatable: bool = False,
    slow: bool = False,
    violations: Violations = NO_VIOLATIONS,
) -> DictRow | None:
    """Do the same, and return the first row, if there is one."""
    rows = await fetch_all(
        pool, statement, parameters, repeatable=repeatable, slow=slow, violations=violations
    )
    return rows[0] if rows else None


async def _rows(
    connection: Connection, statement: bytes, parameters: Mapping[str, object], answer_sec: float
) -> Sequence[DictRow]:
    connection.answer_sec = answer_sec
    try:
        cursor = await connection.execute(statement, parameters)
    except errors.ReadOnlySqlTransaction:
        await connection.close()  # to a server that is no primary any more: the next may be to one that is
        raise
    # `cursor.description` says the same, but makes a description of every column first
    has_rows = cursor.pgresult is not None and cursor.pgresult.status == ExecStatus.TUPLES_OK
    return await cursor.fetchall() if has_rows else []
