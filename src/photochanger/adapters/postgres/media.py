"""The registry of files in PostgreSQL."""

from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta
from typing import Final

import msgspec
from psycopg.errors import UniqueViolation
from psycopg.sql import SQL, Literal

from photochanger.adapters.postgres.errors import translate_errors
from photochanger.adapters.postgres.media_statements import after, before, condemn, condemned
from photochanger.adapters.postgres.pool import ANSWER_SEC, Pool, borrowed, fetch_all, fetch_one
from photochanger.adapters.postgres.rows import DESCRIBED, MEDIA_COLUMNS, described, listed
from photochanger.application.ports.media import MediaReading, MediaRegistry
from photochanger.domain.errors import InternalError
from photochanger.domain.media import (
    MediaEvent,
    MediaId,
    MediaKind,
    MediaObject,
    MediaState,
    StoredImage,
)
from photochanger.domain.slot import SlotId

OFFER_AGAIN_AFTER: Final = timedelta(seconds=30)
"""How long a caller of `doomed` has for the deletion before the file is offered to others."""

_STATES: Final = {state.value: Literal(state.value) for state in MediaState}
_LINK: Final = Literal(MediaKind.PROVIDER_LINK.value)
_COLUMNS: Final = listed(MEDIA_COLUMNS, table="media_object")

_INTEND: Final = b"""
    WITH moment AS MATERIALIZED (SELECT clock_timestamp() AS now)
    INSERT INTO media_object (media_id, kind, slot_id, created_at, expires_at, offer_at)
    SELECT intent.media_id, intent.kind, %(slot_id)s, now, now + %(ttl)s, now + %(ttl)s
    FROM moment, unnest(%(media_ids)s::text[], %(kinds)s::text[]) AS intent (media_id, kind)"""

_GET: Final = SQL("SELECT {} FROM media_object WHERE media_id = %(media_id)s").format(_COLUMNS).as_bytes()

_PEEK: Final = (
    SQL("SELECT {}, clock_timestamp() AS now FROM media_object WHERE media_id = %(media_id)s")
    .format(_COLUMNS)
    .as_bytes()
)

_FETCH: Final = (
    SQL("""
    WITH locked AS MATERIALIZED (
        SELECT {columns} FROM media_object WHERE media_id = %(media_id)s FOR UPDATE
    ), read AS MATERIALIZED (
        SELECT *, clock_timestamp() AS now FROM locked
    ), first AS (
        UPDATE media_object SET fetched_at = read.now
        FROM read
        WHERE media_object.media_id = %(media_id)s AND read.kind = {link} AND read.state = {stored}
            AND read.fetched_at IS NULL AND read.now < read.expires_at
        RETURNING media_object.fetched_at
    )
    SELECT {others}, now, coalesce(first.fetched_at, read.fetched_at) AS fetched_at
    FROM read LEFT JOIN first ON true""")
    .format(
        columns=_COLUMNS,
        others=listed([name for name in MEDIA_COLUMNS if name != "fetched_at"], table="read"),
        link=_LINK,
        **_STATES,
    )
    .as_bytes()
)

_FETCHED: Final = (
    b"SELECT media_id FROM media_object WHERE media_id = ANY(%(media_ids)s) AND fetched_at IS NOT NULL"
)

_OFFER: Final = (
    SQL("""
    UPDATE media_object SET state = {stored}, {described}
    WHERE media_id = %(media_id)s AND kind = {link} AND {can_be_stored}
    RETURNING media_id""")
    .format(
        described=DESCRIBED,
        link=_LINK,
        stored=after(MediaEvent.STORED),
        can_be_stored=before(MediaEvent.STORED),
    )
    .as_bytes()
)

_CONDEMN: Final = (
    SQL("""
    WITH locked AS (
        SELECT media_id FROM media_object
        WHERE media_id = ANY(%(media_ids)s) AND {can_be_condemned}
        ORDER BY media_id FOR UPDATE
    )
    UPDATE media_object SET {condemned}
    FROM locked WHERE media_object.media_id = locked.media_id""")
    .format(can_be_condemned=before(MediaEvent.CONDEMNED), condemned=condemned(now=SQL("clock_timestamp()")))
    .as_bytes()
)

