"""The statements that give places to jobs: each of them is run alone, under the lock of all claims.

A place is the right to be under way: at a slot from the claim on, at a provider while calls of that provider
are made. A job holds its places until it ends, is handed back, or its lease lapses; nothing has to be given
back by whoever died. Because one statement runs at a time, and reads what those before it have written, what
it counts stays true until it commits: meanwhile places can only become free.

One change could come between: a worker that renews a lease at the very moment it lapses. So a lapsed lease
counts as lapsed only where its row could be locked, and then it can be renewed no more.
"""

from typing import Final

from psycopg.sql import SQL, Composable, Literal

from photochanger.adapters.postgres.rows import JOB_COLUMNS, listed
from photochanger.adapters.postgres.signals import notify
from photochanger.adapters.postgres.transitions import (
    GUARDS,
    LOCKED_COLUMNS,
    LOOKUPS,
    OWN_PROVIDER,
    candidate,
    change,
    condition,
    locked,
    rows_of,
)
from photochanger.application.ports.signals import Topic
from photochanger.domain.job import Guard, JobEvent, JobState

_COLUMNS: Final = listed(JOB_COLUMNS, table="job")
_CLOCK: Final = SQL("clock_timestamp()")
_CLAIMED_FROM: Final = {row.source: row for row in rows_of(JobEvent.CLAIMED)}
_PENDING: Final = _CLAIMED_FROM[JobState.PENDING]
_LAPSED: Final = _CLAIMED_FROM[JobState.PROCESSING]
_UNDER_WAY: Final = SQL("state = {}").format(Literal(JobState.PROCESSING.value))

_HELD: Final = SQL("""
    lapsed AS MATERIALIZED (
        SELECT seq, slot_id, {own_provider} AS provider, {can_be_claimed} AS can_be_claimed
        FROM job WHERE {under_way} AND {has_lapsed} AND {lookup} FOR UPDATE SKIP LOCKED
    ), held AS MATERIALIZED (
        SELECT seq, slot_id, provider, waits_for_place FROM job
        WHERE {under_way} AND seq NOT IN (SELECT seq FROM lapsed)
    )""").format(
    own_provider=OWN_PROVIDER,
    can_be_claimed=condition(_LAPSED, now=_CLOCK),
    under_way=_UNDER_WAY,
    has_lapsed=GUARDS[Guard.LEASE_LAPSED].format(now=_CLOCK),
    lookup=LOOKUPS[Guard.LEASE_LAPSED],
)
"""The jobs that hold places, or wait for one at their provider."""


def _free(of: Composable, names: Composable, places: Composable) -> Composable:
    return SQL("""
        SELECT {of}, greatest(places - count(held.seq), 0) AS free
        FROM unnest({names}::text[], {places}::integer[]) AS limits ({of}, places) LEFT JOIN held USING ({of})
        GROUP BY {of}, places""").format(of=of, names=names, places=places)


_FREE: Final = SQL("slot AS MATERIALIZED ({}), provider AS MATERIALIZED ({})").format(
    _free(SQL("slot_id"), SQL("%(slots)s"), SQL("%(slot_places)s")),
    _free(SQL("provider"), SQL("%(providers)s"), SQL("%(provider_places)s")),
)
"""What is free, where there is a limit. Who waits for a place at a provider comes before the queue."""

_LINES: Final = SQL("""
    line AS (
        (SELECT slot_id, provider FROM job WHERE {pending} ORDER BY slot_id, provider LIMIT 1)
        UNION ALL
        SELECT further.* FROM line, LATERAL (
            SELECT slot_id, provider FROM job
            WHERE {pending} AND (slot_id, provider) > (line.slot_id, line.provider)
            ORDER BY slot_id, provider LIMIT 1
        ) AS further
    )""").format(pending=SQL("state = {}").format(Literal(JobState.PENDING.value)))
"""Every slot and provider that a pending job wants; from one to the next in one step of the index."""

