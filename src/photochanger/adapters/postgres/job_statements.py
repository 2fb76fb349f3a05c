"""The statements behind the job repository, composed once."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Final

from psycopg.sql import SQL, Composable, Identifier, Literal

from photochanger.adapters.postgres.audit import audited
from photochanger.adapters.postgres.media_statements import (
    ALL_ANNOUNCED,
    announced,
    before,
    condemn,
    condemned,
    store_images,
)
from photochanger.adapters.postgres.rows import JOB_COLUMNS, RESULT_COLUMNS, listed
from photochanger.adapters.postgres.signals import notify
from photochanger.adapters.postgres.transitions import (
    LOOKUPS,
    UNFINISHED,
    change,
    locked,
)
from photochanger.application.ports.signals import Topic
from photochanger.domain.job import Guard, JobEvent, JobState
from photochanger.domain.media import MediaEvent
from photochanger.domain.retention import MAX_RETENTION_HOURS

_COLUMNS: Final = listed(JOB_COLUMNS, table="job")
_PENDING: Final = notify(Topic.JOB_PENDING, SQL("''"))
_FINALIZED: Final = notify(Topic.JOB_FINALIZED, SQL("changed.job_id"))
_THE_JOB: Final = SQL("job_id = %(job_id)s FOR UPDATE")

_CONDEMN_PAYLOAD: Final = SQL("""
    condemned AS (
        UPDATE media_object SET {condemned} FROM changed
        WHERE media_id = changed.payload_id AND {can_be_condemned}
    )""").format(condemned=condemned(now=SQL("changed.now")), can_be_condemned=before(MediaEvent.CONDEMNED))

SUBMIT: Final = (
    SQL("""
    WITH {announced}, moment AS MATERIALIZED (
        SELECT media_id, announced_at, clock_timestamp() AS now FROM announced
    ), changed AS (
        INSERT INTO job (
            job_id, slot_id, slot_version, configuration, payload_id, content_hash,
            created_at, deadline, retention, source, idempotency_key, trace_context, answers_again, provider)
        SELECT
            %(job_id)s, %(slot_id)s, %(slot_version)s, %(configuration)s::jsonb, media_id, %(content_hash)s,
            now, announced_at + %(time_left)s, %(retention)s,
            %(source)s, %(idempotency_key)s, %(trace_context)s, %(deduplicate)s, %(provider)s
        FROM moment
        ON CONFLICT DO NOTHING
        RETURNING {columns}, created_at AS now
    ), {store_payload}
    SELECT changed.*, {notify} FROM changed""")
    .format(
        announced=announced(),
        columns=_COLUMNS,
        store_payload=store_images(owner=SQL("changed"), until=SQL("changed.deadline + changed.retention")),
        notify=_PENDING,
    )
    .as_bytes()
)

GET: Final = (
    SQL("SELECT {columns}, clock_timestamp() AS now FROM job WHERE job_id = %(job_id)s")
    .format(columns=_COLUMNS)
    .as_bytes()
)

GET_RESULT: Final = (
    SQL("""
    SELECT json_build_object({pairs}, 'now', clock_timestamp())::text AS reading
    FROM job WHERE job_id = %(job_id)s""")
    .format(
        pairs=SQL(", ").join(
            SQL("{}, {}").format(Literal(column), Identifier("job", column)) for column in RESULT_COLUMNS
        )
    )
    .as_bytes()
)
"""Results are read more often than anything else: one document costs half of what the job's columns do."""

GET_MANY: Final = (
    SQL("SELECT {columns}, clock_timestamp() AS now FROM job WHERE job_id = ANY(%(job_ids)s)")
    .format(columns=_COLUMNS)
    .as_bytes()
)

GET_BY_KEY: Final = (
    SQL("""
    SELECT {columns}, clock_timestamp() AS now FROM job
    WHERE slot_id = %(slot_id)s AND idempotency_key = %(idempotency_key)s""")
    .format(columns=_COLUMNS)
    .as_bytes()
)

GET_TWIN: Final = (
    SQL("""
    SELECT {columns}, clock_timestamp() AS now FROM job
    WHERE slot_id = %(slot_id)s AND slot_version = %(slot_version)s AND content_hash = %(content_hash)s
        AND answers_again""")
    .format(columns=_COLUMNS)
    .as_bytes()
)

STEP_ASIDE: Final = b"UPDATE job SET answers_again = false, idempotency_key = NULL WHERE job_id = %(job_id)s"

_ASKED: Final = SQL("""
    unnest(%(job_ids)s::text[], %(fences)s::integer[], %(leases)s::interval[], %(attempts)s::integer[])
    AS asked (job_id, fence, lease, attempts)""")

RENEW: Final = (
    SQL("WITH {}, {} SELECT job_id, fence FROM changed")
    .format(
        locked(JobEvent.RENEWED, which=SQL("job_id = ANY(%(job_ids)s) ORDER BY seq FOR UPDATE")),
        change(
            JobEvent.RENEWED,
            is_his=SQL("(job_id, fence) IN (SELECT asked.job_id, asked.fence FROM {})").format(_ASKED),
            effects=SQL("""(lease_expires_at, attempts) = (
                SELECT allowed.now + max(asked.lease), greatest(job.attempts, max(asked.attempts)) FROM {}
                WHERE asked.job_id = job.job_id AND asked.fence = job.fence
            )""").format(_ASKED),
            returning=SQL("job.job_id, job.fence"),
        ),
    )
    .as_bytes()
)
"""Of one job two may be sure that it is theirs, and ask together; the fence says who is right."""

