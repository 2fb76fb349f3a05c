"""Claims are made one at a time, over all processes on a database."""

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Final
from weakref import WeakSet

import psycopg
from psycopg import AsyncClientCursor, AsyncConnection, errors
from psycopg.rows import DictRow, dict_row

from photochanger.adapters.postgres.claim_statements import CLAIM, MOVE
from photochanger.adapters.postgres.errors import translate_errors
from photochanger.adapters.postgres.pool import Pool, borrowed

_KEY: Final = 7_210_016
"""Any number that nothing else locks in this database."""

_BEGIN: Final = b"BEGIN;SET LOCAL synchronous_commit = off;SET LOCAL plan_cache_mode = force_generic_plan;"
"""A claim is committed, and so the lock given up, before it is on disk: see `_UNTIL_DURABLE`. And the plan
that is kept is the one to go by; to make one takes longer than to claim."""

_LOCK: Final = f"SELECT pg_advisory_xact_lock({_KEY});".encode()
_COMMIT: Final = b";COMMIT"

_UNTIL_DURABLE: Final = b"SELECT pg_logical_emit_message(true, 'photochanger', '')"
"""A transaction that writes next to nothing, and is committed when it and all before it are on disk."""

_PARAMETER: Final = re.compile(rb"%\((\w+)\)s")
_NAMES: Final = tuple(dict.fromkeys(_PARAMETER.findall(CLAIM)))

_PREPARE_CLAIM: Final = b"PREPARE photochanger_claim AS " + _PARAMETER.sub(
    lambda found: b"$%d" % (_NAMES.index(found[1]) + 1), CLAIM
)
_EXECUTE_CLAIM: Final = b"EXECUTE photochanger_claim(%s)" % b", ".join(b"%%(%s)s" % name for name in _NAMES)

_CLAIM: Final = _BEGIN + _LOCK + _EXECUTE_CLAIM + _COMMIT

_MOVE: Final = _BEGIN + b"SELECT FROM job WHERE job_id = %(job_id)s FOR UPDATE;" + _LOCK + MOVE + _COMMIT
"""The job's row is locked first: nobody waits for a row while all others wait for him."""


_PREPARED: Final[WeakSet[AsyncConnection[DictRow]]] = WeakSet()
"""The connections that know the statement, whichever repository has used them."""


class ClaimLock:
    """Runs the statements that give places to jobs, each of them alone.

    The lock and the statement go to the server as one message. Whoever is stopped, killed or cut off may not
    have sent it, or not have read the answer; but at no moment does the server hold the lock and wait for
    more from him. The statement sees what was written before it got the lock: its snapshot is taken after
    that (READ COMMITTED).

    What was claimed is told when it is durable, and not before: or else a server that crashes would give the
    same fence again. The others do not wait for that: what they add is durable later still.
    """

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def claim(self, parameters: Mapping[str, object]) -> Sequence[DictRow]:
        """Run `CLAIM`."""
        with translate_errors():
            async with borrowed(self._pool) as connection:
                if connection not in _PREPARED:
                    with suppress(errors.DuplicatePreparedStatement):
                        await connection.execute(_PREPARE_CLAIM, prepare=False)
                    _PREPARED.add(connection)
                rows = await _alone(connection, _CLAIM, parameters)
                if rows[0]["job_id"] is not None:
                    await connection.execute(_UNTIL_DURABLE)
                return rows

    async def move(self, parameters: Mapping[str, object]) -> Sequence[DictRow]:
        """Run `MOVE`."""
        with translate_errors():
            async with borrowed(self._pool) as connection:
                rows = await _alone(connection, _MOVE, parameters)
                await connection.execute(_UNTIL_DURABLE)
                return rows


async def _alone(
    connection: AsyncConnection[DictRow], statements: bytes, parameters: Mapping[str, object]
) -> Sequence[DictRow]:
    """Run several statements as one message, and return the rows of the last that has any."""
    async with AsyncClientCursor(connection, row_factory=dict_row) as cursor:
        try:
            await cursor.execute(statements, parameters)
        except BaseException:
            # As it rolls back, psycopg has the server forget all that is prepared, if any of it is its own.
            _PREPARED.discard(connection)
            with suppress(psycopg.Error):  # where the connection is gone, so is the transaction
                await connection.rollback()
            raise
        rows: Sequence[DictRow] = []
        while cursor.nextset():
            if cursor.description is not None:
                rows = await cursor.fetchall()
        return rows
