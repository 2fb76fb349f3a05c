"""The audit log in PostgreSQL."""

from collections.abc import Collection, Mapping, Sequence
from typing import Final

from psycopg.rows import DictRow
from psycopg.sql import SQL, Composable, Composed

from photochanger.adapters.postgres.pool import Pool, fetch_all
from photochanger.adapters.postgres.rows import to_json
from photochanger.application.ports.administration import AuditFilter, AuditLog
from photochanger.domain.audit import Actor, AuditAction, AuditEntry, AuditEvent, Change

_SUBJECT: Final = SQL("%(entry_subject)s")


def audited(source: Composable, *, subject: Composable = _SUBJECT) -> Composed:
    """Return the common table expression that adds the statement's entry, once for every row of `source`.

    So a change and its entry are written together or not at all. `entry_parameters` are the entry's.
    """
    return SQL("""
    audited AS (
        INSERT INTO audit_event (action, actor, origin, subject, changes)
        SELECT %(entry_action)s, %(entry_actor)s, %(entry_origin)s, {subject}, %(entry_changes)s::jsonb
        FROM {source}
    )""").format(source=source, subject=subject)


def entry_parameters(entry: AuditEntry) -> dict[str, object]:
    """Return an entry as the parameters of a statement with `audited`."""
    return {
        "entry_action": entry.action.value,
        "entry_actor": entry.actor.name,
        "entry_origin": entry.actor.origin,
        "entry_subject": entry.subject,
        "entry_changes": to_json(entry.changes),
    }


_ADD: Final = SQL("WITH {} SELECT").format(audited(SQL("(SELECT) AS once"))).as_bytes()

_CONDITIONS: Final[Mapping[str, SQL]] = {
    "action": SQL("action = %(action)s"),
    "actor": SQL("actor = %(actor)s"),
    "subject": SQL("subject = %(subject)s"),
    "since": SQL("at >= %(since)s"),
    "until": SQL("at < %(until)s"),
    "before": SQL("event_id < %(before)s"),
}


class PostgresAuditLog(AuditLog):
    """The log as rows that a trigger keeps from being changed."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def add(self, entry: AuditEntry) -> None:
        """Add an entry, at the store's time."""
        await fetch_all(self._pool, _ADD, entry_parameters(entry))

    async def page(self, wanted: AuditFilter, *, limit: int) -> Sequence[AuditEvent]:
        """Return up to `limit` events, the newest first."""
        given = {name: value for name in _CONDITIONS if (value := getattr(wanted, name)) is not None}
        rows = await fetch_all(
            self._pool, _page(given), {**given, "limit": limit}, repeatable=True, slow=True
        )
        return [_event_from(row) for row in rows]


def _page(names: Collection[str]) -> bytes:
    """Return the statement with these conditions and no others, so that its plan can use their indexes."""
    conditions = SQL(" AND ").join(_CONDITIONS[name] for name in names)
    where = SQL("WHERE {}").format(conditions) if names else SQL("")
    statement = SQL("SELECT * FROM audit_event {} ORDER BY event_id DESC LIMIT %(limit)s")
    return statement.format(where).as_bytes()


def _event_from(row: DictRow) -> AuditEvent:
    entry = AuditEntry(
        action=AuditAction(row["action"]),
        actor=Actor(name=row["actor"], origin=row["origin"]),
        subject=row["subject"],
        changes={path: Change(**change) for path, change in row["changes"].items()},
    )
    return AuditEvent(event_id=row["event_id"], at=row["at"], entry=entry)
