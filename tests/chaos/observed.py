"""What is there: in the database and the store at the end, in the logs, and of temporary files on the way."""

import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, LiteralString

import psycopg

from photochanger.domain.errors import PhotoChangerError
from photochanger.entrypoints.container import Container
from tests.chaos.history import Event, History
from tests.crash import store
from tests.system.canaries import Canaries

_JOBS: Final = """
    SELECT job_id, slot_id, slot_version, content_hash, idempotency_key,
        state, failure_reason, fence, attempts,
        extract(epoch FROM created_at)::float8 AS created_at,
        extract(epoch FROM deadline)::float8 AS deadline,
        extract(epoch FROM finalized_at)::float8 AS finalized_at,
        result ->> 'source' AS source, result #>> '{image,file,sha256}' AS result_sha256
    FROM job ORDER BY seq"""

_CANCELS: Final = "SELECT subject FROM audit_event WHERE action = 'job_cancelled'"

_SLOT_CHANGES: Final = (
    "SELECT count(*) AS count FROM audit_event WHERE action = 'slot_changed' AND subject = %(slot_id)s"
)

_TEMPORARY: Final = """
    SELECT kind || ' ' || media_object.media_id AS file,
        extract(epoch FROM clock_timestamp() - media_object.expires_at)::float8 AS overdue_sec
    FROM media_object WHERE state = 'pending'
    UNION ALL
    SELECT 'payload ' || media_id,
        extract(epoch FROM clock_timestamp() - greatest(job.finalized_at, job.deadline))::float8
    FROM media_object JOIN job ON job.payload_id = media_object.media_id
    WHERE media_object.state IN ('stored', 'deleting') AND job.finalized_at IS NOT NULL
    ORDER BY overdue_sec DESC LIMIT 1"""
"""The file that should have gone first: announced and never come, or the photo of a job that is over."""

_UNREACHABLE: Final = (PhotoChangerError, psycopg.Error)


@dataclass(frozen=True, slots=True, kw_only=True)
class JobFact:
    """A job as the database has it at the end. Times are those of the history's events."""

    job_id: str
    slot_id: str
    slot_version: int
    content_hash: str
    idempotency_key: str | None
    state: str
    failure_reason: str | None
    fence: int
    attempts: int
    created_at: float
    deadline: float
    finalized_at: float | None
    source: str | None
    result_sha256: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """All that the checker is told."""

    events: Sequence[Event]
    jobs: Sequence[JobFact] = ()
    statistics: Mapping[str, int] = field(default_factory=dict)
    """How many jobs the statistics have of each state."""
    cancel_entries: Sequence[str] = ()
    """The jobs that the audit log says were cancelled, each as often as it says so."""
    switch_entries: int = 0
    """How often the audit log says that the switched slot was changed."""
    discrepancies: Sequence[str] = ()
    """What a comparison of database and store found, and the files that nobody needs."""
    log_findings: Sequence[str] = ()
    log_lines: int = 0
    end_statuses: Mapping[str, int | None] = field(default_factory=dict)
    """What each process ended with that was asked to end when all was over."""


async def job_facts(container: Container, history: History) -> Sequence[JobFact]:
    """Return every job."""
    rows = await _rows(container, _JOBS)
    return [JobFact(**{**row, **_moments(row, history)}) for row in rows]


def _moments(row: Mapping[str, Any], history: History) -> dict[str, float | None]:
    names = ("created_at", "deadline", "finalized_at")
    return {name: None if row[name] is None else history.moment(row[name]) for name in names}


async def unfinished(container: Container) -> int:
    """Return how many jobs are not final."""
    rows = await _rows(container, "SELECT count(*) AS count FROM job WHERE finalized_at IS NULL")
    return int(rows[0]["count"])


async def cancel_entries(container: Container) -> Sequence[str]:
    """Return what was cancelled, as the audit log has it."""
    return [row["subject"] for row in await _rows(container, _CANCELS)]


async def slot_changes(container: Container, slot_id: str) -> int:
    """Return how often a slot was changed, as the audit log has it."""
    return int((await _rows(container, _SLOT_CHANGES, slot_id=slot_id))[0]["count"])


async def note_temporary_files(container: Container, history: History) -> None:
    """Note for how long the worst temporary file has been overdue; nothing while the database is away."""
    with suppress(*_UNREACHABLE):
        rows = await _rows(container, _TEMPORARY)
        overdue = [(row["overdue_sec"], row["file"]) for row in rows] or [(0.0, "")]
        scratch = container.environment().media_dir / "scratch"
        now = time.time()
        with suppress(OSError):
            overdue += [(now - path.stat().st_mtime, f"in work {path.name}") for path in scratch.iterdir()]
        seconds, file = max(overdue)
        history.tell("watch", "temporary", overdue_sec=round(max(0.0, seconds), 1), file=file)


async def compared(container: Container) -> Sequence[str]:
    """Let time pass for what waits to be deleted, sweep once, and return all that is wrong then."""
    await store.let_time_pass(container)
    swept = await store.sweep_once(container, compare=True)
    found = [
        f"a sweep found {count} {what} files"
        for what, count in (("stray", swept.stray_files), ("lost", swept.lost_files))
        if count
    ]
    found += [f"verify: {each}" for each in await store.discrepancies(container)]
    found += [f"stored, and nobody needs it: {each}" for each in await store.unneeded_files(container)]
    return [*found, *(f"left when all was over: {each}" for each in await store.files_left(container))]


def read_logs(logs: Mapping[str, Path], canaries: Canaries) -> tuple[Sequence[str], int]:
    """Return what the processes have logged that they should not have, and how many lines there were."""
    found: list[str] = []
    count = 0
    for incarnation, path in logs.items():
        text = path.read_text(encoding="utf-8", errors="replace")
        lines = text.splitlines()
        count += len(lines)
        found += [f"{incarnation}: {line[:4_000]}" for line in _errors(lines)]
        found += [f"{incarnation}: its log holds the {name}" for name in canaries.found_in(text)]
    return found, count


_ERRORS: Final = ('"level": "error"', '"level": "critical"', "Traceback (most recent call last)")


def _errors(lines: Collection[str]) -> Sequence[str]:
    return [line for line in lines if any(sign in line for sign in _ERRORS)]


async def _rows(container: Container, statement: LiteralString, **parameters: object) -> list[dict[str, Any]]:
    async with container.pool().connection() as connection:
        cursor = await connection.execute(statement, parameters)
        return await cursor.fetchall()
