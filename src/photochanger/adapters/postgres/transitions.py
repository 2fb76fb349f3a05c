"""The state machine's table as SQL.

Every change of a job has the same four steps, as one statement:

    locked   the rows, locked; whatever another writer did meanwhile is seen
    judged   the clock, read once per row, after its lock was gained
    allowed  those of them for which the table holds a transition
    changed  the rows after it

Judging a locked row by a clock that is read after the lock makes a change the exact mirror of `Job.apply`:
a writer that had to wait, even for one that changed nothing, cannot succeed by a time that has passed.
Only `TRANSITIONS` says what is allowed; `GUARDS` says how each guard reads in SQL.
"""

from collections.abc import Mapping
from typing import Final

from psycopg.sql import SQL, Composable, Composed, Literal

from photochanger.domain.job import (
    FAILURE_REASON_OF,
    FINAL_STATES,
    MAX_CLAIMS,
    TRANSITIONS,
    Guard,
    JobEvent,
    JobState,
    Transition,
)

GUARDS: Final[Mapping[Guard, SQL]] = {
    Guard.BEFORE_DEADLINE: SQL("{now} < deadline"),
    Guard.DEADLINE_REACHED: SQL("{now} >= deadline"),
    Guard.LEASE_HELD: SQL("{is_his} AND {now} < lease_expires_at"),
    Guard.LEASE_LAPSED: SQL("{now} >= lease_expires_at"),
    Guard.CLAIMS_LEFT: SQL("fence < {max_claims}"),
}

LOOKUPS: Final[Mapping[Guard, SQL]] = {
    Guard.LEASE_LAPSED: SQL("lease_expires_at <= statement_timestamp()"),
    Guard.DEADLINE_REACHED: SQL("deadline <= statement_timestamp()"),
}
"""Guards in a form that an index can answer, unlike the clock; they come true a moment after the guard."""

_CLOCK: Final = SQL("clock_timestamp()")
_JUDGED_AT: Final = SQL("now")

UNFINISHED: Final = SQL("state IN ({})").format(
    SQL(", ").join(Literal(state.value) for state in JobState if state not in FINAL_STATES)
)
"""The condition of the index by deadline; a statement that repeats it is served by it."""

LOCKED_COLUMNS: Final = SQL("seq, job_id, state, fence, deadline, lease_expires_at, started_at, created_at")

_HIS: Final = SQL("fence = %(fence)s")
"""Whoever changes one job says what fence he holds it with."""

_ALWAYS: Final = SQL("true")
_AT: Final = SQL("greatest(allowed.now, allowed.started_at, allowed.created_at)")

OWN_PROVIDER: Final = SQL("coalesce(job.configuration #>> '{{call,provider}}', '')")
"""The provider of the slot's own call, which every claim begins with."""

_AT_OWN_PROVIDER: Final = SQL("provider = {}, waits_for_place = false").format(OWN_PROVIDER)

_FAILED: Final = SQL(
    "attempts = %(attempts)s, failure_reason = %(failure_reason)s, result = %(result)s::jsonb,"
    " answers_again = false"
)

_EFFECTS: Final[Mapping[JobEvent, SQL]] = {
    JobEvent.CLAIMED: SQL(
        "fence = job.fence + 1, lease_expires_at = allowed.now + %(lease)s,"
        " started_at = coalesce(job.started_at, {at}), {at_own_provider}"
    ),
    JobEvent.RELEASED: SQL("lease_expires_at = NULL, {at_own_provider}"),
    JobEvent.SUCCEEDED: SQL("attempts = %(attempts)s, result = %(result)s::jsonb"),
    JobEvent.PROVIDER_FAILED: _FAILED,
    JobEvent.INTERNALLY_FAILED: _FAILED,
    **dict.fromkeys(FAILURE_REASON_OF, SQL("failure_reason = {reason}, answers_again = false")),
}
"""What an event writes beside the state, as `Job.apply` does; renewals say it in their statements."""


def rows_of(event: JobEvent) -> tuple[Transition, ...]:
    """Return the rows of the table for `event`."""
    return tuple(row for row in TRANSITIONS if row.event is event)


def condition(row: Transition, *, now: Composable = _JUDGED_AT, is_his: Composable = _HIS) -> Composed:
    """Return the condition under which one row of the table applies at `now`."""
    terms = {"now": now, "is_his": is_his, "max_claims": Literal(MAX_CLAIMS)}
    guards = [GUARDS[guard].format(**terms) for guard in sorted(row.guards)]
    source = SQL("state = {}").format(Literal(row.source.value))
    return SQL("({})").format(SQL(" AND ").join([source, *guards]))


def candidate(row: Transition) -> Composed:
    """Return the condition for finding jobs, before any is locked, that one row of the table applies to."""
    lookups = [LOOKUPS[guard] for guard in sorted(row.guards) if guard in LOOKUPS]
    return SQL(" AND ").join([condition(row, now=_CLOCK), *lookups])


def locked(event: JobEvent, *, which: Composable) -> Composed:
    """Return the expression `locked` over the jobs that `which` selects, among those the event can happen to.

    `which` follows WHERE; it may order, limit and skip, and says how to lock. The states are those left out,
    so that no partial index seems to serve: a plan made while the queue is short would go on to walk it.
    """
    sources = {row.source for row in rows_of(event)}
    return SQL("""
        locked AS MATERIALIZED (
            SELECT {columns} FROM job WHERE state NOT IN ({others}) AND {which}
        )""").format(
        columns=LOCKED_COLUMNS,
        others=SQL(", ").join(Literal(state.value) for state in JobState if state not in sources),
        which=which,
    )


def change(
    event: JobEvent,
    *,
    returning: Composable,
    only_if: Composable = _ALWAYS,
    effects: Composable | None = None,
    is_his: Composable = _HIS,
) -> Composed:
    """Return the common table expressions that let `event` happen to the jobs in `locked`.

    `changed` holds the columns `returning` and `now`, the moment of each change. `only_if` is a further
    condition that needs no lock. With `effects` those are written, and the event's own are not: something
    else is done that is allowed whenever the event is. `is_his` says whether it is the holder who asks.
    """
    return SQL("""
        judged AS MATERIALIZED (
            SELECT *, clock_timestamp() AS now FROM locked
        ), allowed AS MATERIALIZED (
            SELECT * FROM judged WHERE {allowed}
        ), changed AS (
            UPDATE job SET state = {target}, {effects}
            FROM allowed WHERE job.seq = allowed.seq AND {only_if}
            RETURNING {returning}, allowed.now
        )""").format(
        allowed=SQL(" OR ").join(condition(row, is_his=is_his) for row in rows_of(event)),
        target=_target(event),
        effects=effects or _effects(event),
        only_if=only_if,
        returning=returning,
    )


def _target(event: JobEvent) -> Composed:
    arms = [
        SQL("WHEN {} THEN {}").format(Literal(row.source.value), Literal(row.target.value))
        for row in rows_of(event)
    ]
    return SQL("CASE allowed.state {} END").format(SQL(" ").join(arms))


def _effects(event: JobEvent) -> Composed:
    written = _EFFECTS[event].format(
        at=_AT, at_own_provider=_AT_OWN_PROVIDER, reason=Literal(FAILURE_REASON_OF.get(event))
    )
    effects = [written]
    if all(row.target in FINAL_STATES for row in rows_of(event)):
        effects.append(SQL("finalized_at = {at}, lease_expires_at = NULL").format(at=_AT))
    return SQL(", ").join(effects)