RELEASE: Final = (
    SQL("WITH {}, {} SELECT seq, {}, {} FROM changed")
    .format(
        locked(JobEvent.RELEASED, which=_THE_JOB),
        change(JobEvent.RELEASED, returning=SQL("job.seq")),
        SQL("{} AS pending").format(_PENDING),
        SQL("{} AS freed").format(notify(Topic.PLACE_FREED, SQL("''"))),
    )
    .as_bytes()
)


def _finalize(event: JobEvent) -> bytes:
    return (
        SQL("""
        WITH {announced}, {locked}, {change}, {store_result}, {condemn}
        SELECT EXISTS (SELECT FROM allowed) AS was_allowed, told.*
        FROM (SELECT) AS always LEFT JOIN (SELECT changed.*, {notify} FROM changed) AS told ON true""")
        .format(
            announced=announced(),
            locked=locked(event, which=_THE_JOB),
            change=change(
                event,
                returning=SQL("{}, job.result_expires_at").format(_COLUMNS),
                only_if=ALL_ANNOUNCED,
            ),
            store_result=store_images(owner=SQL("changed"), until=SQL("changed.result_expires_at")),
            condemn=_CONDEMN_PAYLOAD,
            notify=_FINALIZED,
        )
        .as_bytes()
    )


FINALIZE: Final[Mapping[JobEvent, bytes]] = {
    event: _finalize(event)
    for event in (JobEvent.SUCCEEDED, JobEvent.PROVIDER_FAILED, JobEvent.INTERNALLY_FAILED)
}


def _expire(which: Composable) -> bytes:
    return (
        SQL("WITH {locked}, {change}, {condemn} SELECT changed.*, {notify} FROM changed")
        .format(
            locked=locked(JobEvent.DEADLINE_PASSED, which=which),
            change=change(JobEvent.DEADLINE_PASSED, returning=_COLUMNS),
            condemn=_CONDEMN_PAYLOAD,
            notify=_FINALIZED,
        )
        .as_bytes()
    )


EXPIRE: Final = _expire(SQL("job_id = ANY(%(job_ids)s) ORDER BY seq FOR UPDATE"))

EXPIRE_OVERDUE: Final = _expire(
    SQL("{} AND {} ORDER BY deadline LIMIT %(limit)s FOR UPDATE SKIP LOCKED").format(
        UNFINISHED, LOOKUPS[Guard.DEADLINE_REACHED]
    )
)


def _cancel(which: Composable) -> bytes:
    return (
        SQL("WITH {locked}, {change}, {condemn}, {audited} SELECT changed.*, {notify} FROM changed")
        .format(
            locked=locked(JobEvent.CANCEL_REQUESTED, which=which),
            change=change(JobEvent.CANCEL_REQUESTED, returning=_COLUMNS),
            condemn=_CONDEMN_PAYLOAD,
            audited=audited(SQL("changed"), subject=SQL("changed.job_id")),
            notify=_FINALIZED,
        )
        .as_bytes()
    )


CANCEL: Final = _cancel(_THE_JOB)

CANCEL_PENDING: Final = _cancel(
    SQL("state = {} AND slot_id = %(slot_id)s ORDER BY seq FOR UPDATE").format(
        Literal(JobState.PENDING.value)
    )
)

END_RESULTS: Final = (
    SQL("""
    WITH locked AS MATERIALIZED (
        SELECT seq FROM job
        WHERE slot_id = %(slot_id)s AND result IS NOT NULL AND result_expires_at > statement_timestamp()
            AND finalized_at > statement_timestamp() - {longest}
        ORDER BY finalized_at, job_id LIMIT %(limit)s FOR UPDATE
    ), moment AS MATERIALIZED (
        SELECT clock_timestamp() AS now, count(*) AS jobs FROM locked
    ), ended AS (
        UPDATE job SET retention = moment.now - job.finalized_at, answers_again = false
        FROM moment
        WHERE job.seq = ANY(ARRAY(SELECT seq FROM locked)) AND moment.now < job.result_expires_at
        RETURNING job.result -> 'image' AS image, job.result -> 'preview' AS preview
    ), picture AS MATERIALIZED (
        SELECT image ->> 'media_id' AS media_id, (image #>> '{{file,size_bytes}}')::bigint AS size_bytes
        FROM (SELECT unnest(ARRAY[image, preview]) AS image FROM ended) AS images
    ), {condemn}, {audited}
    SELECT
        (SELECT count(*) FROM ended) AS results,
        (SELECT coalesce(sum(size_bytes), 0)::bigint FROM picture) AS size_bytes,
        (SELECT jobs FROM moment) AS looked_at""")
    .format(
        longest=Literal(timedelta(hours=MAX_RETENTION_HOURS)),
        condemn=condemn(SQL("SELECT media_id FROM picture")),
        audited=audited(SQL("(SELECT WHERE %(is_first)s) AS once")),
    )
    .as_bytes()
)
"""Ends some of the results, the oldest; the entry is written with the first of them. No result that ended
longer ago than results can live is looked at. The clock is read when all jobs are locked; and jobs are picked
by their numbers, because a join with them may read the whole table."""
