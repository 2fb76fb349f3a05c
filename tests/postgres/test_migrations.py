"""The schema: how it comes to be, and what it makes sure of by itself."""

import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

import psycopg
import pytest
from psycopg.rows import dict_row
from psycopg.sql import SQL

from photochanger.adapters.postgres import current_revision, is_current, migrate, migrations
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
_FAILED: dict[str, object] = {"state": "failed_provider", "reason": "provider_error"}
_LEASE = datetime.fromisoformat("2100-01-01T00:00:00Z")


@pytest.mark.parametrize("change", [{}, _FAILED | {"result": '{"source": "original"}'}])
def test_the_end_of_a_result_is_what_the_domain_says(
    connection: psycopg.Connection, change: dict[str, object]
) -> None:
    """Also in a session whose time zone has a change of the clocks within the 72 hours."""
    connection.execute("SET timezone = 'Europe/Berlin'")
    row = connection.execute(_JOB, _COMPLETED | change).fetchone()
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
        ({"result": None}, "job_result_fits_state"),
        ({"result": '{"source": "original"}'}, "job_result_fits_state"),
        (_FAILED | {"result": '{"source": "provider"}'}, "job_result_fits_state"),
        (_FAILED | {"result": "{}"}, "job_result_fits_state"),
        (_FAILED | {"reason": None}, "job_reason_when_failed"),
        ({"reason": "timeout"}, "job_reason_when_failed"),
        ({"state": "failed_timeout", "result": None}, "job_reason_when_failed"),
        ({"state": "failed_timeout", "reason": "timeout"}, "job_result_fits_state"),
        (
            {"state": "cancelled", "reason": "cancelled", "result": '{"source": "original"}'},
            "job_result_fits_state",
        ),
        ({"lease": _LEASE}, "job_lease_while_processing"),
        ({"state": "processing", "result": None, "finalized": None}, "job_lease_while_processing"),
        ({"state": "pending", "finalized": None}, "job_result_fits_state"),
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


def test_a_failure_without_a_stand_in_has_nothing_that_ends(connection: psycopg.Connection) -> None:
    row = connection.execute(_JOB, _COMPLETED | _FAILED | {"result": None}).fetchone()
    assert row is not None
    assert row[1] is None


_MEDIA = """
    INSERT INTO media_object (media_id, kind, slot_id, state, created_at, expires_at, offer_at, fetched_at)
    VALUES (repeat('a', 32), %(kind)s, %(slot_id)s, %(state)s, now(), %(expires_at)s, %(offer_at)s,
        %(fetched_at)s)"""
_PENDING_LINK: dict[str, object] = {
    "kind": "provider_link",
    "slot_id": "slot-001",
    "state": "pending",
    "expires_at": _LEASE,
    "offer_at": _LEASE,
    "fetched_at": None,
}


@pytest.mark.parametrize(
    ("change", "constraint"),
    [
        ({"kind": "letter"}, "media_kind_is_known"),
        ({"expires_at": None}, "media_endless_when_template"),
        ({"kind": "template", "expires_at": None}, "media_endless_when_template"),
        ({"kind": "preview", "expires_at": None}, "media_endless_when_template"),
        ({"kind": "result", "expires_at": None}, "media_endless_when_template"),
        ({"offer_at": None}, "media_offered_unless_endless"),
        ({"kind": "template", "offer_at": None}, "media_offered_unless_endless"),
        ({"kind": "template", "fetched_at": _LEASE}, "media_fetched_when_link"),
        ({"state": "stored"}, "media_described_when_stored"),
    ],
)
def test_the_schema_refuses_files_that_cannot_be(
    connection: psycopg.Connection, change: dict[str, object], constraint: str
) -> None:
    with pytest.raises(psycopg.errors.CheckViolation) as caught:
        connection.execute(_MEDIA, _PENDING_LINK | change)
    assert caught.value.diag.constraint_name == constraint


def test_an_installation_has_one_id_and_keeps_it(new_database: NewDatabase) -> None:
    dsn = new_database()
    with psycopg.connect(dsn, autocommit=True) as connection:
        before = connection.execute("SELECT installation_id FROM installation").fetchall()
        with pytest.raises(psycopg.errors.UniqueViolation):
            connection.execute("INSERT INTO installation DEFAULT VALUES")
        with pytest.raises(psycopg.errors.CheckViolation):
            connection.execute("UPDATE installation SET installation_id = 'mine'")
        migrate(dsn)
        assert connection.execute("SELECT installation_id FROM installation").fetchall() == before
    assert len(before) == 1


_VERSIONS = Path(migrations.__file__).parent / "versions"