_WAITING: Final = SQL("""
    waiting AS MATERIALIZED (
        SELECT first.seq, line.slot_id, line.provider
        FROM line LEFT JOIN slot USING (slot_id) LEFT JOIN provider USING (provider), LATERAL (
            SELECT seq FROM job
            WHERE {pending} AND job.slot_id = line.slot_id AND job.provider = line.provider
            ORDER BY job.slot_id, job.provider, seq LIMIT least(slot.free, provider.free, %(reach)s) + 1
        ) AS first
        UNION ALL
        SELECT seq, slot_id, provider FROM lapsed WHERE can_be_claimed
    )""").format(pending=candidate(_PENDING))
"""The first jobs of every line, and one more of each than there is room for: where it turns out to be next,
it is seen, and where it is left behind, that is seen too."""

_CHOSEN: Final = SQL("""
    ranked AS MATERIALIZED (
        SELECT seq,
            row_number() OVER (PARTITION BY slot_id ORDER BY seq) <= coalesce(slot.free, {any})
                AND row_number() OVER (PARTITION BY provider ORDER BY seq) <= coalesce(provider.free, {any})
                AS fits
        FROM waiting LEFT JOIN slot USING (slot_id) LEFT JOIN provider USING (provider)
        WHERE coalesce(slot.free, {any}) > 0 AND coalesce(provider.free, {any}) > 0
    ), chosen AS MATERIALIZED (
        SELECT seq FROM ranked
        WHERE seq < coalesce((SELECT min(seq) FROM ranked WHERE NOT fits), {never})
        ORDER BY seq LIMIT %(reach)s
    )""").format(any=Literal(2**31 - 1), never=Literal(2**63 - 1))
"""The first in order, up to the one that does not fit any more: so nobody is overtaken who could have run, by
what this statement itself takes. Those behind it are for the next."""

CLAIM: Final = (
    SQL("""
    WITH RECURSIVE {held}, {free}, {lines}, {waiting}, {chosen}, locked AS MATERIALIZED (
        SELECT {columns} FROM job
        WHERE seq = ANY(ARRAY(SELECT seq FROM chosen)) AND state NOT IN ({others})
        ORDER BY seq LIMIT %(limit)s FOR UPDATE SKIP LOCKED
    ), {change}
    SELECT found.*, changed.* FROM (
        SELECT (SELECT count(*) FROM chosen) AS chosen, (SELECT count(*) FROM waiting) AS waiting
    ) AS found LEFT JOIN changed ON true ORDER BY seq""")
    .format(
        held=_HELD,
        free=_FREE,
        lines=_LINES,
        waiting=_WAITING,
        chosen=_CHOSEN,
        columns=LOCKED_COLUMNS,
        others=SQL(", ").join(
            Literal(state.value) for state in JobState if state not in {_PENDING.source, _LAPSED.source}
        ),
        change=change(JobEvent.CLAIMED, returning=SQL("job.seq, {}").format(_COLUMNS)),
    )
    .as_bytes()
)
"""Returns at least one row, with how many jobs were chosen and how many were seen that wait; and the jobs.

`reach` is how many are chosen at most: the `limit`, and more where others hold the rows of the first."""

MOVE: Final = (
    SQL("""
    WITH {held}, {locked}, {change}
    SELECT waits_for_place, has_left, (SELECT {notify} WHERE has_left) FROM changed""")
    .format(
        held=_HELD,
        locked=locked(JobEvent.RENEWED, which=SQL("job_id = %(job_id)s FOR UPDATE")),
        change=change(
            JobEvent.RENEWED,
            effects=SQL("""
                provider = %(provider)s,
                waits_for_place = (job.waits_for_place OR job.provider <> %(provider)s)
                    AND coalesce(%(places)s::integer <= (
                    SELECT count(*) FROM held
                    WHERE held.provider = %(provider)s AND held.seq <> allowed.seq
                        AND (NOT held.waits_for_place OR held.seq < allowed.seq)
                ), false)"""),
            returning=SQL("""
                job.waits_for_place,
                EXISTS (
                    SELECT FROM held WHERE held.seq = job.seq AND held.provider <> %(provider)s
                ) AS has_left"""),
        ),
        notify=notify(Topic.PLACE_FREED, SQL("''")),
    )
    .as_bytes()
)
"""A place is for who waits longest for it, and before that for nobody who is not under way: else places would
stay empty for jobs that no worker has room for."""
