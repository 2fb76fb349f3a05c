"""The gate for photos in PostgreSQL: one row is the state of the rate, the jobs themselves the traffic."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Final

import msgspec
from psycopg.rows import DictRow
from psycopg.sql import SQL, Literal

from photochanger.adapters.postgres.media_statements import before, condemn
from photochanger.adapters.postgres.pool import Pool, fetch_all, fetch_one
from photochanger.adapters.postgres.transitions import UNFINISHED
from photochanger.application.ports.admission import (
    PACE_JOBS,
    PACES_LOOK_AT_JOBS,
    SLOW_SHARE,
    IngestGate,
    Passage,
)
from photochanger.domain.errors import InternalError
from photochanger.domain.job import JobSource, JobState
from photochanger.domain.media import MediaEvent, MediaId, MediaKind, MediaState
from photochanger.domain.rate import Rate
from photochanger.domain.slot import SlotId
from photochanger.domain.waiting import Pace, SlotTraffic, Traffic

_PAYLOAD: Final = Literal(MediaKind.PAYLOAD.value)

_TRAFFIC: Final = SQL("""
    coming AS MATERIALIZED (
        SELECT slot_id, count(*) AS photos FROM media_object
        WHERE kind = {payload} AND state = {announced} AND expires_at > statement_timestamp()
            AND slot_id IS NOT NULL
        GROUP BY slot_id
    ), unfinished AS MATERIALIZED (
        SELECT slot_id,
            count(*) FILTER (WHERE state = {pending}) AS waiting,
            count(*) FILTER (WHERE state = {processing}) AS in_service,
            coalesce(sum(extract(epoch FROM statement_timestamp() - started_at))
                FILTER (WHERE state = {processing}), 0)::float8 AS in_service_sec
        FROM job WHERE {is_unfinished} AND deadline > statement_timestamp()
        GROUP BY slot_id
    ), traffic AS MATERIALIZED (
        SELECT
            coalesce(json_object_agg(slot_id, json_build_object(
                'on_the_way', coalesce(photos, 0), 'waiting', coalesce(waiting, 0),
                'in_service', coalesce(in_service, 0), 'in_service_sec', coalesce(in_service_sec, 0)
            )), '{{}}')::text AS slots,
            (SELECT sum(places) FROM worker_process WHERE places > 0 AND expires_at > statement_timestamp())
            AS places
        FROM coming FULL JOIN unfinished USING (slot_id)
    )""").format(
    payload=_PAYLOAD,
    announced=Literal(MediaState.PENDING.value),
    pending=Literal(JobState.PENDING.value),
    processing=Literal(JobState.PROCESSING.value),
    is_unfinished=UNFINISHED,
)
"""Both tables are entered at the present, by the end of what is pending: what is over, and has not been
vacuumed yet, is not walked."""

_ANNOUNCE: Final = SQL("""
    announced AS (
        INSERT INTO media_object (media_id, kind, slot_id, created_at, expires_at, offer_at)
        SELECT %(media_id)s, {payload}, %(slot_id)s, now, now + %(ttl)s, now + %(ttl)s
        FROM admitted
        ON CONFLICT (media_id) DO UPDATE SET slot_id = excluded.slot_id
        WHERE media_object.slot_id IS NULL AND media_object.kind = {payload} AND {can_be_stored}
        RETURNING media_id
    )""").format(payload=_PAYLOAD, can_be_stored=before(MediaEvent.STORED))

_PASSED: Final = SQL("""
    SELECT slots, places,
        EXISTS (SELECT FROM admitted) AS is_admitted, EXISTS (SELECT FROM announced) AS is_announced,
        {wait_sec} AS wait_sec
    FROM traffic""")

_ENTER_BY_RATE: Final = (
    SQL("""
    WITH locked AS MATERIALIZED (
        SELECT tat FROM ingest_rate FOR UPDATE
    ), moment AS MATERIALIZED (
        SELECT tat, clock_timestamp() AS now FROM locked
    ), judged AS MATERIALIZED (
        SELECT now, least(tat, now + %(interval)s::interval * %(burst)s::integer) AS tat, tat AS stored_tat
        FROM moment
    ), shortened AS (
        UPDATE ingest_rate SET tat = judged.tat
        FROM judged WHERE judged.tat < stored_tat AND judged.tat - %(tolerance)s::interval > judged.now
    ), admitted AS (
        UPDATE ingest_rate SET tat = greatest(judged.tat, judged.now) + %(interval)s::interval
        FROM judged WHERE judged.tat - %(tolerance)s::interval <= judged.now
        RETURNING ingest_rate.tat, judged.now
    ), {announce}, {traffic} {passed}""")
    .format(
        announce=_ANNOUNCE,
        traffic=_TRAFFIC,
        passed=_PASSED.format(
            wait_sec=SQL("""(
                SELECT extract(epoch FROM
                    coalesce(admitted.tat, judged.tat) - %(tolerance)s::interval - judged.now)::float8
                FROM judged LEFT JOIN admitted ON true)""")
        ),
    )
    .as_bytes()
)
"""`Rate.arrive`. Locks the one row, and only then reads the clock: whoever had to wait is judged by what
those before have taken, and by the time that it then is."""

_ENTER: Final = (
    SQL("WITH admitted AS MATERIALIZED (SELECT clock_timestamp() AS now), {announce}, {traffic} {passed}")
    .format(announce=_ANNOUNCE, traffic=_TRAFFIC, passed=_PASSED.format(wait_sec=SQL("0::float8")))
    .as_bytes()
)

_LEAVE: Final = (
    SQL("""
    WITH returned AS (
        UPDATE ingest_rate SET tat = tat - %(interval)s::interval WHERE %(interval)s::interval IS NOT NULL
    ), {condemn}
    SELECT""")
    .format(condemn=condemn(SQL("SELECT %(media_id)s::text")))
    .as_bytes()
)

_LOOK: Final = SQL("WITH {} SELECT slots, places FROM traffic").format(_TRAFFIC).as_bytes()

_PACES: Final = (
    SQL("""
    WITH ended AS MATERIALIZED (
        SELECT slot_id, state, finalized_at, started_at,
            configuration #>> '{{call,provider}}' AS provider
        FROM job WHERE finalized_at IS NOT NULL AND source = {booth}
        ORDER BY finalized_at DESC LIMIT {looked_at}
    ), done AS MATERIALIZED (
        SELECT slot_id, provider, state, extract(epoch FROM finalized_at - started_at) AS seconds,
            row_number() OVER (PARTITION BY slot_id ORDER BY finalized_at DESC) AS number
        FROM ended WHERE started_at IS NOT NULL
    )
    SELECT slot_id, provider, count(*) AS jobs, avg(seconds)::float8 AS mean_sec,
        stddev_pop(seconds)::float8 AS deviation_sec,
        coalesce(percentile_disc({share}) WITHIN GROUP (ORDER BY seconds)
            FILTER (WHERE state = {completed}), 0)::float8 AS slow_sec
    FROM done WHERE number <= {jobs}
    GROUP BY slot_id, provider""")
    .format(
        share=Literal(SLOW_SHARE),
        completed=Literal(JobState.COMPLETED.value),
        booth=Literal(JobSource.BOOTH.value),
        jobs=Literal(PACE_JOBS),
        looked_at=Literal(PACES_LOOK_AT_JOBS),
    )
    .as_bytes()
)

_TELL_OF_WORKERS: Final = b"""
    WITH gone AS (
        DELETE FROM worker_process WHERE process_id IN (
            SELECT process_id FROM worker_process
            WHERE expires_at <= statement_timestamp() AND process_id <> %(process_id)s
            ORDER BY process_id FOR UPDATE SKIP LOCKED)
    )
    INSERT INTO worker_process (process_id, places, expires_at)
    VALUES (%(process_id)s, %(places)s, clock_timestamp() + %(ttl)s)
    ON CONFLICT (process_id) DO UPDATE SET places = excluded.places, expires_at = excluded.expires_at"""

_SLOTS: Final = msgspec.json.Decoder(dict[SlotId, SlotTraffic])


class PostgresIngestGate(IngestGate):
    """The rate in a row of its own; whoever enters is announced by the same statement."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def enter(
        self, media_id: MediaId, *, slot_id: SlotId, ttl: timedelta, rate: Rate | None
    ) -> Passage:
        """Let a photo in if the rate does, and announce its payload."""
        parameters = {"media_id": media_id, "slot_id": slot_id, "ttl": ttl, **_about(rate)}
        statement = _ENTER if rate is None else _ENTER_BY_RATE
        row = await fetch_one(self._pool, statement, parameters)
        if row is None or row["wait_sec"] is None:
            raise InternalError("The rate of photos is not known")
        if row["is_admitted"] and not row["is_announced"]:
            await self._give_back(rate)
            raise ValueError("a media id is already known")
        return Passage(
            has_entered=row["is_admitted"], wait_sec=max(0.0, row["wait_sec"]), traffic=_traffic(row)
        )

    async def leave(self, media_id: MediaId, *, rate: Rate | None) -> None:
        """Take back what `enter` did."""
        await fetch_all(self._pool, _LEAVE, {"media_id": media_id, **_about(rate)})

    async def _give_back(self, rate: Rate | None) -> None:
        await fetch_all(self._pool, _LEAVE, {"media_id": None, **_about(rate)})

    async def traffic(self) -> Traffic:
        """Return what is going on now."""
        row = await fetch_one(self._pool, _LOOK, {}, repeatable=True)
        return Traffic() if row is None else _traffic(row)

    async def paces(self) -> Sequence[Pace]:
        """Return how long the last jobs of each slot took."""
        rows = await fetch_all(self._pool, _PACES, {}, repeatable=True)
        return [msgspec.convert(row, Pace) for row in rows]

    async def tell_of_workers(self, process_id: str, *, places: int, ttl: timedelta) -> None:
        """Record how many jobs a process can do at once."""
        parameters = {"process_id": process_id, "places": places, "ttl": ttl}
        await fetch_all(self._pool, _TELL_OF_WORKERS, parameters, repeatable=True)


def _about(rate: Rate | None) -> Mapping[str, object]:
    if rate is None:
        return {"interval": None}
    return {"interval": rate.interval, "tolerance": rate.tolerance, "burst": rate.burst}


def _traffic(row: DictRow) -> Traffic:
    return Traffic(slots=_SLOTS.decode(row["slots"]), places=row["places"])
