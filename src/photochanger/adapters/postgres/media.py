"""The registry of files in PostgreSQL."""

from collections.abc import Collection, Sequence
from datetime import timedelta
from typing import Final

import msgspec
from psycopg.errors import UniqueViolation
from psycopg.sql import SQL, Literal

from photochanger.adapters.postgres.errors import translate_errors
from photochanger.adapters.postgres.pool import Pool, borrowed, fetch_all, fetch_one
from photochanger.adapters.postgres.rows import DESCRIBED, MEDIA_COLUMNS, described, listed
from photochanger.application.ports.storage import MediaReading, MediaRegistry
from photochanger.domain.errors import InternalError
from photochanger.domain.media import MediaId, MediaKind, MediaObject, MediaState, StoredImage
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
    WHERE media_id = %(media_id)s AND kind = {link} AND state = {pending}
    RETURNING media_id""")
    .format(described=DESCRIBED, link=_LINK, **_STATES)
    .as_bytes()
)

_CONDEMN: Final = (
    SQL("""
    WITH locked AS (
        SELECT media_id FROM media_object
        WHERE media_id = ANY(%(media_ids)s) AND state IN ({pending}, {stored})
        ORDER BY media_id FOR UPDATE
    )
    UPDATE media_object SET state = {deleting}, offer_at = least(offer_at, clock_timestamp())
    FROM locked WHERE media_object.media_id = locked.media_id""")
    .format(**_STATES)
    .as_bytes()
)

_DOOMED: Final = (
    SQL("""
    WITH offered AS MATERIALIZED (
        SELECT media_id, offer_at FROM media_object
        WHERE state <> {deleted} AND offer_at <= statement_timestamp()
        ORDER BY offer_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED
    ), doomed AS (
        UPDATE media_object SET state = {deleting}, offer_at = clock_timestamp() + %(offer_again_after)s
        FROM offered WHERE media_object.media_id = offered.media_id
        RETURNING {columns}, offered.offer_at
    )
    SELECT * FROM doomed ORDER BY offer_at""")
    .format(columns=_COLUMNS, **_STATES)
    .as_bytes()
)

_CONFIRM: Final = (
    SQL(
        "UPDATE media_object SET state = {deleted} WHERE media_id = ANY(%(media_ids)s) AND state = {deleting}"
    )
    .format(**_STATES)
    .as_bytes()
)


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
        rows = await fetch_all(self._pool, _DOOMED, {"limit": limit, "offer_again_after": OFFER_AGAIN_AFTER})
        return [msgspec.convert(row, MediaObject) for row in rows]

    async def confirm_deleted(self, media_ids: Collection[MediaId]) -> None:
        """Record that these files are gone."""
        await fetch_all(self._pool, _CONFIRM, {"media_ids": list(media_ids)}, repeatable=True)
