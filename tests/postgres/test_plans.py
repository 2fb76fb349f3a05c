"""The hot statements walk small partial indexes, however many old rows there are."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from psycopg.sql import SQL, Identifier

from photochanger.adapters.postgres import (
    audit,
    claim_statements,
    history,
    housekeeping,
    ingest_gate,
    job_statements,
    media,
    statistics,
    templates,
    usage,
)
from photochanger.adapters.postgres.audit import entry_parameters
from photochanger.adapters.postgres.pool import connection_options
from photochanger.adapters.postgres.rows import described, stored_images
from photochanger.application.ports import JobFilter
from photochanger.domain.job import FINAL_STATES, JobEvent, JobSource, JobState
from photochanger.domain.media import MediaState
from photochanger.domain.slot import SLOT_IDS
from photochanger.domain.statistics import EPOCH, HOUR, Period
from photochanger.testing.harness import an_entry, an_image

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
    INSERT INTO template (template_id, name, image, preview, created_at, created_by)
    SELECT md5(n::text), 'x', '{}', '{}', now(), 'x' FROM generate_series(1, 5000) AS n;
    INSERT INTO slot_template (slot_id, template_id)
    SELECT slot_id, template_id FROM slot, template;
    INSERT INTO audit_event (action, actor, origin, subject, changes)
    SELECT 'login_failed', NULL, '', '', '{}' FROM generate_series(1, 20000);
    INSERT INTO audit_event (action, actor, origin, subject, changes)
    SELECT 'slot_changed', 'serg', '', 'slot-001', '{}' FROM generate_series(1, 100);
    INSERT INTO audit_event (action, actor, origin, subject, changes)
    SELECT 'login_failed', NULL, '', '', '{}' FROM generate_series(1, 20000);
"""


@pytest.fixture(scope="module")
def connection(new_database: Any) -> Iterator[psycopg.Connection]:
    dsn = new_database()
    with psycopg.connect(dsn, **connection_options(dsn, application_name="plans")) as connection:
        connection.execute(_OLD_ROWS)
        connection.execute("VACUUM ANALYZE job")
        connection.execute("VACUUM ANALYZE media_object")
        for table in ("template", "slot_template", "audit_event"):
            connection.execute(SQL("VACUUM ANALYZE {}").format(Identifier(table)))
        yield connection


@pytest.fixture(scope="module")
def empty(new_database: Any) -> Iterator[psycopg.Connection]:
    dsn = new_database()
    with psycopg.connect(dsn, **connection_options(dsn, application_name="plans")) as connection:
        connection.execute("SET plan_cache_mode = force_generic_plan")
        yield connection


def _plan(connection: psycopg.Connection, statement: bytes, parameters: Mapping[str, object]) -> str:
    rows = connection.execute(b"EXPLAIN " + statement, parameters).fetchall()
    return "\n".join(line for (line,) in rows)


