"""What statements about jobs and templates do with the rows of their files.

Each function returns common table expressions. Rows are locked in the order of their ids, before any of them
is written: so no two statements wait for each other in a circle.
"""

from typing import Final

from psycopg.sql import SQL, Composable, Composed, Literal

from photochanger.domain.media import MediaState

_STATES: Final = {state.value: Literal(state.value) for state in MediaState}
_ANY_KIND: Final = SQL("true")

ALL_ANNOUNCED: Final = SQL("(SELECT count(*) FROM announced) = cardinality(%(media_ids)s::text[])")
"""Whether `announced` has found every image."""


def announced(*, only_if: Composable = _ANY_KIND) -> Composed:
    """Return the expression `announced`: the images' rows, as far as they are pending, locked."""
    return SQL("""
    announced AS MATERIALIZED (
        SELECT media_id, created_at AS announced_at FROM media_object
        WHERE media_id = ANY(%(media_ids)s::text[]) AND state = {pending} AND {only_if}
        ORDER BY media_id FOR UPDATE
    )""").format(only_if=only_if, **_STATES)


def store_images(*, owner: Composable, until: Composable) -> Composed:
    """Mark the images' rows as stored, to live until `until`, if `owner` has a row.

    Values are picked out of arrays, because a join with them may read the whole table: the plan is made while
    the table is small, and kept.
    """
    return SQL("""
    stored AS (
        UPDATE media_object SET
            state = {stored}, expires_at = {until}, offer_at = {until},
            image_type = (%(image_types)s::text[])[array_position(%(media_ids)s::text[], media_id)],
            size_bytes = (%(sizes)s::bigint[])[array_position(%(media_ids)s::text[], media_id)],
            sha256 = (%(hashes)s::text[])[array_position(%(media_ids)s::text[], media_id)]
        FROM {owner}
        WHERE media_id = ANY(%(media_ids)s::text[])
    )""").format(until=until, owner=owner, **_STATES)


def condemn(media_ids: Composable) -> Composed:
    """Mark the files that the query `media_ids` selects for deletion, as far as they are there."""
    return SQL("""
    files AS MATERIALIZED (
        SELECT media_id FROM media_object
        WHERE media_id = ANY(ARRAY({media_ids})) AND state IN ({pending}, {stored})
        ORDER BY media_id FOR UPDATE
    ), condemned AS (
        UPDATE media_object SET state = {deleting}, offer_at = least(offer_at, clock_timestamp())
        WHERE media_id = ANY(ARRAY(SELECT media_id FROM files))
    )""").format(media_ids=media_ids, **_STATES)
