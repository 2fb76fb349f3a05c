"""The media table as SQL, and what statements about jobs and templates do with the rows of their files.

Only `TRANSITIONS` says what can happen to a file; `before` and `after` are its two columns. The functions
that follow return common table expressions. Rows are locked in the order of their ids, before any of them is
written: so no two statements wait for each other in a circle.
"""

from typing import Final

from psycopg.sql import SQL, Composable, Composed, Literal

from photochanger.domain.media import MediaEvent, state_after, states_before

_ANY_KIND: Final = SQL("true")


def before(event: MediaEvent) -> Composed:
    """Return the condition that `event` can happen to a row of `media_object`."""
    states = [Literal(state.value) for state in sorted(states_before(event))]
    return SQL("media_object.state IN ({})").format(SQL(", ").join(states))


def after(event: MediaEvent) -> Literal:
    """Return the state after `event`."""
    return Literal(state_after(event).value)


def condemned(*, now: Composable) -> Composed:
    """Return what being condemned writes, for SET: the file's time is over, and it is offered at once."""
    return SQL(
        "state = {state}, expires_at = least(expires_at, {now}), offer_at = least(offer_at, {now})"
    ).format(state=after(MediaEvent.CONDEMNED), now=now)


ALL_ANNOUNCED: Final = SQL("(SELECT count(*) FROM announced) = cardinality(%(media_ids)s::text[])")
"""Whether `announced` has found every image."""


def announced(*, only_if: Composable = _ANY_KIND) -> Composed:
    """Return the expression `announced`: the images' rows, as far as they are pending, locked."""
    return SQL("""
    announced AS MATERIALIZED (
        SELECT media_id, created_at AS announced_at FROM media_object
        WHERE media_id = ANY(%(media_ids)s::text[]) AND {can_be_stored} AND {only_if}
        ORDER BY media_id FOR UPDATE
    )""").format(only_if=only_if, can_be_stored=before(MediaEvent.STORED))


def store_images(*, owner: Composable, until: Composable) -> Composed:
    """Mark the images' rows as stored, to live until `until`, if `owner` has a row.

    Values are picked out of arrays, because a join with them may read the whole table: the plan is made while
    the table is small, and kept.
    """
    return SQL("""
    stored AS (
        UPDATE media_object SET
            state = {state}, expires_at = {until}, offer_at = {until},
            image_type = (%(image_types)s::text[])[array_position(%(media_ids)s::text[], media_id)],
            size_bytes = (%(sizes)s::bigint[])[array_position(%(media_ids)s::text[], media_id)],
            sha256 = (%(hashes)s::text[])[array_position(%(media_ids)s::text[], media_id)]
        FROM {owner}
        WHERE media_id = ANY(%(media_ids)s::text[])
    )""").format(until=until, owner=owner, state=after(MediaEvent.STORED))


def condemn(media_ids: Composable) -> Composed:
    """Mark the files that the query `media_ids` selects for deletion, as far as they are there."""
    return SQL("""
    files AS MATERIALIZED (
        SELECT media_id FROM media_object
        WHERE media_id = ANY(ARRAY({media_ids})) AND {can_be_condemned}
        ORDER BY media_id FOR UPDATE
    ), condemned AS (
        UPDATE media_object SET {condemned}
        WHERE media_id = ANY(ARRAY(SELECT media_id FROM files))
    )""").format(
        media_ids=media_ids,
        can_be_condemned=before(MediaEvent.CONDEMNED),
        condemned=condemned(now=SQL("clock_timestamp()")),
    )
