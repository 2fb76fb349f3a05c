"""The fifteen slots in PostgreSQL."""

from collections.abc import Sequence
from dataclasses import fields
from typing import Final

import msgspec
from psycopg.sql import SQL

from photochanger.adapters.postgres.pool import Pool, fetch_all, fetch_one
from photochanger.adapters.postgres.rows import listed, to_json
from photochanger.adapters.postgres.signals import notify
from photochanger.application.ports.signals import Topic
from photochanger.application.ports.storage import SlotRepository
from photochanger.application.signal_hub import SignalHub
from photochanger.domain.errors import SlotNotFound, VersionConflict
from photochanger.domain.slot import Slot, SlotId

_COLUMNS: Final = listed([field.name for field in fields(Slot)], table="slot")
_LIST: Final = SQL("SELECT {} FROM slot ORDER BY slot_id").format(_COLUMNS).as_bytes()
_GET: Final = SQL("SELECT {} FROM slot WHERE slot_id = %(slot_id)s").format(_COLUMNS).as_bytes()

_SAVE: Final = (
    SQL("""
    WITH saved AS (
        UPDATE slot SET
            configuration = %(configuration)s::jsonb,
            ingest_password_hash = %(ingest_password_hash)s,
            version = version + 1,
            updated_at = clock_timestamp(),
            updated_by = %(changed_by)s
        WHERE slot_id = %(slot_id)s AND version = %(version)s
        RETURNING {columns}
    )
    SELECT *, {notify} FROM saved""")
    .format(columns=_COLUMNS, notify=notify(Topic.CONFIGURATION_CHANGED, SQL("''")))
    .as_bytes()
)


class PostgresSlotRepository(SlotRepository):
    """The slots as rows, each with its configuration as one JSON document."""

    def __init__(self, pool: Pool, hub: SignalHub) -> None:
        self._pool = pool
        self._hub = hub

    async def get(self, slot_id: SlotId) -> Slot:
        """Return the slot. Raises `SlotNotFound`."""
        row = await fetch_one(self._pool, _GET, {"slot_id": slot_id}, repeatable=True)
        if row is None:
            raise SlotNotFound
        return msgspec.convert(row, Slot)

    async def list(self) -> Sequence[Slot]:
        """Return all slots, in the order of their ids."""
        return [msgspec.convert(row, Slot) for row in await fetch_all(self._pool, _LIST, {}, repeatable=True)]

    async def save(self, slot: Slot, *, changed_by: str) -> Slot:
        """Store the slot if its version is still the stored one."""
        parameters = {
            "slot_id": slot.slot_id,
            "configuration": to_json(slot.configuration),
            "ingest_password_hash": slot.ingest_password_hash,
            "version": slot.version,
            "changed_by": changed_by,
        }
        row = await fetch_one(self._pool, _SAVE, parameters)
        if row is None:
            await self.get(slot.slot_id)
            raise VersionConflict
        self._hub.announce(Topic.CONFIGURATION_CHANGED)
        return msgspec.convert(row, Slot)
