"""The ports to what only administrators see: accounts, sessions, the audit log, lists and counts of jobs."""

from abc import abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from photochanger.domain.account import Account, Session, SessionId
from photochanger.domain.audit import AuditAction, AuditEntry, AuditEvent
from photochanger.domain.job import Job, JobId, JobSource, JobState
from photochanger.domain.slot import SlotId
from photochanger.domain.statistics import Period, Present, SlotTallies, Tally


class AccountRepository(Protocol):
    """The accounts. User names are given and kept in their normal form.

    Every method sees the accounts as they are now, also where another process has changed them. Raises
    `StorageUnavailable` where they cannot be read, or could be read by others than their owner: then nobody
    logs in, rather than somebody who must not.
    """

    @abstractmethod
    async def get(self, username: str) -> Account | None:
        """Return the account, or None where there is none."""

    @abstractmethod
    async def list(self) -> Sequence[Account]:
        """Return all accounts, in the order of their names."""

    @abstractmethod
    async def put(self, account: Account) -> bool:
        """Add the account, or put it in the place of the one of this name; say whether there was one.

        Of concurrent changes none is lost.
        """

    @abstractmethod
    async def remove(self, username: str) -> bool:
        """Remove the account; False where there is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenClaims:
    """What a token says: whose session it is of, and how long it is good.

    `fingerprint` is the account's (`Account.fingerprint`) at the time of the login. `permissions` tell the
    token's holder what they may do; what counts is the account.
    """

    username: str
    session_id: SessionId
    fingerprint: str
    permissions: Collection[str]
    issued_at: datetime
    expires_at: datetime


class AccessTokens(Protocol):
    """Makes tokens that nobody else can make, and reads them. Times are kept to the second."""

    @abstractmethod
    def issue(self, claims: TokenClaims) -> str:
        """Return a token that says so, in characters that a header may hold."""

    @abstractmethod
    def read(self, token: str, *, now: datetime) -> TokenClaims:
        """Return what a token of ours says, at most one that a key before the present one has made.

        Raises `TokenExpired` for one whose time is over at `now`, and `NotAuthenticated` for whatever is not
        exactly a token as `issue` makes them: another algorithm, issuer, audience or type, a missing or
        additional header, a life longer than `SESSION_LIFETIME`, an `issued_at` more than a minute ahead, a
        changed byte, any length and any nonsense.
        """


class SessionRepository(Protocol):
    """The sessions that have been opened and not closed."""

    @abstractmethod
    async def open(self, session: Session, *, entry: AuditEntry) -> None:
        """Record the session and add `entry` to the audit log, both or neither."""

    @abstractmethod
    async def is_open(self, session_id: SessionId) -> bool:
        """Say whether the session was opened, has not been closed, and its end has not come."""

    @abstractmethod
    async def close(self, session_id: SessionId, *, entry: AuditEntry) -> bool:
        """End the session for every process at once, and add `entry`.

        False, and no entry, where it is not open.
        """

    @abstractmethod
    async def close_all(self, username: str, *, entry: AuditEntry) -> int:
        """End all sessions of an account and add `entry`; return how many there were, perhaps none."""


class LoginThrottle(Protocol):
    """Counts logins by keys (`photochanger.domain.account.throttle_keys`), for all processes together.

    An attempt counts from the moment it is let in, so that no number of parallel attempts is more than
    `LOGIN_ATTEMPTS`; it counts until `LOGIN_BLOCK` after the last one of its key was let in, unless it
    succeeds.
    """

    @abstractmethod
    async def admit(self, keys: Collection[str]) -> float | None:
        """Count one attempt for every key, and return None.

        Where one of the keys has `LOGIN_ATTEMPTS` already, nothing is counted, and the seconds are returned
        after which to try again: one where some of them may still succeed (`LOGIN_DECISION`), else until the
        end of the block; where several keys are full, the longest of these.
        """

    @abstractmethod
    async def failed(self, keys: Collection[str]) -> bool:
        """Record that an attempt that was let in has failed; say whether that has blocked one of the keys.

        Of concurrent callers, one is told so.
        """

    @abstractmethod
    async def succeeded(self, keys: Collection[str], *, forgiven: str) -> None:
        """Take an attempt that was let in off every key; forget the failures of the key `forgiven`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditFilter:
    """Which events of the log; None for any. `before` is an event's id: those with a smaller one follow."""

    action: AuditAction | None = None
    actor: str | None = None
    subject: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    before: int | None = None


class AuditLog(Protocol):
    """The log that is only ever added to. Changes of records add their own entries (`AuditEntry`)."""

    @abstractmethod
    async def add(self, entry: AuditEntry) -> None:
        """Add an entry, at the store's time."""

    @abstractmethod
    async def page(self, wanted: AuditFilter, *, limit: int) -> Sequence[AuditEvent]:
        """Return up to `limit` events, the newest first. `since` is included, and `until` is not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobCursor:
    """A place in the list of jobs: the last one that was seen."""

    created_at: datetime
    job_id: JobId


@dataclass(frozen=True, slots=True, kw_only=True)
class JobFilter:
    """Which jobs; None for any. `since` (included) and `until` (not) are of `created_at`."""

    slot_id: SlotId | None = None
    states: Collection[JobState] | None = None
    source: JobSource | None = None
    since: datetime | None = None
    until: datetime | None = None


class JobHistory(Protocol):
    """Jobs in the order of their submission, the newest first; ties in the order of their ids, backwards."""

    @abstractmethod
    async def page(self, wanted: JobFilter, *, limit: int, after: JobCursor | None = None) -> Sequence[Job]:
        """Return up to `limit` jobs that follow the cursor. Takes no longer for a million of old ones."""

    @abstractmethod
    async def latest(
        self, source: JobSource, states: Collection[JobState] | None = None
    ) -> Mapping[SlotId, Job]:
        """Return the newest job of each slot, of those from `source` and in `states`.

        Slots without such a job are left out. Takes no longer for a million of old ones.
        """

    @abstractmethod
    async def with_results(self, slot_id: SlotId, *, limit: int) -> Sequence[Job]:
        """Return up to `limit` of the slot's jobs whose result has not expired, the newest result first.

        What is newest is told by `finalized_at`; ties come in the order of their ids, backwards.
        """


class Statistics(Protocol):
    """Counts of booths' jobs that have become final; jobs of tests are left out."""

    @abstractmethod
    async def tallies(self, period: Period) -> SlotTallies:
        """Return the tallies of the period by slot and bucket, by `finalized_at`.

        Where the period does not begin and end with a bucket, its first and its last hold what is inside the
        period. Takes no longer for a million of old jobs.
        """

    @abstractmethod
    async def series(self, period: Period) -> Mapping[datetime, Tally]:
        """Return the same for all slots together."""

    @abstractmethod
    async def present(self) -> Present:
        """Return what is going on now, tests included. Where nothing waits, the oldest wait is nought."""

    @abstractmethod
    async def roll_up(self, *, limit: int) -> int:
        """Add up the jobs of hours that have been over for `SETTLED_AFTER`, so that they are not read again.

        Returns how many hours were added up, at most `limit`, and nought where none are left; the first is
        that of the first job that is not added up. Harmless at any time, in any number of processes at once.
        No figure changes by it.
        """