_ENTRY = entry_parameters(an_entry())
_LEASE = timedelta(seconds=10)
_CLAIM = {
    "limit": 4,
    "reach": 4,
    "lease": _LEASE,
    "slots": list(SLOT_IDS),
    "slot_places": [600] * len(SLOT_IDS),
    "providers": ["gemini"],
    "provider_places": [600],
}
_MOVE = {"job_id": "a" * 32, "fence": 1, "provider": "gemini", "places": 5}
_FINALIZE = {
    "job_id": "a" * 32,
    "fence": 1,
    "attempts": 1,
    "failure_reason": None,
    "result": "{}",
    **stored_images([an_image(), an_image()]),
}
_END_RESULTS = {"slot_id": "slot-002", "limit": 9, "is_first": True, **_ENTRY}
_YESTERDAY = datetime.now(UTC) - timedelta(days=1)
_DAY = Period(start=_YESTERDAY, end=_YESTERDAY + timedelta(days=1), bucket=HOUR)
_FAILED = FINAL_STATES - {JobState.COMPLETED}
_STATEMENTS: Sequence[tuple[bytes, Mapping[str, object], str]] = [
    (claim_statements.CLAIM, _CLAIM, "job_pending_by_place"),
    (claim_statements.CLAIM, _CLAIM, "job_processing_by_lease"),
    (claim_statements.CLAIM, _CLAIM, "job_pkey"),
    (claim_statements.MOVE, _MOVE, "job_job_id_key"),
    (claim_statements.MOVE, _MOVE, "job_processing_by_lease"),
    (job_statements.EXPIRE_OVERDUE, {"limit": 100}, "job_unfinished_by_deadline"),
    (media._DOOMED, {"limit": 100, "offer_again_after": _LEASE}, "media_not_deleted_by_offer"),
    (job_statements.GET, {"job_id": "a" * 32}, "job_job_id_key"),
    (job_statements.GET_BY_KEY, {"slot_id": "slot-001", "idempotency_key": "k"}, "job_idempotency_key"),
    (
        job_statements.RENEW,
        {"job_ids": ["a" * 32], "fences": [1], "leases": [_LEASE], "attempts": [1]},
        "job_job_id_key",
    ),
    (job_statements.EXPIRE, {"job_ids": ["a" * 32]}, "job_job_id_key"),
    (job_statements.FINALIZE[JobEvent.SUCCEEDED], _FINALIZE, "job_job_id_key"),
    (media._CONDEMN, {"media_ids": ["a" * 32]}, "media_object_pkey"),
    (job_statements.FINALIZE[JobEvent.PROVIDER_FAILED], _FINALIZE, "job_job_id_key"),
    (media._FETCH, {"media_id": "a" * 32}, "media_object_pkey"),
    (media._PEEK, {"media_id": "a" * 32}, "media_object_pkey"),
    (media._FETCHED, {"media_ids": ["a" * 32]}, "media_object_pkey"),
    (media._OFFER, described(an_image()), "media_object_pkey"),
    # where few files are living, any of the indexes that hold no other is as good
    (media._LIVING, {"after": "result/" + "a" * 32, "limit": 500}, "Scan using media_"),
    (media._FIND, {"media_ids": ["a" * 32]}, "media_object_pkey"),
    (media._CONFIRM, {"media_ids": ["a" * 32]}, "media_object_pkey"),
    (templates._FIND, {"template_ids": ["a" * 32]}, "template_pkey"),
    (
        templates._ADD,
        {
            "template_id": "a" * 32,
            "name": "x",
            "image": "{}",
            "preview": "{}",
            "kinds": ["template", "preview"],
            **stored_images([an_image(), an_image()]),
            **_ENTRY,
        },
        "media_object_pkey",
    ),
    (templates._REMOVE, {"template_id": "a" * 32, **_ENTRY}, "template_pkey"),
    (templates._REMOVE, {"template_id": "a" * 32, **_ENTRY}, "media_object_pkey"),
    (templates._USERS, {"template_id": "a" * 32}, "slot_template_by_template"),
    (job_statements.CANCEL, {"job_id": "a" * 32, **_ENTRY}, "job_job_id_key"),
    (job_statements.CANCEL, {"job_id": "a" * 32, **_ENTRY}, "media_object_pkey"),
    (job_statements.CANCEL_PENDING, {"slot_id": "slot-001", **_ENTRY}, "job_pending_by_place"),
    (job_statements.CANCEL_PENDING, {"slot_id": "slot-001", **_ENTRY}, "media_object_pkey"),
    (job_statements.END_RESULTS, _END_RESULTS, "job_result_by_slot"),
    (job_statements.END_RESULTS, _END_RESULTS, "job_pkey"),
    (job_statements.END_RESULTS, _END_RESULTS, "media_object_pkey"),
    (audit._page([]), {"limit": 50}, "audit_event_pkey"),
    (audit._page(["before"]), {"limit": 50, "before": 1_000}, "audit_event_pkey"),
    (audit._page(["action"]), {"limit": 50, "action": "slot_changed"}, "audit_event_by_action"),
    (audit._page(["actor"]), {"limit": 50, "actor": "serg"}, "audit_event_by_actor"),
    (audit._page(["subject"]), {"limit": 50, "subject": "slot-001"}, "audit_event_by_subject"),
    (usage._TAKE, {"provider": "p", "per_minute": 1, "per_day": None}, "provider_usage_pkey"),
    (*history.page_of(JobFilter(), limit=50), "job_final_by_created"),
    (*history.page_of(JobFilter(states=_FAILED), limit=50), "job_failed_by_created"),
    (*history.page_of(JobFilter(states=_FAILED, slot_id=SLOT_IDS[0]), limit=50), "job_failed_by_slot"),
    (*history.page_of(JobFilter(source=JobSource.TEST), limit=50), "job_test_by_created"),
    (history._WITH_RESULTS, {"slot_id": SLOT_IDS[0], "limit": 10}, "job_result_by_slot"),
    (*statistics.reading(_DAY, EPOCH, by_slot=True), "job_booth_by_finalized"),
    (*statistics.reading(_DAY, _YESTERDAY + 9 * HOUR, by_slot=True), "job_tally_key"),
    (*statistics.reading(_DAY, _YESTERDAY + 9 * HOUR, by_slot=False), "job_booth_by_finalized"),
    (statistics._PRESENT, {}, "media_stored_by_created"),
]