_DOOMED: Final = (
    SQL("""
    WITH offered AS MATERIALIZED (
        SELECT media_id, offer_at FROM media_object
        WHERE state <> {deleted} AND offer_at <= statement_timestamp()
        ORDER BY offer_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED
    ), doomed AS (
        UPDATE media_object SET state = {ended}, offer_at = clock_timestamp() + %(offer_again_after)s
        FROM offered WHERE media_object.media_id = offered.media_id
        RETURNING {columns}, offered.offer_at
    )
    SELECT * FROM doomed ORDER BY offer_at""")
    .format(columns=_COLUMNS, ended=after(MediaEvent.ENDED), **_STATES)
    .as_bytes()
)

_CONFIRM: Final = (
    SQL("""
    UPDATE media_object SET state = {confirmed}
    WHERE media_id = ANY(%(media_ids)s) AND {can_be_confirmed}""")
    .format(confirmed=after(MediaEvent.CONFIRMED), can_be_confirmed=before(MediaEvent.CONFIRMED))
    .as_bytes()
)

_LIVING: Final = (
    SQL("""
    SELECT {columns} FROM media_object
    WHERE state <> {deleted} AND {order} > %(after)s
    ORDER BY {order} LIMIT %(limit)s""")
    .format(columns=_COLUMNS, order=SQL("(kind || '/' || media_id)"), **_STATES)
    .as_bytes()
)

_FIND: Final = (
    SQL("SELECT {} FROM media_object WHERE media_id = ANY(%(media_ids)s)").format(_COLUMNS).as_bytes()
)

_FOUND: Final = (
    SQL("""
    INSERT INTO media_object (media_id, kind, state, created_at, expires_at, offer_at)
    SELECT file.media_id, file.kind, {found}, now, now, now
    FROM (SELECT clock_timestamp() AS now) AS moment,
        unnest(%(media_ids)s::text[], %(kinds)s::text[]) AS file (media_id, kind)
    ORDER BY file.media_id
    ON CONFLICT (media_id) DO UPDATE SET
        state = {found}, expires_at = excluded.expires_at, offer_at = excluded.offer_at
    WHERE {can_be_found} AND media_object.kind = excluded.kind
    RETURNING media_id""")
    .format(found=after(MediaEvent.FOUND), can_be_found=before(MediaEvent.FOUND))
    .as_bytes()
)

_LOST: Final = (
    SQL("""
    WITH gone AS MATERIALIZED (
        SELECT media_id FROM media_object WHERE media_id = ANY(%(media_ids)s) AND {can_be_lost}
        ORDER BY media_id FOR UPDATE
    ), lost AS (
        UPDATE media_object SET state = {lost}, expires_at = least(expires_at, clock_timestamp()),
            offer_at = least(offer_at, clock_timestamp())
        WHERE media_id = ANY(ARRAY(SELECT media_id FROM gone))
        RETURNING media_id, kind
    ), moment AS MATERIALIZED (
        SELECT clock_timestamp() AS now
    ), ended AS (
        UPDATE job SET retention = moment.now - job.finalized_at, answers_again = false
        FROM moment
        WHERE job.result IS NOT NULL AND job.result_expires_at > moment.now
            AND job.result #>> '{{image,media_id}}' = ANY(ARRAY(
                SELECT media_id FROM lost WHERE kind = {result}))
        RETURNING job.result #>> '{{preview,media_id}}' AS preview_id
    ), {condemn}
    SELECT media_id FROM lost""")
    .format(
        can_be_lost=before(MediaEvent.LOST),
        lost=after(MediaEvent.LOST),
        result=Literal(MediaKind.RESULT.value),
        condemn=condemn(
            SQL("SELECT preview_id FROM ended WHERE preview_id NOT IN (SELECT media_id FROM gone)")
        ),
    )
    .as_bytes()
)
"""Looks at every job whose result has not expired: rarely needed, and then for many files at once. A preview
that is lost itself is not condemned as well, for no statement may change a row twice."""


