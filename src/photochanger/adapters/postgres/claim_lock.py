"""Claims are made one at a time, over all processes on a database."""

import re
from collections.abc import Mapping, Sequence
from typing import Final
from weakref import WeakSet

from psycopg import AsyncClientCursor, AsyncConnection
from psycopg.rows import DictRow, dict_row

from photochanger.adapters.postgres.claim_statements import CLAIM, MOVE
from photochanger.adapters.postgres.errors import translate_errors
from photochanger.adapters.postgres.pool import Pool, borrowed

_KEY: Final = 7_210_016
"""Any number that nothing else locks in this database."""

_ONE_AT_A_TIME: Final = f"SELECT pg_advisory_xact_lock({_KEY});".encode()

_PARAMETER: Final = re.compile(rb"%\((\w+)\)s")
_NAMES: Final = tuple(dict.fromkeys(_PARAMETER.findall(CLAIM)))

_PREPARE_CLAIM: Final = b"PREPARE photochanger_claim AS " + _PARAMETER.sub(
    lambda found: b"$%d" % (_NAMES.index(found[1]) + 1), CLAIM
)

_CLAIM: Final = (
    b"SET LOCAL plan_cache_mode = force_generic_plan;"  # to plan it takes longer than to run it
    + _ONE_AT_A_TIME
    + b"EXECUTE photochanger_claim(%s)" % b", ".join(b"%%(%s)s" % name for name in _NAMES)
)

_MOVE: Final = b"SELECT FROM job WHERE job_id = %(job_id)s FOR UPDATE;" + _ONE_AT_A_TIME + MOVE
"""The job's row is locked first: nobody waits for a row while all others wait for him."""


class ClaimLock:
    """Runs the statements that give places to jobs, each of them alone.

    The lock and the statement go to the server as one message, and are one transaction. Whoever is stopped,
    killed or cut off may not have sent it, or not have read the answer; but at no moment does the server hold
    the lock and wait for more from him. The statement sees what was written before it got the lock: its
    snapshot is taken after that (READ COMMITTED).
    """

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._prepared: WeakSet[AsyncConnection[DictRow]] = WeakSet()

    async def claim(self, parameters: Mapping[str, object]) -> Sequence[DictRow]:
        """Run `CLAIM`."""
        with translate_errors():
            async with borrowed(self._pool) as connection:
                if connection not in self._prepared:
                    await connection.execute(_PREPARE_CLAIM, prepare=False)
                    self._prepared.add(connection)
                return await _last_rows(connection, _CLAIM, parameters)

    async def move(self, parameters: Mapping[str, object]) -> Sequence[DictRow]:
        """Run `MOVE`."""
        with translate_errors():
            async with borrowed(self._pool) as connection:
                return await _last_rows(connection, _MOVE, parameters)


async def _last_rows(
    connection: AsyncConnection[DictRow], statements: bytes, parameters: Mapping[str, object]
) -> Sequence[DictRow]:
    """Run several statements as one message, and return the rows of the last."""
    async with AsyncClientCursor(connection, row_factory=dict_row) as cursor:
        await cursor.execute(statements, parameters)
        while cursor.nextset():
            pass
        return await cursor.fetchall()
