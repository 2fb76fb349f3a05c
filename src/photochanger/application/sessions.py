"""What becomes of a login: the session is recognised by its token, and ended."""

import hmac

from photochanger.application.ports.administration import AccessTokens, AccountRepository, SessionRepository
from photochanger.application.ports.clock import Clock
from photochanger.domain.account import Principal
from photochanger.domain.audit import Actor, AuditAction, AuditEntry
from photochanger.domain.errors import NotAuthenticated


class Authenticate:
    """Recognises whoever shows a token.

    Token, account and session are looked at anew every time: a logout, another password, other permissions
    or the removal of the account count from the next request on, in every process.
    """

    def __init__(
        self, *, tokens: AccessTokens, accounts: AccountRepository, sessions: SessionRepository, clock: Clock
    ) -> None:
        self._tokens = tokens
        self._accounts = accounts
        self._sessions = sessions
        self._clock = clock

    async def __call__(self, token: str) -> Principal:
        """Return who it is, with the permissions that the account has now.

        Raises `TokenExpired` for a token whose time is over, else `NotAuthenticated`.
        """
        claims = self._tokens.read(token, now=self._clock.now())
        account = await self._accounts.get(claims.username)
        if account is None or not hmac.compare_digest(account.fingerprint, claims.fingerprint):
            raise NotAuthenticated
        if not await self._sessions.is_open(claims.session_id):
            raise NotAuthenticated
        return Principal(
            username=account.username,
            permissions=account.permissions,
            session_id=claims.session_id,
            expires_at=claims.expires_at,
        )


class LogOut:
    """Ends the session of whoever asks for it."""

    def __init__(self, sessions: SessionRepository) -> None:
        self._sessions = sessions

    async def __call__(self, principal: Principal, *, address: str) -> None:
        """End the session, for every process at once; harmless where that has happened already."""
        entry = AuditEntry(
            action=AuditAction.LOGGED_OUT,
            actor=Actor(name=principal.username, origin=address),
            subject=principal.username,
        )
        await self._sessions.close(principal.session_id, entry=entry)


class CloseSessions:
    """Ends all sessions of an account: for a lost phone, or somebody who has left."""

    def __init__(self, sessions: SessionRepository) -> None:
        self._sessions = sessions

    async def __call__(self, username: str, *, actor: Actor) -> int:
        """End them, for every process at once, and return how many there were."""
        entry = AuditEntry(action=AuditAction.SESSIONS_CLOSED, actor=actor, subject=username)
        return await self._sessions.close_all(username, entry=entry)
