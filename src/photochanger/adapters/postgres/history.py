"""Lists of jobs in PostgreSQL.

Jobs that are not final are few, and read as a whole. The final ones are walked in the order of an index: of
failed ones where only such are wanted, of tests, of one slot's, else of all. States are part of a statement's
text and no parameters: only then is an index of some jobs known to hold those that are wanted.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta
from typing import Final

import msgspec
from psycopg.sql import SQL, Composable, Literal

from photochanger.adapters.postgres.pool import Pool, fetch_all
from photochanger.adapters.postgres.rows import JOB_COLUMNS, listed
from photochanger.application.ports.administration import JobCursor, JobFilter, JobHistory
from photochanger.domain.job import FINAL_STATES, Job, JobSource, JobState
from photochanger.domain.retention import MAX_RETENTION_HOURS
from photochanger.domain.slot import SLOT_IDS, SlotId

_COLUMNS: Final = listed(JOB_COLUMNS, table="job")
_NEWEST_FIRST: Final = SQL("ORDER BY created_at DESC, job_id DESC LIMIT %(limit)s")
_FINAL: Final = SQL("finalized_at IS NOT NULL")

_CONDITIONS: Final[Mapping[str, SQL]] = {
    "slot_id": SQL("slot_id = %(slot_id)s"),
    "since": SQL("created_at >= %(since)s"),
    "until": SQL("created_at < %(until)s"),
}
_AFTER: Final = SQL("(created_at, job_id) < (%(after_created_at)s, %(after_job_id)s)")

_WITH_RESULTS: Final = (
    SQL("""
    SELECT {columns} FROM job
    WHERE result IS NOT NULL AND slot_id = %(slot_id)s AND result_expires_at > statement_timestamp()
        AND finalized_at > statement_timestamp() - {longest}
    ORDER BY finalized_at DESC, job_id DESC LIMIT %(limit)s""")
    .format(columns=_COLUMNS, longest=Literal(timedelta(hours=MAX_RETENTION_HOURS)))
    .as_bytes()
)
"""No result that ended longer ago than results can live is looked at."""


class PostgresJobHistory(JobHistory):
    """Jobs by their submission, from indexes that hold them in this order."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def page(self, wanted: JobFilter, *, limit: int, after: JobCursor | None = None) -> Sequence[Job]:
        """Return up to `limit` jobs that follow the cursor."""
        if wanted.states is not None and not wanted.states:
            return []
        return await self._jobs(*page_of(wanted, limit=limit, after=after))

    async def latest(
        self, source: JobSource, states: Collection[JobState] | None = None
    ) -> Mapping[SlotId, Job]:
        """Return the newest job of each slot, of those from `source` and in `states`."""
        if states is not None and not states:
            return {}
        return {job.slot_id: job for job in await self._jobs(*latest_of(source, states))}

    async def with_results(self, slot_id: SlotId, *, limit: int) -> Sequence[Job]:
        """Return up to `limit` of the slot's jobs whose result has not expired."""
        return await self._jobs(_WITH_RESULTS, {"slot_id": slot_id, "limit": limit})

    async def _jobs(self, statement: bytes, parameters: Mapping[str, object]) -> Sequence[Job]:
        rows = await fetch_all(self._pool, statement, parameters, repeatable=True, slow=True)
        return [msgspec.convert(row, Job) for row in rows]


def page_of(
    wanted: JobFilter, *, limit: int, after: JobCursor | None = None
) -> tuple[bytes, Mapping[str, object]]:
    """Return the statement that reads a page, and its parameters. States that are given must be some."""
    given: dict[str, object] = {
        name: value for name in _CONDITIONS if (value := getattr(wanted, name)) is not None
    }
    conditions: list[Composable] = [_CONDITIONS[name] for name in given]
    if wanted.source is not None:
        conditions.append(_from(wanted.source))
    if after is not None:
        conditions.append(_AFTER)
        given |= {"after_created_at": after.created_at, "after_job_id": after.job_id}
    return _newest(wanted.states, conditions).as_bytes(), {**given, "limit": limit}


def latest_of(source: JobSource, states: Collection[JobState] | None) -> tuple[bytes, Mapping[str, object]]:
    """Return the statement that reads the newest job of each slot, and its parameters."""
    conditions = [SQL("slot_id = wanted.slot_id"), _from(source)]
    statement = SQL("""
        SELECT newest.* FROM unnest(%(slot_ids)s::text[]) AS wanted (slot_id)
        CROSS JOIN LATERAL ({}) AS newest""").format(_newest(states, conditions))
    return statement.as_bytes(), {"slot_ids": list(SLOT_IDS), "limit": 1}


def _newest(states: Collection[JobState] | None, conditions: Sequence[Composable]) -> Composable:
    """Return the query for the newest jobs: of the unfinished and of the final ones, as far as wanted."""
    wanted = set(JobState) if states is None else set(states)
    branches = []
    for kind, index in ((set(JobState) - FINAL_STATES, []), (FINAL_STATES, [_FINAL])):
        if chosen := wanted & kind:
            narrowed = [] if chosen == FINAL_STATES else [_among(chosen)]
            where = SQL(" AND ").join([*index, *narrowed, *conditions])
            branches.append(SQL("(SELECT {} FROM job WHERE {} {})").format(_COLUMNS, where, _NEWEST_FIRST))
    return SQL("SELECT * FROM ({}) AS found {}").format(SQL(" UNION ALL ").join(branches), _NEWEST_FIRST)


def _from(source: JobSource) -> Composable:
    return SQL("source = {}").format(Literal(source.value))


def _among(states: Collection[JobState]) -> Composable:
    return SQL("state IN ({})").format(SQL(", ").join(Literal(state.value) for state in sorted(states)))
