"""The hot statements walk small partial indexes, however many old rows there are."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import psycopg
import pytest

from photochanger.adapters.postgres import job_statements, media
from photochanger.domain.media import MediaState

_OLD_ROWS = """
    INSERT INTO job (job_id, slot_id, slot_version, configuration, payload_id, content_hash, created_at,
        deadline, retention, source, state, fence, started_at, finalized_at, result)
    SELECT md5(n::text), 'slot-001', 1, '{}', md5(n::text), 'x', now() - '2 days'::interval,
        now() - '1 day'::interval, '72 h', 'booth', 'completed', 1, now() - '2 days'::interval,
        now() - '1 day'::interval, '{}'
    FROM generate_series(1, 50000) AS n;
    INSERT INTO job (job_id, slot_id, slot_version, configuration, payload_id, content_hash, created_at,
        deadline, retention, source)
    SELECT md5('new' || n), 'slot-001', 1, '{}', md5(n::text), 'x', now(), now() + '1 h'::interval, '72 h',
        'booth'
    FROM generate_series(1, 2000) AS n;
    UPDATE job SET state = 'processing', fence = 1, started_at = now(),
        lease_expires_at = now() + '1 h'::interval
    WHERE seq BETWEEN 50001 AND 50500;
    INSERT INTO media_object (media_id, kind, slot_id, state, created_at, expires_at, offer_at)
    SELECT md5(n::text), 'result', 'slot-001', CASE WHEN n % 1000 = 0 THEN 'pending' ELSE 'deleted' END,
        now() - '9 days'::interval, now() - '1 day'::interval, now() - '1 day'::interval
    FROM generate_series(1, 50000) AS n;
"""


@pytest.fixture(scope="module")
def connection(new_database: Any) -> Iterator[psycopg.Connection]:
    with psycopg.connect(new_database(), autocommit=True) as connection:
        connection.execute(_OLD_ROWS)
        connection.execute("VACUUM ANALYZE job")
        connection.execute("VACUUM ANALYZE media_object")
        yield connection


def _plan(connection: psycopg.Connection, statement: bytes, parameters: dict[str, object]) -> str:
    rows = connection.execute(b"EXPLAIN " + statement, parameters).fetchall()
    return "\n".join(line for (line,) in rows)


@pytest.mark.parametrize(
    ("statement", "parameters", "index"),
    [
        (job_statements.CLAIM, {"limit": 4, "lease": timedelta(seconds=10)}, "job_pending_by_seq"),
        (job_statements.CLAIM, {"limit": 4, "lease": timedelta(seconds=10)}, "job_processing_by_lease"),
        (job_statements.IS_ANYTHING_CLAIMABLE, {}, "Scan using job_"),
        (job_statements.IS_ANYTHING_CLAIMABLE, {}, "job_processing_by_lease"),
        (job_statements.EXPIRE_OVERDUE, {"limit": 100}, "job_unfinished_by_deadline"),
        (
            media._DOOMED,
            {"limit": 100, "offer_again_after": timedelta(seconds=30)},
            "media_not_deleted_by_offer",
        ),
        (job_statements.GET, {"job_id": "a" * 32}, "job_job_id_key"),
        (job_statements.GET_BY_KEY, {"slot_id": "slot-001", "idempotency_key": "k"}, "job_idempotency_key"),
        (job_statements.RENEW, {"job_id": "a" * 32, "fence": 1, "lease": timedelta(1)}, "job_job_id_key"),
        (job_statements.EXPIRE, {"job_ids": ["a" * 32]}, "job_job_id_key"),
    ],
)
def test_a_hot_statement_walks_an_index(
    connection: psycopg.Connection, statement: bytes, parameters: dict[str, object], index: str
) -> None:
    plan = _plan(connection, statement, parameters)
    assert index in plan
    assert "Seq Scan on job" not in plan
    assert "Seq Scan on media_object" not in plan


def test_the_queues_indexes_hold_the_queue_only(connection: psycopg.Connection) -> None:
    rows = connection.execute(
        "SELECT relname, relpages FROM pg_class WHERE relname IN ('job_pending_by_seq',"
        " 'job_processing_by_lease', 'job_unfinished_by_deadline', 'media_not_deleted_by_offer')"
    ).fetchall()
    assert len(rows) == 4
    assert all(pages <= 12 for _, pages in rows)


def test_the_statement_names_the_states_of_the_domain() -> None:
    assert f"state <> '{MediaState.DELETED.value}'".encode() in media._DOOMED
