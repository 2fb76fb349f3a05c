"""The installation's id in PostgreSQL."""

from typing import Final

from photochanger.adapters.postgres.pool import Pool, fetch_one
from photochanger.application.ports.storage import Installation
from photochanger.domain.errors import InternalError

_GET: Final = b"SELECT installation_id FROM installation"


class PostgresInstallation(Installation):
    """The id as one row, which the migration has made."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def get_id(self) -> str:
        """Return the id."""
        row = await fetch_one(self._pool, _GET, {}, repeatable=True)
        if row is None:
            raise InternalError("The installation's id is missing from the database")
        return str(row["installation_id"])
