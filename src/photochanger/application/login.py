"""Logging in: slow for whoever guesses, and telling nothing about which accounts there are."""

import asyncio
import secrets
from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from photochanger.application.identifiers import new_session_id
from photochanger.application.ports.administration import (
    AccessTokens,
    AccountRepository,
    AuditLog,
    LoginThrottle,
    SessionRepository,
    TokenClaims,
)
from photochanger.application.ports.auth import PasswordHasher
from photochanger.application.ports.clock import Clock
from photochanger.domain.account import (
    MAX_ACCOUNT_PASSWORD,
    SESSION_LIFETIME,
    Account,
    Principal,
    Session,
    account_key,
    normalized_username,
    throttle_keys,
)
from photochanger.domain.audit import Actor, AuditAction, AuditEntry
from photochanger.domain.errors import InvalidCredentials, TooManyAttempts

ANSWER_AFTER_SEC = 0.25
"""How long after its arrival a login is refused at the earliest: longer than all there is to do, so that the
time tells nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggedIn:
    """A login that succeeded: the token to show with every request, and for how long it is good."""

    token: str = field(repr=False)
    principal: Principal
    expires_in_sec: int


class LogIn:
    """Opens a session for whoever knows an account's password.

    No more passwords are verified than the throttle lets in. Unknown accounts, wrong passwords and throttled
    attempts are refused after the same time, and the first two alike in everything; `on_refused` is called
    for each. Where the database or the accounts cannot be read, nobody is let in.
    """

    def __init__(
        self,
        *,
        accounts: AccountRepository,
        hasher: PasswordHasher,
        tokens: AccessTokens,
        sessions: SessionRepository,
        throttle: LoginThrottle,
        audit: AuditLog,
        clock: Clock,
        on_refused: Callable[[], None],
        answer_after_sec: float = ANSWER_AFTER_SEC,
    ) -> None:
        self._accounts = accounts
        self._hasher = hasher
        self._tokens = tokens
        self._sessions = sessions
        self._throttle = throttle
        self._audit = audit
        self._clock = clock
        self._on_refused = on_refused
        self._answer_after_sec = answer_after_sec
        self._making_decoy = asyncio.Lock()
        self._decoy: str | None = None

    async def __call__(self, username: str, password: str, *, address: str) -> LoggedIn:
        """Return the token of a new session. Raises `InvalidCredentials` and `TooManyAttempts`.

        `address` is the client's. An attempt that is cancelled counts like one that has failed.
        """
        refused_at = self._clock.monotonic() + self._answer_after_sec
        try:
            return await self._log_in(normalized_username(username), password, address)
        except (InvalidCredentials, TooManyAttempts):
            self._on_refused()
            await asyncio.sleep(max(0.0, refused_at - self._clock.monotonic()))
            raise

    async def _log_in(self, username: str, password: str, address: str) -> LoggedIn:
        account = await self._accounts.get(username)  # first: accounts that cannot be read block nobody
        keys = throttle_keys(username, address)
        wait_sec = await self._throttle.admit(keys)
        if wait_sec is not None:
            raise TooManyAttempts(retry_after_sec=wait_sec)
        is_right = await self._is_right(password, account)
        if account is None or not is_right:
            await self._record_failure(account, keys, address)
            raise InvalidCredentials
        await self._throttle.succeeded(keys, forgiven=account_key(username))
        return await self._open_session(account, address)

    async def _is_right(self, password: str, account: Account | None) -> bool:
        """Verify the password, whether or not there is one to compare it with."""
        decoy = await self._decoy_hash()
        stored = account.password_hash if account else decoy
        matches = await self._hasher.verify(password[:MAX_ACCOUNT_PASSWORD], stored)
        return matches and account is not None and len(password) <= MAX_ACCOUNT_PASSWORD

    async def _decoy_hash(self) -> str:
        """Return a hash, as costly as those of accounts, of a password that nobody knows."""
        async with self._making_decoy:
            if self._decoy is None:
                self._decoy = await self._hasher.hash(secrets.token_urlsafe())
            return self._decoy

    async def _record_failure(self, account: Account | None, keys: Collection[str], address: str) -> None:
        has_blocked = await self._throttle.failed(keys)
        # A name that is no account's may be a password that was typed into the wrong field.
        name = account.username if account else None
        entry = AuditEntry(
            action=AuditAction.LOGIN_BLOCKED if has_blocked else AuditAction.LOGIN_FAILED,
            actor=Actor(name=name, origin=address),
            subject=name or "",
        )
        await self._audit.add(entry)

    async def _open_session(self, account: Account, address: str) -> LoggedIn:
        now = self._clock.now().replace(microsecond=0)  # a token's times are whole seconds
        session = Session(
            session_id=new_session_id(),
            username=account.username,
            created_at=now,
            expires_at=now + SESSION_LIFETIME,
        )
        entry = AuditEntry(
            action=AuditAction.LOGIN_SUCCEEDED,
            actor=Actor(name=account.username, origin=address),
            subject=account.username,
        )
        await self._sessions.open(session, entry=entry)
        return LoggedIn(
            token=self._tokens.issue(_claims(session, account)),
            principal=Principal(
                username=account.username,
                permissions=account.permissions,
                session_id=session.session_id,
                expires_at=session.expires_at,
            ),
            expires_in_sec=int((session.expires_at - self._clock.now()).total_seconds()),
        )


def _claims(session: Session, account: Account) -> TokenClaims:
    return TokenClaims(
        username=account.username,
        session_id=session.session_id,
        fingerprint=account.fingerprint,
        permissions=account.permissions,
        issued_at=session.created_at,
        expires_at=session.expires_at,
    )
