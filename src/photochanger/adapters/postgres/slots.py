"""The fifteen slots in PostgreSQL."""

from collections.abc import Sequence
from dataclasses import fields
from typing import Final

import msgspec
from psycopg.sql import SQL

from photochanger.adapters.postgres.audit import audited, entry_parameters
from photochanger.adapters.postgres.pool import Pool, fetch_all, fetch_one
from photochanger.adapters.postgres.rows import listed, to_json
from photochanger.adapters.postgres.signals import notify
from photochanger.application.ports.configuration import SlotRepository
from photochanger.application.ports.signals import Topic
from photochanger.application.signal_hub import SignalHub
from photochanger.domain.audit import AuditEntry
from photochanger.domain.errors import SlotNotFound, TemplateNotFound, VersionConflict
from photochanger.domain.slot import Slot, SlotId

_COLUMNS: Final = listed([field.name for field in fields(Slot)], table="slot")
_LIST: Final = SQL("SELECT {} FROM slot ORDER BY slot_id").format(_COLUMNS).as_bytes()
_GET: Final = SQL("SELECT {} FROM slot WHERE slot_id = %(slot_id)s").format(_COLUMNS).as_bytes()

_SAVE: Final = (
    SQL("""
    WITH bound AS MATERIALIZED (
        SELECT template_id FROM template WHERE template_id = ANY(%(template_ids)s::text[])
        ORDER BY template_id FOR KEY SHARE
    ), saved AS (
        UPDATE slot SET
            configuration = %(configuration)s::jsonb,
            ingest_password_hash = %(ingest_password_hash)s,
            version = version + 1,
            updated_at = clock_timestamp(),
            updated_by = %(entry_actor)s
        WHERE slot_id = %(slot_id)s AND version = %(version)s
            AND (SELECT count(*) FROM bound) = cardinality(%(template_ids)s::text[])
        RETURNING {columns}
    ), unbound AS (
        DELETE FROM slot_template USING saved
        WHERE slot_template.slot_id = saved.slot_id AND template_id <> ALL(%(template_ids)s::text[])
    ), newly_bound AS (
        INSERT INTO slot_template (slot_id, template_id) SELECT slot_id, template_id FROM saved, bound
        ON CONFLICT DO NOTHING
    ), {audited}
    SELECT *, {notify} FROM saved""")
    .format(
        columns=_COLUMNS,
        audited=audited(SQL("saved")),
        notify=notify(Topic.CONFIGURATION_CHANGED, SQL("''")),
    )
    .as_bytes()
)
"""Locks first the templates, then the slot. Whoever removes one of the templates at the same time waits, and
then finds it bound; or was faster, and it is not among those that are counted."""


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

    async def save(self, slot: Slot, *, entry: AuditEntry) -> Slot:
        """Store the slot if its version is still the stored one, and add `entry`."""
        parameters = {
            "slot_id": slot.slot_id,
            "configuration": to_json(slot.configuration),
            "ingest_password_hash": slot.ingest_password_hash,
            "version": slot.version,
            "template_ids": sorted(slot.configuration.template_ids),
            **entry_parameters(entry),
        }
        row = await fetch_one(self._pool, _SAVE, parameters)
        if row is None:
            stored = await self.get(slot.slot_id)
            raise TemplateNotFound if stored.version == slot.version else VersionConflict
        self._hub.announce(Topic.CONFIGURATION_CHANGED)
        return msgspec.convert(row, Slot)
