"""The settings document in PostgreSQL."""

from typing import Final

import msgspec
from psycopg.rows import DictRow
from psycopg.sql import SQL

from photochanger.adapters.postgres.audit import audited, entry_parameters
from photochanger.adapters.postgres.pool import Pool, fetch_one
from photochanger.adapters.postgres.rows import to_json
from photochanger.adapters.postgres.signals import notify
from photochanger.application.ports.configuration import SettingsRepository
from photochanger.application.ports.signals import Topic
from photochanger.application.signal_hub import SignalHub
from photochanger.domain.audit import AuditEntry
from photochanger.domain.errors import InternalError, VersionConflict
from photochanger.domain.settings import Settings

_OWN_COLUMNS: Final = ("version", "updated_at", "updated_by")
_GET: Final = b"SELECT document, version, updated_at, updated_by FROM setting"

_SAVE: Final = (
    SQL("""
    WITH saved AS (
        UPDATE setting SET
            document = %(document)s::jsonb,
            version = version + 1,
            updated_at = clock_timestamp(),
            updated_by = %(entry_actor)s
        WHERE version = %(version)s
        RETURNING document, version, updated_at, updated_by
    ), {audited}
    SELECT *, {notify} FROM saved""")
    .format(audited=audited(SQL("saved")), notify=notify(Topic.CONFIGURATION_CHANGED, SQL("''")))
    .as_bytes()
)


class PostgresSettingsRepository(SettingsRepository):
    """The settings as one row; an empty document holds the defaults."""

    def __init__(self, pool: Pool, hub: SignalHub) -> None:
        self._pool = pool
        self._hub = hub

    async def get(self) -> Settings:
        """Return the settings."""
        row = await fetch_one(self._pool, _GET, {}, repeatable=True)
        if row is None:
            raise InternalError("The settings are missing from the database")
        return _settings_from(row)

    async def save(self, settings: Settings, *, entry: AuditEntry) -> Settings:
        """Store the settings if their version is still the stored one, and add `entry`."""
        document = {
            name: value for name, value in msgspec.to_builtins(settings).items() if name not in _OWN_COLUMNS
        }
        parameters = {
            "document": to_json(document),
            "version": settings.version,
            **entry_parameters(entry),
        }
        row = await fetch_one(self._pool, _SAVE, parameters)
        if row is None:
            raise VersionConflict
        self._hub.announce(Topic.CONFIGURATION_CHANGED)
        return _settings_from(row)


def _settings_from(row: DictRow) -> Settings:
    own = {name: row[name] for name in _OWN_COLUMNS}
    return msgspec.convert({**row["document"], **own}, Settings)