_DATA_OF_THE_FIRST_VERSION = """
    CREATE TABLE alembic_version (version_num varchar(32) PRIMARY KEY);
    UPDATE slot SET configuration = '{"call": {"provider": "gemini", "operation": "edit"}}',
        version = 2, updated_at = '2026-01-14T11:00Z', updated_by = 'serg'
    WHERE slot_id = 'slot-001';
    UPDATE setting SET document = '{"results": {"retention_hours": 48}}', version = 7;
    INSERT INTO job (job_id, slot_id, slot_version, configuration, payload_id, content_hash, created_at,
        deadline, retention, source, state, fence, lease_expires_at, started_at, finalized_at, attempts,
        failure_reason, result)
    VALUES
        (repeat('1', 32), 'slot-001', 1, '{}', repeat('b', 32), 'x', '2026-01-14T12:00Z',
         '2026-01-14T12:01Z', '72 h', 'booth', 'completed', 1, NULL, '2026-01-14T12:00Z',
         '2026-01-14T12:00:30Z', 1, NULL, '{"source": "provider"}'),
        (repeat('2', 32), 'slot-001', 1, '{}', repeat('b', 32), 'x', '2026-01-14T12:00Z',
         '2026-01-14T12:01Z', '72 h', 'booth', 'failed_provider', 1, NULL, '2026-01-14T12:00Z',
         '2026-01-14T12:00:30Z', 1, 'provider_error', NULL),
        (repeat('3', 32), 'slot-001', 1, '{}', repeat('b', 32), 'x', '2026-01-14T12:00Z',
         '2026-01-14T12:01Z', '72 h', 'booth', 'failed_timeout', 0, NULL, NULL,
         '2026-01-14T12:01Z', 0, 'timeout', NULL),
        (repeat('4', 32), 'slot-001', 1, '{}', repeat('b', 32), 'x', '2026-01-14T12:00Z',
         '2026-01-14T12:01Z', '72 h', 'booth', 'processing', 1, '2026-01-14T12:01Z', '2026-01-14T12:00Z',
         NULL, 0, NULL, NULL),
        (repeat('5', 32), 'slot-001', 1, '{}', repeat('b', 32), 'x', '2026-01-14T12:00Z',
         '2026-01-14T12:01Z', '72 h', 'booth', 'pending', 0, NULL, NULL, NULL, 0, NULL, NULL);
    INSERT INTO media_object (media_id, kind, slot_id, state, created_at, expires_at, offer_at, image_type,
        size_bytes, sha256)
    VALUES
        (repeat('6', 32), 'result', 'slot-001', 'stored', '2026-01-14T12:00Z', '2026-01-17T12:00:30Z',
         '2026-01-17T12:00:30Z', 'image/png', 3, 'x'),
        (repeat('7', 32), 'payload', 'slot-001', 'pending', '2026-01-14T12:00Z', '2026-01-14T12:01:10Z',
         '2026-01-14T12:01:10Z', NULL, NULL, NULL);
"""

_DATA_OF_THE_SECOND_VERSION = """
    INSERT INTO job (job_id, slot_id, slot_version, configuration, payload_id, content_hash, created_at,
        deadline, retention, source, state, fence, started_at, finalized_at, attempts, failure_reason, result)
    VALUES
        (repeat('8', 32), 'slot-002', 1, '{}', repeat('b', 32), 'x', '2026-01-14T12:00Z',
         '2026-01-14T12:01Z', '72 h', 'test', 'failed_provider', 1, '2026-01-14T12:00Z',
         '2026-01-14T12:00:30Z', 1, 'provider_error', '{"source": "original"}');
    INSERT INTO media_object (media_id, kind, slot_id, state, created_at, expires_at, offer_at, image_type,
        size_bytes, sha256, fetched_at)
    VALUES
        (repeat('9', 32), 'provider_link', 'slot-001', 'deleted', '2026-01-14T12:00Z', '2026-01-14T12:01Z',
         '2026-01-14T12:01Z', 'image/png', 3, 'x', '2026-01-14T12:00:10Z');
    INSERT INTO provider_usage (provider, counted_at, in_minute, on_day)
    VALUES ('gemini', '2026-01-14T12:00Z', 1, 5);
"""


_LATER_VERSIONS = ("0002", "0003", "0004", "0005", "0006", "0007")


@pytest.mark.parametrize("version", ["0001", "0002", "0003"])
def test_what_an_earlier_version_stored_is_kept(new_database: NewDatabase, version: str) -> None:
    dsn = new_database(migrated=False)
    with psycopg.connect(dsn, autocommit=True) as connection:
        for file in sorted(_VERSIONS.glob("*.sql")):
            if file.name[:4] <= version:
                connection.execute(file.read_bytes())
        connection.execute(_DATA_OF_THE_FIRST_VERSION)
        connection.execute("INSERT INTO alembic_version VALUES (%s)", [version])
        if version >= "0002":
            connection.execute(_DATA_OF_THE_SECOND_VERSION)
        before = _contents(connection)
        assert migrate(dsn) == [each for each in _LATER_VERSIONS if each > version]
        after = _contents(connection)
    assert [{name: row[name] for name in old} for row, old in zip(after, before, strict=True)] == before
    if version == "0001":
        assert {row["fetched_at"] for row in after if "media_id" in row} == {None}
    assert [row["result_expires_at"] for row in after if row.get("state") == "completed"] == [
        datetime.fromisoformat("2026-01-17T12:00:30Z")
    ]


def test_jobs_that_wait_are_counted_for_the_provider_of_their_slots_call(new_database: NewDatabase) -> None:
    dsn = new_database(migrated=False)
    with psycopg.connect(dsn, autocommit=True) as connection:
        for file in sorted(_VERSIONS.glob("*.sql")):
            if file.name[:4] <= "0005":
                connection.execute(file.read_bytes())
        connection.execute(_DATA_OF_THE_FIRST_VERSION)
        connection.execute("INSERT INTO alembic_version VALUES ('0005')")
        connection.execute(
            """UPDATE job SET configuration = '{"call": {"provider": "gemini", "operation": "edit"}}'"""
        )
        migrate(dsn)
        rows = connection.execute("SELECT state, provider, waits_for_place FROM job ORDER BY seq").fetchall()
    assert [row for row in rows if row[0] in {"pending", "processing"}] == [
        ("processing", "gemini", False),
        ("pending", "gemini", False),
    ]


def _contents(connection: psycopg.Connection) -> list[dict[str, Any]]:
    cursor = connection.cursor(row_factory=dict_row)
    return [
        row
        for query in (
            SQL("SELECT * FROM job ORDER BY seq"),
            SQL("SELECT * FROM media_object ORDER BY media_id"),
            SQL("SELECT * FROM slot ORDER BY slot_id"),
            SQL("SELECT * FROM setting"),
        )
        for row in cursor.execute(query).fetchall()
    ]
