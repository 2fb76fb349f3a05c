"""The schema: how it comes to be, and what it makes sure of by itself."""

import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Protocol

import psycopg
import pytest

from photochanger.adapters.postgres import current_revision, is_current, migrate
from photochanger.domain.errors import DatabaseUnavailable
from photochanger.domain.slot import SLOT_IDS


class NewDatabase(Protocol):
    def __call__(self, *, migrated: bool = True) -> str: ...


@pytest.fixture
def connection(new_database: NewDatabase) -> Iterator[psycopg.Connection]:
    with psycopg.connect(new_database(), autocommit=True) as connection:
        yield connection


def test_migrating_twice_does_nothing_the_second_time(new_database: NewDatabase) -> None:
    dsn = new_database(migrated=False)
    assert current_revision(dsn) is None
    assert not is_current(dsn)
    applied = migrate(dsn)
    assert applied == sorted(applied) != []
    assert migrate(dsn) == []
    assert current_revision(dsn) == applied[-1]
    assert is_current(dsn)


def test_three_processes_may_migrate_at_once(new_database: NewDatabase) -> None:
    dsn = new_database(migrated=False)
    code = "import sys; from photochanger.adapters.postgres import migrate; print(len(migrate(sys.argv[1])))"
    processes = [
        subprocess.Popen([sys.executable, "-c", code, dsn], stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    counts = [int(process.communicate(timeout=60)[0]) for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0]
    assert sorted(counts)[:2] == [0, 0]
    assert max(counts) > 0
    assert is_current(dsn)


def test_no_server_is_a_database_that_is_not_available() -> None:
    with pytest.raises(DatabaseUnavailable) as caught:
        migrate("host=127.0.0.1 port=1 user=secret_user dbname=x")
    assert "secret_user" not in caught.value.message


def test_the_fifteen_slots_are_made(connection: psycopg.Connection) -> None:
    rows = connection.execute("SELECT slot_id FROM slot ORDER BY slot_id").fetchall()
    assert tuple(slot_id for (slot_id,) in rows) == SLOT_IDS


_JOB = """
    INSERT INTO job (job_id, slot_id, slot_version, configuration, payload_id, content_hash, created_at,
        deadline, retention, source, state, fence, lease_expires_at, started_at, finalized_at,
        failure_reason, result)
    VALUES (repeat('a', 32), 'slot-001', 1, '{}', repeat('b', 32), 'x', now(), now() + '1 min',
        %(retention)s, 'booth', %(state)s, %(fence)s, %(lease)s, now() + %(started)s, now() + %(finalized)s,
        %(reason)s, %(result)s)
    RETURNING finalized_at, result_expires_at"""
_COMPLETED: dict[str, object] = {
    "retention": timedelta(hours=72),
    "state": "completed",
    "fence": 1,
    "lease": None,
    "started": timedelta(seconds=1),
    "finalized": timedelta(seconds=2),
    "reason": None,
    "result": "{}",
}
_LEASE = datetime.fromisoformat("2100-01-01T00:00:00Z")


def test_the_end_of_a_result_is_what_the_domain_says(connection: psycopg.Connection) -> None:
    """Also in a session whose time zone has a change of the clocks within the 72 hours."""
    connection.execute("SET timezone = 'Europe/Berlin'")
    row = connection.execute(_JOB, _COMPLETED).fetchone()
    assert row is not None
    assert row[1] == row[0] + timedelta(hours=72)
    moved = connection.execute(
        "UPDATE job SET created_at = '2026-03-27T11:00Z', started_at = '2026-03-27T11:00Z',"
        " finalized_at = '2026-03-27T12:00Z' RETURNING finalized_at, result_expires_at"
    ).fetchone()
    assert moved is not None
    assert moved[1] == datetime.fromisoformat("2026-03-30T12:00:00Z")


@pytest.mark.parametrize(
    ("change", "constraint"),
    [
        ({"state": "done"}, "job_"),
        ({"finalized": None}, "job_finalized_when_final"),
        ({"result": None}, "job_result_when_completed"),
        ({"reason": "timeout"}, "job_reason_when_failed"),
        ({"state": "failed_timeout", "result": None}, "job_reason_when_failed"),
        ({"state": "failed_timeout", "reason": "timeout"}, "job_result_when_completed"),
        ({"lease": _LEASE}, "job_lease_while_processing"),
        ({"state": "processing", "result": None, "finalized": None}, "job_lease_while_processing"),
        ({"state": "pending", "finalized": None}, "job_result_when_completed"),
        ({"state": "pending", "result": None}, "job_finalized_when_final"),
        ({"finalized": timedelta(0)}, "job_times_in_order"),
        ({"started": timedelta(seconds=-1)}, "job_times_in_order"),
        ({"started": None}, "job_claimed_before_processing"),
        ({"fence": 0}, "job_claimed_before_processing"),
        ({"fence": -1}, "job_"),
    ],
)
def test_the_schema_refuses_what_the_state_machine_cannot_make(
    connection: psycopg.Connection, change: dict[str, object], constraint: str
) -> None:
    with pytest.raises(psycopg.errors.CheckViolation) as caught:
        connection.execute(_JOB, _COMPLETED | change)
    assert (caught.value.diag.constraint_name or "").startswith(constraint)
