"""Statistics in PostgreSQL: sums of what is long over, and the rest one job at a time.

Once an hour is added up, nothing changes its sums any more. So a count may first read how far they go, and
then take from them what is whole, and from the jobs what is not.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import msgspec
from psycopg.rows import DictRow
from psycopg.sql import SQL, Composable, Composed, Literal, Placeholder

from photochanger.adapters.postgres.pool import Pool, fetch_all, fetch_one
from photochanger.application.ports.administration import Statistics
from photochanger.domain.errors import InternalError
from photochanger.domain.job import JobSource, JobState
from photochanger.domain.media import MediaState
from photochanger.domain.slot import SlotId
from photochanger.domain.statistics import (
    BUCKETS,
    CLASS_RATIO,
    HOUR,
    SETTLED_AFTER,
    Period,
    Present,
    SlotTallies,
    Tally,
    added,
    bucket_of,
)

_ADDED_UP: Final = tuple(length for length in BUCKETS.values() if length >= HOUR / 4)
"""The buckets that are added up, each from the jobs themselves, shortest first."""

_COMPLETED: Final = Literal(JobState.COMPLETED.value)

_BOOTHS: Final = SQL("finalized_at IS NOT NULL AND source = {}").format(Literal(JobSource.BOOTH.value))
"""The condition of the index by `finalized_at`."""

_CLASS: Final = SQL("""
    CASE WHEN state = {completed} THEN floor(
        ln(greatest(1, extract(epoch FROM finalized_at - created_at) * 1000)::float8) / ln({ratio}::float8)
    )::integer END""").format(completed=_COMPLETED, ratio=Literal(CLASS_RATIO))
"""`photochanger.domain.statistics.class_of`, for completed jobs; else NULL."""

_DOCUMENTS: Final = SQL("""
    coalesce(json_object_agg(class, jobs) FILTER (WHERE state = {completed}), '{{}}')::text AS durations,
    coalesce(json_object_agg(state, jobs) FILTER (WHERE state <> {completed}), '{{}}')::text AS others
    """).format(completed=_COMPLETED)

_SUMS: Final = SQL("""
    SELECT start, slot_id, durations::text, others::text FROM job_tally
    WHERE length = {length} AND start >= {start} AND start < {end} AND slot_id {whose}""")

_JOBS: Final = SQL("""
    SELECT finalized_at, slot_id, state, {class_} AS class FROM job
    WHERE {booths} AND finalized_at >= {start} AND finalized_at < {end}""")

_COUNTED: Final = SQL("""
    SELECT start, slot_id, {documents} FROM (
        SELECT date_bin(%(bucket)s, finalized_at, 'epoch') AS start, {slot} AS slot_id, state, class,
            count(*) AS jobs
        FROM ({jobs}) AS one_by_one
        GROUP BY 1, 2, 3, 4
    ) AS counted
    GROUP BY start, slot_id""")

_UNTIL: Final = b"SELECT until FROM job_tally_progress"

_PRESENT: Final = (
    SQL("""
    SELECT pending.jobs AS queue_depth, under_way.jobs AS under_way, media.size_bytes AS media_bytes,
        coalesce(greatest(0, extract(epoch FROM clock_timestamp() - pending.oldest)), 0)::float8
            AS oldest_wait_sec
    FROM (SELECT count(*) AS jobs, min(created_at) AS oldest FROM job WHERE state = {pending}) AS pending,
        (SELECT count(*) AS jobs FROM job WHERE state = {processing}) AS under_way,
        (SELECT coalesce(sum(size_bytes), 0)::bigint AS size_bytes FROM media_object WHERE state = {stored})
            AS media""")
    .format(
        pending=Literal(JobState.PENDING.value),
        processing=Literal(JobState.PROCESSING.value),
        stored=Literal(MediaState.STORED.value),
    )
    .as_bytes()
)

_ROLL_UP: Final = (
    SQL("""
    WITH progress AS MATERIALIZED (
        SELECT until AS since, ended
        FROM job_tally_progress,
            (SELECT date_bin({hour}, statement_timestamp() - {settled_after}, 'epoch') AS ended) AS clock
        WHERE is_the_one AND until < ended
        FOR UPDATE OF job_tally_progress SKIP LOCKED
    ), begun AS MATERIALIZED (
        SELECT since, ended, least(ended, (
            SELECT date_bin({hour}, min(finalized_at), 'epoch') FROM job
            WHERE {booths} AND finalized_at >= since
        )) AS begin
        FROM progress
    ), taken AS MATERIALIZED (
        SELECT since, begin, least(ended, begin + %(limit)s * {hour}) AS until FROM begun
    ), counted AS (
        SELECT length, date_bin(length, finalized_at, 'epoch') AS start, slot_id, state, {class_} AS class,
            count(*) AS jobs
        FROM taken CROSS JOIN unnest(ARRAY[{lengths}]) AS bucket (length)
        JOIN job ON {booths} AND finalized_at >= date_bin(length, since, 'epoch')
            AND finalized_at < date_bin(length, until, 'epoch')
        GROUP BY GROUPING SETS ((1, 2, 4, 5), (1, 2, 3, 4, 5))
    ), added AS (
        INSERT INTO job_tally (length, start, slot_id, durations, others)
        SELECT length, start, slot_id, durations::json, others::json FROM (
            SELECT length, start, slot_id, {documents} FROM counted GROUP BY length, start, slot_id
        ) AS summed
    ), moved AS (
        UPDATE job_tally_progress SET until = taken.until FROM taken
    )
    SELECT (extract(epoch FROM until - begin) / 3600)::integer AS hours FROM taken""")
    .format(
        hour=Literal(HOUR),
        settled_after=Literal(SETTLED_AFTER),
        booths=_BOOTHS,
        class_=_CLASS,
        lengths=SQL(", ").join(map(Literal, _ADDED_UP)),
        documents=_DOCUMENTS,
    )
    .as_bytes()
)
"""Adds up every bucket that ends in the hours it takes, from that of the first job that is left.

