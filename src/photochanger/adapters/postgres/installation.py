"""The installation's id, and whether it has marked media, in PostgreSQL."""

from typing import Final

from psycopg.rows import DictRow

from photochanger.adapters.postgres.pool import Pool, fetch_all, fetch_one
from photochanger.application.ports.media import Installation
from photochanger.domain.errors import InternalError

_GET: Final = b"SELECT installation_id, media_marked_at FROM installation"
_MARKED: Final = b"UPDATE installation SET media_marked_at = now()"


class PostgresInstallation(Installation):
    """One row, which the migration has made."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def get_id(self) -> str:
        """Return the id."""
        return str((await self._row())["installation_id"])

    async def has_marked_media(self) -> bool:
        """Return whether a media store was ever marked."""
        return (await self._row())["media_marked_at"] is not None

    async def media_marked(self) -> None:
        """Remember that one was marked."""
        await fetch_all(self._pool, _MARKED, {}, repeatable=True)

    async def _row(self) -> DictRow:
        row = await fetch_one(self._pool, _GET, {}, repeatable=True)
        if row is None:
            raise InternalError("The installation's id is missing from the database")
        return row