@pytest.mark.parametrize(("statement", "parameters", "index"), _STATEMENTS)
def test_a_hot_statement_walks_an_index(
    connection: psycopg.Connection, statement: bytes, parameters: Mapping[str, object], index: str
) -> None:
    plan = _plan(connection, statement, parameters)
    assert index in plan
    assert "Seq Scan" not in plan


@pytest.mark.parametrize(("statement", "parameters", "index"), _STATEMENTS)
def test_a_plan_made_on_empty_tables_is_good_for_full_ones(
    empty: psycopg.Connection, statement: bytes, parameters: Mapping[str, object], index: str
) -> None:
    """Connections keep such a plan until statistics are gathered, which may be a thousand photos later."""
    empty.execute(statement, parameters, prepare=True)
    prepared = empty.execute(
        "SELECT name, cardinality(parameter_types) FROM pg_prepared_statements ORDER BY prepare_time DESC",
        prepare=False,
    ).fetchone()
    assert prepared is not None
    name, count = prepared
    nothing = SQL("({})").format(SQL(", ").join([SQL("NULL")] * count)) if count else SQL("")
    rows = empty.execute(SQL("EXPLAIN EXECUTE {}{}").format(Identifier(name), nothing)).fetchall()
    plan = "\n".join(line for (line,) in rows)
    assert index in plan
    assert "Seq Scan" not in plan


_ENTER = {
    "media_id": "a" * 32,
    "slot_id": "slot-001",
    "ttl": _LEASE,
    "interval": _LEASE,
    "tolerance": _LEASE,
    "burst": 1,
}


@pytest.mark.parametrize("database", ["connection", "empty"])
@pytest.mark.parametrize(
    ("statement", "parameters", "indexes"),
    [
        (ingest_gate._ENTER_BY_RATE, _ENTER, {"job_unfinished_by_deadline", "media_payload_on_its_way"}),
        (ingest_gate._ENTER, _ENTER, {"job_unfinished_by_deadline", "media_payload_on_its_way"}),
        (ingest_gate._LOOK, {}, {"job_unfinished_by_deadline", "media_payload_on_its_way"}),
        (ingest_gate._LEAVE, {"media_id": "a" * 32, "interval": _LEASE}, {"media_object_pkey"}),
        (ingest_gate._PACES, {}, {"job_booth_by_finalized"}),
    ],
)
def test_the_gate_reads_whole_tables_only_where_they_are_tiny(
    request: pytest.FixtureRequest,
    database: str,
    statement: bytes,
    parameters: Mapping[str, object],
    indexes: set[str],
) -> None:
    plan = _plan(request.getfixturevalue(database), statement, parameters)
    assert {index for index in indexes if index not in plan} == set()
    assert "Seq Scan on job" not in plan
    assert "Seq Scan on media_object" not in plan


@pytest.mark.parametrize("index", ["job_final_by_created", "media_deleted_by_created", "job_pkey"])
def test_forgetting_walks_the_oldest(connection: psycopg.Connection, index: str) -> None:
    plan = _plan(connection, housekeeping._FORGET, {"history": timedelta(days=30), "limit": 100})
    assert index in plan
    assert "Seq Scan on job " not in plan
    assert "Seq Scan on media_object" not in plan


def test_the_queues_indexes_hold_the_queue_only(connection: psycopg.Connection) -> None:
    rows = connection.execute(
        "SELECT relname, relpages FROM pg_class WHERE relname IN ('job_pending_by_place',"
        " 'job_processing_by_lease', 'job_unfinished_by_deadline', 'media_not_deleted_by_offer')"
    ).fetchall()
    assert len(rows) == 4
    assert all(pages <= 12 for _, pages in rows)


def test_the_statement_names_the_states_of_the_domain() -> None:
    assert f"state <> '{MediaState.DELETED.value}'".encode() in media._DOOMED
