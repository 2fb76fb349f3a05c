"""Sessions in PostgreSQL."""

from typing import Final

from psycopg.sql import SQL

from photochanger.adapters.postgres.audit import audited, entry_parameters
from photochanger.adapters.postgres.pool import Pool, fetch_all, fetch_one
from photochanger.application.ports.administration import SessionRepository
from photochanger.domain.account import Session, SessionId
from photochanger.domain.audit import AuditEntry

_OPEN: Final = (
    SQL("""
    WITH opened AS (
        INSERT INTO session (session_id, username, created_at, expires_at)
        VALUES (%(session_id)s, %(username)s, %(created_at)s, %(expires_at)s)
        RETURNING session_id
    ), ended AS MATERIALIZED (
        SELECT session_id FROM session WHERE expires_at <= now()
        ORDER BY expires_at LIMIT 10 FOR UPDATE SKIP LOCKED
    ), removed AS (
        DELETE FROM session USING ended WHERE session.session_id = ended.session_id
    ), {audited}
    SELECT""")
    .format(audited=audited(SQL("opened")))
    .as_bytes()
)
"""Each new session takes some away that have ended, so that they never pile up."""

_IS_OPEN: Final = b"""
    SELECT FROM session WHERE session_id = %(session_id)s AND expires_at > clock_timestamp()"""

_CLOSE: Final = (
    SQL("""
    WITH closed AS (
        DELETE FROM session WHERE session_id = %(session_id)s AND expires_at > clock_timestamp()
        RETURNING session_id
    ), {audited}
    SELECT FROM closed""")
    .format(audited=audited(SQL("closed")))
    .as_bytes()
)

_CLOSE_ALL: Final = (
    SQL("""
    WITH locked AS MATERIALIZED (
        SELECT session_id FROM session WHERE username = %(username)s ORDER BY session_id FOR UPDATE
    ), closed AS (
        DELETE FROM session USING locked WHERE session.session_id = locked.session_id
        RETURNING expires_at > clock_timestamp() AS was_open
    ), {audited}
    SELECT count(*) FILTER (WHERE was_open) AS were_open FROM closed""")
    .format(audited=audited(SQL("(SELECT) AS once")))
    .as_bytes()
)


class PostgresSessionRepository(SessionRepository):
    """A row for each session; one that is closed has none."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def open(self, session: Session, *, entry: AuditEntry) -> None:
        """Record the session and add `entry`."""
        parameters = {
            "session_id": session.session_id,
            "username": session.username,
            "created_at": session.created_at,
            "expires_at": session.expires_at,
        }
        await fetch_all(self._pool, _OPEN, parameters | entry_parameters(entry))

    async def is_open(self, session_id: SessionId) -> bool:
        """Say whether the session is open."""
        parameters = {"session_id": session_id}
        return await fetch_one(self._pool, _IS_OPEN, parameters, repeatable=True) is not None

    async def close(self, session_id: SessionId, *, entry: AuditEntry) -> bool:
        """End the session, and add `entry`; False where it is not open."""
        parameters = {"session_id": session_id} | entry_parameters(entry)
        return await fetch_one(self._pool, _CLOSE, parameters) is not None

    async def close_all(self, username: str, *, entry: AuditEntry) -> int:
        """End all sessions of an account and add `entry`; return how many there were."""
        parameters = {"username": username} | entry_parameters(entry)
        row = await fetch_one(self._pool, _CLOSE_ALL, parameters)
        return 0 if row is None else int(row["were_open"])
