"""Fills a database with a million jobs of the last thirty days."""

from typing import Final

import psycopg

from photochanger.adapters.postgres.rows import to_json
from photochanger.domain.job import JobResult
from photochanger.testing.harness import a_configuration, an_image

JOBS: Final = 1_000_000
TESTS: Final = 1_000
DAYS: Final = 30

_INDEXES: Final = """
    SELECT indexrelid::regclass::text, pg_get_indexdef(indexrelid) FROM pg_index
    WHERE indrelid IN ('job'::regclass, 'media_object'::regclass)
        AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = indexrelid)"""

_FILL_JOBS: Final = """
    INSERT INTO job (job_id, slot_id, slot_version, configuration, payload_id, content_hash, created_at,
        deadline, retention, source, state, fence, started_at, finalized_at, attempts, failure_reason, result)
    SELECT md5(n::text), format('slot-%%s', lpad((1 + abs(hashint4(n)) %% 15)::text, 3, '0')), 1,
        %(configuration)s::jsonb, md5('payload' || n), 'x', created_at, created_at + '48 s', '72 h',
        CASE WHEN n %% %(every)s = 0 THEN 'test' ELSE 'booth' END,
        state, 1, created_at, created_at + took, 1,
        CASE state WHEN 'completed' THEN NULL WHEN 'failed_timeout' THEN 'timeout'
            WHEN 'cancelled' THEN 'cancelled' ELSE 'provider_error' END,
        CASE WHEN state = 'completed' THEN %(result)s::jsonb END
    FROM (
        SELECT n, now() - '1 min'::interval - (%(jobs)s - n) * (%(days)s * '1 day'::interval / %(jobs)s)
                AS created_at,
            make_interval(secs => 2 + 38 * power(abs(hashint4(n + 7)) %% 10000 / 10000.0, 2)) AS took,
            CASE WHEN dice < 20 THEN 'failed_timeout' WHEN dice < 35 THEN 'failed_provider'
                WHEN dice < 39 THEN 'failed_internal' WHEN dice < 40 THEN 'cancelled'
                ELSE 'completed' END AS state
        FROM (
            SELECT n, abs(hashint4(n + 99)) %% 1000 AS dice FROM generate_series(1, %(jobs)s) AS n
        ) AS numbered
    ) AS made"""

_FILL_MEDIA: Final = """
    INSERT INTO media_object (media_id, kind, slot_id, state, created_at, expires_at, offer_at, image_type,
        size_bytes, sha256)
    SELECT md5(kind || job_id), kind, slot_id, 'stored', created_at, result_expires_at, result_expires_at,
        'image/jpeg', 1000000 + seq %% 1000000, 'x'
    FROM job CROSS JOIN (VALUES ('result'), ('preview')) AS kinds (kind)
    WHERE result_expires_at > now()"""

_FILL_TOMBSTONES: Final = """
    INSERT INTO media_object (media_id, kind, slot_id, state, created_at, expires_at, offer_at)
    SELECT md5('gone' || n), 'payload', 'slot-001', 'deleted', now() - '4 days'::interval,
        now() - '1 day'::interval, now() - '1 day'::interval
    FROM generate_series(1, %(jobs)s / 2) AS n"""


def fill(dsn: str, *, jobs: int = JOBS, tests: int = TESTS) -> None:
    """Add so many final jobs, spread over the last thirty days and the slots, some of them tests.

    They took 2 to 40 s; four in a hundred failed. Results that have not expired have their two media rows,
    beside half as many rows of deleted files as there are jobs.
    Indexes are made after the rows; statistics are gathered, but nothing is vacuumed.
    """
    parameters = {
        "jobs": jobs,
        "every": jobs // tests,
        "days": DAYS,
        "configuration": to_json(a_configuration()),
        "result": to_json(JobResult(image=an_image(), preview=an_image())),
    }
    with psycopg.connect(dsn, autocommit=True) as connection:
        indexes = connection.execute(_INDEXES).fetchall()
        for name, _ in indexes:
            connection.execute(f"DROP INDEX {name}".encode())
        connection.execute(_FILL_JOBS, parameters)
        connection.execute(_FILL_TOMBSTONES, parameters)
        connection.execute(_FILL_MEDIA, parameters)
        for _, definition in indexes:
            connection.execute(definition.encode())
        connection.execute("ANALYZE")