Who finds the progress locked leaves the work to the other. Who locks it may see further progress than its
snapshot does, and is none the worse: it reads nothing but jobs that were settled before it began."""


class PostgresStatistics(Statistics):
    """Sums of what is long over, and counts of the rest."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def tallies(self, period: Period) -> SlotTallies:
        """Return the tallies of the period by slot and bucket."""
        parts: dict[SlotId, dict[datetime, list[Tally]]] = defaultdict(lambda: defaultdict(list))
        for row in await self._read(period, by_slot=True):
            parts[row["slot_id"]][bucket_of(row["start"], period.bucket)].append(_tally(row))
        return {slot_id: _summed(buckets) for slot_id, buckets in parts.items()}

    async def series(self, period: Period) -> Mapping[datetime, Tally]:
        """Return the same for all slots together."""
        parts: dict[datetime, list[Tally]] = defaultdict(list)
        for row in await self._read(period, by_slot=False):
            parts[bucket_of(row["start"], period.bucket)].append(_tally(row))
        return _summed(parts)

    async def _read(self, period: Period, *, by_slot: bool) -> Sequence[DictRow]:
        progress = await fetch_one(self._pool, _UNTIL, {}, repeatable=True)
        if progress is None:
            raise InternalError("It is not known how far statistics are added up")
        statement, parameters = reading(period, progress["until"], by_slot=by_slot)
        return await fetch_all(self._pool, statement, parameters, repeatable=True, slow=True)

    async def present(self) -> Present:
        """Return what is going on now."""
        row = await fetch_one(self._pool, _PRESENT, {}, repeatable=True, slow=True)
        return msgspec.convert(row, Present)

    async def roll_up(self, *, limit: int) -> int:
        """Add up the jobs of up to `limit` hours."""
        row = await fetch_one(self._pool, _ROLL_UP, {"limit": limit}, slow=True)
        return 0 if row is None else int(row["hours"])


@dataclass(frozen=True, slots=True)
class Span:
    """A part of a period, and the length of the sums that it is read from; nought for one job at a time."""

    length: timedelta
    start: datetime
    end: datetime


def spans_of(period: Period, until: datetime) -> Sequence[Span]:
    """Cut a period into the spans that it is read in, where everything that ended by `until` is added up.

    Whole buckets are taken from their own sums, and beside them shorter ones that are whole from theirs.
    """
    spans: list[Span] = []
    left = [(period.start, period.end)]
    for length in (length for length in reversed(_ADDED_UP) if length <= period.bucket):
        gaps = []
        for start, end in left:
            whole_start = min(_round_up(start, length), end)
            whole_end = max(whole_start, bucket_of(min(end, until), length))
            spans.append(Span(length, whole_start, whole_end))
            gaps += [(start, whole_start), (whole_end, end)]
        left = gaps
    spans += [Span(timedelta(0), start, end) for start, end in left]
    return [span for span in spans if span.start < span.end]


def reading(period: Period, until: datetime, *, by_slot: bool) -> tuple[bytes, Mapping[str, object]]:
    """Return the statement that reads a period by its spans, and its parameters."""
    parameters: dict[str, object] = {"bucket": period.bucket}
    sums: list[dict[str, Placeholder]] = []
    jobs: list[dict[str, Placeholder]] = []
    for number, span in enumerate(spans_of(period, until)):
        ends = {name: f"{name}_{number}" for name in ("length", "start", "end")}
        parameters |= {ends[name]: getattr(span, name) for name in ends}
        (sums if span.length else jobs).append({name: Placeholder(key) for name, key in ends.items()})
    whose, slot = (SQL("IS NOT NULL"), SQL("slot_id")) if by_slot else (SQL("IS NULL"), SQL("NULL::text"))
    parts = [_SUMS.format(**span, whose=whose) for span in sums]
    if jobs:
        one_by_one = _union(_JOBS.format(**span, class_=_CLASS, booths=_BOOTHS) for span in jobs)
        parts.append(_COUNTED.format(documents=_DOCUMENTS, slot=slot, jobs=one_by_one))
    return _union(parts).as_bytes(), parameters


def _union(parts: Iterable[Composable]) -> Composed:
    return SQL(" UNION ALL ").join(parts)


def _round_up(moment: datetime, length: timedelta) -> datetime:
    start = bucket_of(moment, length)
    return start if start == moment else start + length


_DURATIONS: Final = msgspec.json.Decoder(dict[int, int])
_OTHERS: Final = msgspec.json.Decoder(dict[JobState, int])


def _tally(row: DictRow) -> Tally:
    durations, by_state = _DURATIONS.decode(row["durations"]), _OTHERS.decode(row["others"])
    if durations:
        by_state[JobState.COMPLETED] = sum(durations.values())
    return Tally(by_state=by_state, durations=durations)


def _summed(parts: Mapping[datetime, Sequence[Tally]]) -> Mapping[datetime, Tally]:
    return {start: added(tallies) if len(tallies) > 1 else tallies[0] for start, tallies in parts.items()}
