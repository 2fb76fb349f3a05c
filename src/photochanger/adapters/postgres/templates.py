"""The templates in PostgreSQL."""

from collections.abc import Collection, Mapping, Sequence
from typing import Final

import msgspec
from psycopg.sql import SQL, Literal

from photochanger.adapters.postgres.pool import Pool, fetch_all, fetch_one
from photochanger.adapters.postgres.rows import DESCRIBED, TEMPLATE_COLUMNS, described, listed, to_json
from photochanger.application.ports.storage import TemplateRepository
from photochanger.domain.errors import InternalError
from photochanger.domain.media import MediaKind, MediaState, StoredImage
from photochanger.domain.template import Template

_STATES: Final = {state.value: Literal(state.value) for state in MediaState}
_COLUMNS: Final = listed(TEMPLATE_COLUMNS, table="template")

_ADD: Final = (
    SQL("""
    WITH stored AS (
        UPDATE media_object SET state = {stored}, expires_at = NULL, offer_at = NULL, {described}
        WHERE media_id = %(media_id)s AND kind = {template} AND state = {pending}
        RETURNING media_id
    )
    INSERT INTO template (template_id, name, image, created_at, created_by)
    SELECT media_id, %(name)s, %(image)s::jsonb, clock_timestamp(), %(created_by)s FROM stored
    RETURNING {columns}""")
    .format(columns=_COLUMNS, described=DESCRIBED, template=Literal(MediaKind.TEMPLATE.value), **_STATES)
    .as_bytes()
)

_FIND: Final = (
    SQL("SELECT {} FROM template WHERE template_id = ANY(%(template_ids)s)").format(_COLUMNS).as_bytes()
)

_LIST: Final = (
    SQL("SELECT {} FROM template ORDER BY created_at DESC, template_id").format(_COLUMNS).as_bytes()
)

_REMOVE: Final = (
    SQL("""
    WITH removed AS (
        DELETE FROM template WHERE template_id = %(template_id)s RETURNING template_id
    ), condemned AS (
        UPDATE media_object SET state = {deleting}, offer_at = least(offer_at, clock_timestamp())
        FROM removed WHERE media_id = %(template_id)s AND state IN ({pending}, {stored})
    )
    SELECT template_id FROM removed""")
    .format(**_STATES)
    .as_bytes()
)


class PostgresTemplateRepository(TemplateRepository):
    """The templates as rows, each with its image as one JSON document."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def add(self, image: StoredImage, *, name: str, created_by: str) -> Template:
        """Mark the file as stored and make its record."""
        parameters = {
            "name": name,
            "image": to_json(image),
            "created_by": created_by,
            **described(image),
        }
        row = await fetch_one(self._pool, _ADD, parameters)
        if row is None:
            raise InternalError("The template's file was not announced, or its time has run out")
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

    async def remove(self, template_id: str) -> bool:
        """Delete the record and condemn the file."""
        return await fetch_one(self._pool, _REMOVE, {"template_id": template_id}) is not None
