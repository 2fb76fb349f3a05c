"""Database and media store, seen from outside: swept once, compared, and moved in time."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, LiteralString

from photochanger.application.sweep import Swept
from photochanger.entrypoints.container import Container

_PATIENCE_SEC: Final = 1.0
_LOOK_AGAIN_SEC: Final = 0.1

_LET_TURN_PASS: Final = """
    UPDATE sweeper SET lease_expires_at = clock_timestamp() WHERE holder IS NOT NULL"""

_JOBS: Final = """
    SELECT job_id, state, failure_reason, result ->> 'source' AS source,
        finalized_at IS NOT NULL AS is_final, deadline, finalized_at, clock_timestamp() AS now
    FROM job"""

_END_RESULT: Final = """
    WITH ended AS (
        UPDATE job SET retention = clock_timestamp() - finalized_at
        WHERE job_id = %(job_id)s AND result IS NOT NULL AND result_expires_at > clock_timestamp()
        RETURNING result_expires_at AS now,
            ARRAY[result #>> '{image,media_id}', result #>> '{preview,media_id}'] AS media_ids
    )
    UPDATE media_object SET expires_at = ended.now, offer_at = ended.now
    FROM ended WHERE media_id = ANY(ended.media_ids) AND state = 'stored'"""

_OVERDUE: Final = """
    SELECT kind || ' ' || media_id AS file FROM media_object
    WHERE state = 'pending' AND expires_at <= %(swept_at)s"""

_LEFT: Final = """
    SELECT state || ' ' || kind || ' ' || media_id AS file FROM media_object
    WHERE state IN ('pending', 'deleting')"""


_UNNEEDED: Final = """
    SELECT kind || ' ' || media_id AS file FROM media_object
    WHERE state = 'stored' AND kind IN ('payload', 'result', 'template', 'preview')
        AND media_id NOT IN (SELECT payload_id FROM job WHERE finalized_at IS NULL)
        AND media_id NOT IN (
            SELECT unnest(ARRAY[result #>> '{image,media_id}', result #>> '{preview,media_id}']) FROM job
            WHERE result IS NOT NULL)
        AND media_id NOT IN (
            SELECT unnest(ARRAY[image ->> 'media_id', preview ->> 'media_id']) FROM template)"""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRow:
    """A job as the database has it."""

    job_id: str
    state: str
    failure_reason: str | None
    source: str | None
    is_final: bool
    deadline: datetime
    finalized_at: datetime | None
    now: datetime


async def sweep_once(container: Container, *, compare: bool) -> Swept:
    """Do one whole sweep, as soon as it is our turn.

    Whoever was killed in the middle of a sweep keeps the turn for a while, which soon is let pass here.
    """
    patient_until = time.monotonic() + _PATIENCE_SEC
    while (swept := await container.sweep()(compare=compare)) is None or not swept.is_finished:
        if time.monotonic() > patient_until:
            await _do(container, _LET_TURN_PASS)
        await asyncio.sleep(_LOOK_AGAIN_SEC)
    return swept


async def discrepancies(container: Container) -> Sequence[str]:
    """Return what `photochanger verify` would find."""
    return [
        f"{each.code} {each.subject}" async for page in container.verify()() for each in page.discrepancies
    ]


async def job_rows(container: Container) -> Sequence[JobRow]:
    """Return every job."""
    return [JobRow(**row) for row in await _rows(container, _JOBS)]


async def overdue_files(container: Container, swept_at: datetime) -> Sequence[str]:
    """Return the files that were announced, have not come in time, and outlived a sweep at `swept_at`."""
    return [row["file"] for row in await _rows(container, _OVERDUE, swept_at=swept_at)]


async def unneeded_files(container: Container) -> Sequence[str]:
    """Return the stored files that belong to no unfinished job, no result and no template."""
    return [row["file"] for row in await _rows(container, _UNNEEDED)]


async def files_left(container: Container) -> Sequence[str]:
    """Return the files that are on their way in or out, and those in work that have a name."""
    in_work = (container.environment().media_dir / "scratch").iterdir()
    rows = await _rows(container, _LEFT)
    return [*(row["file"] for row in rows), *(f"in work {path.name}" for path in in_work)]


async def now(container: Container) -> datetime:
    """Return the database's time."""
    [row] = await _rows(container, "SELECT clock_timestamp() AS now")
    moment: datetime = row["now"]
    return moment


async def end_result(container: Container, job_id: str) -> None:
    """Let the time to live of a result be over now."""
    await _do(container, _END_RESULT, job_id=job_id)


async def let_time_pass(container: Container) -> None:
    """Let everything that waits for its time to be deleted have waited long enough."""
    await _do(container, "UPDATE media_object SET offer_at = clock_timestamp() WHERE state = 'deleting'")
    await _do(
        container,
        "UPDATE media_object SET expires_at = clock_timestamp(), offer_at = clock_timestamp()"
        " WHERE state = 'pending'",
    )


async def _rows(container: Container, statement: LiteralString, **parameters: object) -> list[dict[str, Any]]:
    async with container.pool().connection() as connection:
        cursor = await connection.execute(statement, parameters)
        return await cursor.fetchall()


async def _do(container: Container, statement: LiteralString, **parameters: object) -> None:
    async with container.pool().connection() as connection:
        await connection.execute(statement, parameters)
