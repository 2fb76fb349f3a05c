"""The records as a whole in PostgreSQL."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, Final

from psycopg.rows import DictRow
from psycopg.sql import SQL, Composable, Composed, Literal

from photochanger.adapters.postgres.consistency import CHECKS
from photochanger.adapters.postgres.errors import translate_errors
from photochanger.adapters.postgres.media_statements import before
from photochanger.adapters.postgres.pool import Pool, borrowed, fetch_all, fetch_one
from photochanger.adapters.postgres.transitions import LOOKUPS, UNFINISHED
from photochanger.application.ports.housekeeping import Due, Forgotten, Housekeeping, LastSweep
from photochanger.domain.consistency import FILE_OVERDUE_AFTER, JOB_OVERDUE_AFTER, Discrepancy
from photochanger.domain.job import Guard
from photochanger.domain.media import MediaEvent, MediaKind, MediaState

PATIENCE: Final = timedelta(minutes=10)
"""How long a statement may take that looks at everything; nobody but the one who asked waits for it."""

_TAKE_TURN: Final = b"""
    WITH locked AS MATERIALIZED (
        SELECT holder, lease_expires_at FROM sweeper WHERE is_the_one FOR UPDATE
    ), judged AS MATERIALIZED (
        SELECT holder, lease_expires_at, clock_timestamp() AS now FROM locked
    )
    UPDATE sweeper SET holder = %(holder)s, lease_expires_at = judged.now + %(lease)s
    FROM judged
    WHERE judged.holder IS NULL OR judged.holder = %(holder)s OR judged.lease_expires_at <= judged.now
    RETURNING sweeper.holder"""

_END_TURN: Final = b"""
    UPDATE sweeper SET holder = NULL, lease_expires_at = NULL,
        swept_at = CASE WHEN %(swept)s THEN clock_timestamp() ELSE swept_at END,
        compared_at = CASE WHEN %(compared)s THEN clock_timestamp() ELSE compared_at END
    WHERE holder = %(holder)s"""

_LAST_SWEEP: Final = b"""
    SELECT
        CASE WHEN swept_at IS NOT NULL
             THEN greatest(interval '0', clock_timestamp() - swept_at) END AS swept_ago,
        CASE WHEN compared_at IS NOT NULL
             THEN greatest(interval '0', clock_timestamp() - compared_at) END AS compared_ago
    FROM sweeper"""

_OVER: Final[Mapping[str, Composable]] = {
    "jobs": SQL("""
        FROM job WHERE finalized_at IS NOT NULL AND created_at < statement_timestamp() - %(history)s
            AND finalized_at < least(
                statement_timestamp() - %(history)s, (SELECT until FROM job_tally_progress))"""),
    "files": SQL("""
        FROM media_object WHERE {can_be_forgotten} AND created_at < statement_timestamp() - %(history)s
        """).format(can_be_forgotten=before(MediaEvent.FORGOTTEN)),
}
"""What is over, found in the indexes by `created_at`."""

_FORGET: Final = (
    SQL("""
    WITH old_jobs AS MATERIALIZED (
        SELECT seq {jobs} ORDER BY created_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED
    ), old_files AS MATERIALIZED (
        SELECT media_id {files} ORDER BY created_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED
    ), forgotten_jobs AS (
        DELETE FROM job WHERE seq = ANY(ARRAY(SELECT seq FROM old_jobs)) RETURNING seq
    ), forgotten_files AS (
        DELETE FROM media_object WHERE media_id = ANY(ARRAY(SELECT media_id FROM old_files))
        RETURNING media_id
    )
    SELECT (SELECT count(*) FROM forgotten_jobs) AS jobs, (SELECT count(*) FROM forgotten_files) AS files""")
    .format(**_OVER)
    .as_bytes()
)

_DUE_JOBS: Final = SQL("SELECT count(*) AS jobs FROM job WHERE {} AND {}").format(
    UNFINISHED, LOOKUPS[Guard.DEADLINE_REACHED]
)

_DUE_FILES: Final = SQL("""
    SELECT kind, count(*) AS files, coalesce(sum(size_bytes), 0)::bigint AS size_bytes FROM media_object
    WHERE state <> {deleted} AND (offer_at <= statement_timestamp() OR state = {deleting})
    GROUP BY kind ORDER BY kind""").format(
    deleted=Literal(MediaState.DELETED.value), deleting=Literal(MediaState.DELETING.value)
)

_DUE_FORGOTTEN: Final = SQL("""
    SELECT (SELECT count(*) {jobs}) AS jobs, (SELECT count(*) {files}) AS files""").format(**_OVER)


class PostgresHousekeeping(Housekeeping):
    """One row says whose turn it is; the rest is counted."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def take_turn(self, holder: str, *, lease: timedelta) -> bool:
        """Make it `holder`'s turn to sweep, unless it is another's."""
        parameters = {"holder": holder, "lease": lease}
        return await fetch_one(self._pool, _TAKE_TURN, parameters, repeatable=True) is not None

    async def end_turn(self, holder: str, *, swept: bool, compared: bool = False) -> None:
        """Give the turn back, and record what was finished."""
        parameters = {"holder": holder, "swept": swept, "compared": compared}
        await fetch_all(self._pool, _END_TURN, parameters, repeatable=True)

    async def last_sweep(self) -> LastSweep:
        """Return how long ago a round was last finished."""
        row = await fetch_one(self._pool, _LAST_SWEEP, {}, repeatable=True)
        return LastSweep() if row is None else LastSweep(**row)

    async def due(self, *, history: timedelta) -> Due:
        """Count what a sweep would find to do now."""
        [[jobs], files, [forgotten]] = await self._patiently(
            _DUE_JOBS, _DUE_FILES, _DUE_FORGOTTEN, parameters={"history": history}
        )
        return Due(
            jobs=jobs["jobs"],
            files={MediaKind(row["kind"]): row["files"] for row in files},
            size_bytes=sum(row["size_bytes"] for row in files),
            forgotten=Forgotten(**forgotten),
        )

    async def forget(self, *, history: timedelta, limit: int) -> Forgotten:
        """Remove records of what was over `history` ago."""
        row = await fetch_one(self._pool, _FORGET, {"history": history, "limit": limit}, slow=True)
        return Forgotten() if row is None else Forgotten(**row)

    async def discrepancies(self, *, limit: int) -> Sequence[Discrepancy]:
        """Return up to `limit` contradictions of each kind between records."""
        results = await self._patiently(
            *CHECKS.values(),
            parameters={
                "limit": limit,
                "job_overdue_after": JOB_OVERDUE_AFTER,
                "file_overdue_after": FILE_OVERDUE_AFTER,
            },
        )
        return [
            Discrepancy(code=code, subject=row["subject"])
            for code, rows in zip(CHECKS, results, strict=True)
            for row in rows
        ]

    async def _patiently(
        self, *statements: Composed | SQL, parameters: Mapping[str, Any]
    ) -> Sequence[Sequence[DictRow]]:
        """Run statements that look at everything, as of one moment and at their leisure."""
        with translate_errors():
            async with borrowed(self._pool) as connection, connection.transaction():
                await connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
                patience = SQL("SET LOCAL statement_timeout = {}").format(
                    Literal(int(PATIENCE.total_seconds() * 1000))
                )
                await connection.execute(patience)
                cursors = [await connection.execute(statement, parameters) for statement in statements]
                return [await cursor.fetchall() for cursor in cursors]