class PostgresMediaRegistry(MediaRegistry):
    """The rows of all files."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def intend(
        self, intents: Sequence[tuple[MediaId, MediaKind]], *, slot_id: SlotId | None, ttl: timedelta
    ) -> None:
        """Record that these files are about to be written."""
        parameters = {
            "media_ids": [media_id for media_id, _ in intents],
            "kinds": [kind.value for _, kind in intents],
            "slot_id": slot_id,
            "ttl": ttl,
        }
        with translate_errors():
            async with borrowed(self._pool) as connection:
                connection.answer_sec = ANSWER_SEC  # a booth waits
                try:
                    await connection.execute(_INTEND, parameters)
                except UniqueViolation:
                    raise ValueError("a media id is already known") from None

    async def offer(self, image: StoredImage) -> None:
        """Mark a pending provider link as stored."""
        if await fetch_one(self._pool, _OFFER, described(image)) is None:
            raise InternalError("A link's file was not announced, or its time has run out")

    async def fetch(self, media_id: MediaId) -> MediaReading | None:
        """Return the row with the time, and record the first fetching of a provider link."""
        return await self._read(_FETCH, media_id)

    async def peek(self, media_id: MediaId) -> MediaReading | None:
        """Return the row with the time."""
        return await self._read(_PEEK, media_id)

    async def _read(self, statement: bytes, media_id: MediaId) -> MediaReading | None:
        row = await fetch_one(self._pool, statement, {"media_id": media_id}, repeatable=True)
        return None if row is None else MediaReading(media=msgspec.convert(row, MediaObject), now=row["now"])

    async def fetched(self, media_ids: Collection[MediaId]) -> Collection[MediaId]:
        """Return those of the files that were ever fetched."""
        rows = await fetch_all(self._pool, _FETCHED, {"media_ids": list(media_ids)}, repeatable=True)
        return {MediaId(row["media_id"]) for row in rows}

    async def get(self, media_id: MediaId) -> MediaObject | None:
        """Return the row, or None."""
        row = await fetch_one(self._pool, _GET, {"media_id": media_id}, repeatable=True)
        return None if row is None else msgspec.convert(row, MediaObject)

    async def condemn(self, media_ids: Collection[MediaId]) -> None:
        """Mark these files for deletion."""
        await fetch_all(self._pool, _CONDEMN, {"media_ids": list(media_ids)}, repeatable=True)

    async def doomed(self, *, limit: int) -> Sequence[MediaObject]:
        """Return up to `limit` files that must go, the oldest first, and mark them `deleting`."""
        rows = await fetch_all(
            self._pool, _DOOMED, {"limit": limit, "offer_again_after": OFFER_AGAIN_AFTER}, slow=True
        )
        return [msgspec.convert(row, MediaObject) for row in rows]

    async def confirm_deleted(self, media_ids: Collection[MediaId]) -> None:
        """Record that these files are gone."""
        await fetch_all(self._pool, _CONFIRM, {"media_ids": list(media_ids)}, repeatable=True, slow=True)

    async def living(self, *, limit: int, after: str = "") -> Sequence[MediaObject]:
        """Return up to `limit` files that are not deleted, in the order of their keys."""
        kind, _, rest = after.partition("/")
        parameters = {"after": f"{kind}/{rest.partition('/')[2]}" if rest else after, "limit": limit}
        rows = await fetch_all(self._pool, _LIVING, parameters, repeatable=True, slow=True)
        return [msgspec.convert(row, MediaObject) for row in rows]

    async def find(self, media_ids: Collection[MediaId]) -> Mapping[MediaId, MediaObject]:
        """Return the rows that there are, by their id."""
        rows = await fetch_all(self._pool, _FIND, {"media_ids": list(media_ids)}, repeatable=True, slow=True)
        return {row["media_id"]: msgspec.convert(row, MediaObject) for row in rows}

    async def found(self, files: Collection[tuple[MediaId, MediaKind]]) -> Collection[MediaId]:
        """Take over files that no row expects."""
        parameters = {
            "media_ids": [media_id for media_id, _ in files],
            "kinds": [kind.value for _, kind in files],
        }
        return await self._ids(_FOUND, parameters)

    async def lost(self, media_ids: Collection[MediaId]) -> Collection[MediaId]:
        """Record that these files are not where they were stored."""
        return await self._ids(_LOST, {"media_ids": list(media_ids)})

    async def _ids(self, statement: bytes, parameters: Mapping[str, object]) -> Collection[MediaId]:
        rows = await fetch_all(self._pool, statement, parameters, slow=True)
        return {MediaId(row["media_id"]) for row in rows}
