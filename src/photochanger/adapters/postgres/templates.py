"""The templates in PostgreSQL."""

from collections.abc import Collection, Mapping, Sequence
from typing import Final

import msgspec
from psycopg.sql import SQL

from photochanger.adapters.postgres.audit import audited, entry_parameters
from photochanger.adapters.postgres.errors import Violations
from photochanger.adapters.postgres.media_statements import ALL_ANNOUNCED, announced, condemn, store_images
from photochanger.adapters.postgres.pool import Pool, fetch_all, fetch_one
from photochanger.adapters.postgres.rows import TEMPLATE_COLUMNS, listed, stored_images, to_json
from photochanger.application.ports.configuration import TemplateRepository
from photochanger.domain.audit import AuditEntry
from photochanger.domain.errors import InternalError, TemplateInUse
from photochanger.domain.media import MediaKind, StoredImage
from photochanger.domain.slot import SlotId
from photochanger.domain.template import Template

_COLUMNS: Final = listed(TEMPLATE_COLUMNS, table="template")
_KINDS: Final = (MediaKind.TEMPLATE.value, MediaKind.PREVIEW.value)
_BOUND: Final[Violations] = {"slot_template_is_there": TemplateInUse}

_ADD: Final = (
    SQL("""
    WITH {announced}, added AS (
        INSERT INTO template (template_id, name, image, preview, created_at, created_by)
        SELECT
            %(template_id)s, %(name)s, %(image)s::jsonb, %(preview)s::jsonb,
            clock_timestamp(), coalesce(%(entry_actor)s, '')
        WHERE {all_announced}
        RETURNING {columns}
    ), {store}, {audited}
    SELECT * FROM added""")
    .format(
        announced=announced(
            only_if=SQL("kind = (%(kinds)s::text[])[array_position(%(media_ids)s::text[], media_id)]")
        ),
        all_announced=ALL_ANNOUNCED,
        columns=_COLUMNS,
        store=store_images(owner=SQL("added"), until=SQL("NULL")),
        audited=audited(SQL("added"), subject=SQL("%(template_id)s")),
    )
    .as_bytes()
)

_FIND: Final = (
    SQL("SELECT {} FROM template WHERE template_id = ANY(%(template_ids)s)").format(_COLUMNS).as_bytes()
)

_LIST: Final = (
    SQL("SELECT {} FROM template ORDER BY created_at DESC, template_id").format(_COLUMNS).as_bytes()
)

_USERS: Final = b"SELECT slot_id FROM slot_template WHERE template_id = %(template_id)s ORDER BY slot_id"

_REMOVE: Final = (
    SQL("""
    WITH removed AS (
        DELETE FROM template WHERE template_id = %(template_id)s
        RETURNING template_id, preview ->> 'media_id' AS preview_id
    ), {condemn}, {audited}
    SELECT template_id FROM removed""")
    .format(
        condemn=condemn(SQL("SELECT unnest(ARRAY[template_id, preview_id]) FROM removed")),
        audited=audited(SQL("removed")),
    )
    .as_bytes()
)
"""Locks the template, then looks whether a slot binds it: a foreign key sees what was bound while the
statement waited for its lock, and the statement itself would not."""


class PostgresTemplateRepository(TemplateRepository):
    """The templates as rows, each with its image as one JSON document."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def add(
        self, image: StoredImage, *, preview: StoredImage, name: str, entry: AuditEntry
    ) -> Template:
        """Mark the files as stored, make the record, and add `entry`."""
        parameters = {
            "template_id": image.media_id,
            "name": name,
            "image": to_json(image),
            "preview": to_json(preview),
            "kinds": list(_KINDS),
            **stored_images([image, preview]),
            **entry_parameters(entry),
        }
        row = await fetch_one(self._pool, _ADD, parameters)
        if row is None:
            raise InternalError("A file of the template was not announced, or its time has run out")
        return msgspec.convert(row, Template)

    async def find(self, template_ids: Collection[str]) -> Mapping[str, Template]:
        """Return those of the templates that there are, by their id."""
        rows = await fetch_all(self._pool, _FIND, {"template_ids": list(template_ids)}, repeatable=True)
        templates = [msgspec.convert(row, Template) for row in rows]
        return {template.template_id: template for template in templates}

    async def list(self) -> Sequence[Template]:
        """Return all templates, the newest first."""
        rows = await fetch_all(self._pool, _LIST, {}, repeatable=True)
        return [msgspec.convert(row, Template) for row in rows]

    async def users(self, template_id: str) -> Sequence[SlotId]:
        """Return the slots that bind the template, in the order of their ids."""
        rows = await fetch_all(self._pool, _USERS, {"template_id": template_id}, repeatable=True)
        return [SlotId(row["slot_id"]) for row in rows]

    async def remove(self, template_id: str, *, entry: AuditEntry) -> bool:
        """Delete the record, condemn the files and add `entry`, unless a slot binds the template.

        Where a slot did, and none does any more when it is to be named, the removal is tried again.
        """
        parameters = {"template_id": template_id, **entry_parameters(entry)}
        while True:
            try:
                return await fetch_one(self._pool, _REMOVE, parameters, violations=_BOUND) is not None
            except TemplateInUse:
                if slot_ids := await self.users(template_id):
                    raise TemplateInUse(slot_ids) from None
