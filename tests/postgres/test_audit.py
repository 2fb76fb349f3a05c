"""The audit log in PostgreSQL is only ever added to, and its order is that of its ids."""

import psycopg
import pytest

from photochanger.adapters.postgres import PostgresAuditLog
from photochanger.adapters.postgres.pool import Pool, fetch_all
from photochanger.application.ports import AuditFilter
from photochanger.domain.audit import AuditAction
from photochanger.domain.errors import InvalidRequest
from photochanger.testing.harness import an_entry

pytestmark = pytest.mark.anyio

_EVERYTHING = AuditFilter()


@pytest.fixture
def audit(pool: Pool) -> PostgresAuditLog:
    return PostgresAuditLog(pool)


@pytest.mark.parametrize(
    "statement",
    [
        b"UPDATE audit_event SET actor = 'somebody else'",
        b"UPDATE audit_event SET at = at WHERE false",
        b"DELETE FROM audit_event",
        b"DELETE FROM audit_event WHERE action = 'slot_changed'",
        b"TRUNCATE audit_event",
        b"TRUNCATE audit_event CASCADE",
        b"INSERT INTO audit_event (event_id, action, origin, subject, changes)"
        b" OVERRIDING SYSTEM VALUE SELECT event_id, 'x', '', '', '{}' FROM audit_event"
        b" ON CONFLICT (event_id) DO UPDATE SET action = 'x'",
    ],
)
async def test_what_was_added_is_not_changed_or_removed(
    audit: PostgresAuditLog, worker_database: str, statement: bytes
) -> None:
    await audit.add(an_entry(action=AuditAction.SLOT_CHANGED, subject="slot-001"))
    before = await audit.page(_EVERYTHING, limit=10)
    with (
        psycopg.connect(worker_database, autocommit=True) as connection,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        connection.execute(statement)
    assert await audit.page(_EVERYTHING, limit=10) == before


async def test_the_order_is_that_of_the_ids_though_the_clock_goes_back(
    audit: PostgresAuditLog, pool: Pool
) -> None:
    for number in range(3):
        await fetch_all(
            pool,
            b"INSERT INTO audit_event (at, action, origin, subject, changes)"
            b" VALUES (now() - %(hours)s * interval '1 hour', 'slot_changed', '', %(subject)s, '{}')",
            {"hours": number, "subject": str(number)},
        )
    events = await audit.page(_EVERYTHING, limit=10)
    assert [event.entry.subject for event in events] == ["2", "1", "0"]
    assert events[0].at < events[1].at < events[2].at


async def test_text_that_cannot_be_stored_adds_nothing(audit: PostgresAuditLog) -> None:
    for text in ("NUL \0", "half a pair \ud800"):
        with pytest.raises(InvalidRequest):
            await audit.add(an_entry(subject=text))
    assert await audit.page(_EVERYTHING, limit=10) == []
