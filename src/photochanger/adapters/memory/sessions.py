"""Sessions in memory."""

from photochanger.adapters.memory.records import MemoryRecords
from photochanger.application.ports.administration import SessionRepository
from photochanger.domain.account import Session, SessionId
from photochanger.domain.audit import AuditEntry


class MemorySessionRepository(SessionRepository):
    """The open sessions, in a dictionary."""

    def __init__(self, records: MemoryRecords) -> None:
        self._records = records

    async def open(self, session: Session, *, entry: AuditEntry) -> None:
        """Record the session and add `entry`."""
        self._remove_ended()
        self._records.sessions[session.session_id] = session
        self._records.log(entry)

    async def is_open(self, session_id: SessionId) -> bool:
        """Say whether the session is open."""
        session = self._records.sessions.get(session_id)
        return session is not None and self._records.clock.now() < session.expires_at

    async def close(self, session_id: SessionId, *, entry: AuditEntry) -> bool:
        """End the session, and add `entry`; False where it is not open."""
        self._remove_ended()
        if self._records.sessions.pop(session_id, None) is None:
            return False
        self._records.log(entry)
        return True

    async def close_all(self, username: str, *, entry: AuditEntry) -> int:
        """End all sessions of an account and add `entry`; return how many there were."""
        self._remove_ended()
        sessions = self._records.sessions
        closed = [session.session_id for session in sessions.values() if session.username == username]
        for session_id in closed:
            del sessions[session_id]
        self._records.log(entry)
        return len(closed)

    def _remove_ended(self) -> None:
        now, sessions = self._records.clock.now(), self._records.sessions
        for session in [session for session in sessions.values() if session.expires_at <= now]:
            del sessions[session.session_id]
