"""Logging in, and what becomes of it: who is let in, what is counted and logged, and how long it takes."""

import asyncio
import statistics
from collections.abc import Callable, Coroutine
from dataclasses import replace
from datetime import timedelta
from typing import Any, Final

import pytest

from photochanger.adapters.jwt_tokens import JwtAccessTokens
from photochanger.adapters.memory import (
    FastPasswordHasherForTests,
    MemoryAccountRepository,
    MemoryAuditLog,
    MemoryLoginThrottle,
    MemoryRecords,
    MemorySessionRepository,
)
from photochanger.application.login import ANSWER_AFTER_SEC, LoggedIn, LogIn
from photochanger.application.ports import PasswordHasher
from photochanger.application.sessions import Authenticate, CloseSessions, LogOut
from photochanger.application.signal_hub import SignalHub
from photochanger.domain.account import (
    LOGIN_ATTEMPTS,
    LOGIN_BLOCK,
    MAX_ACCOUNT_PASSWORD,
    SESSION_LIFETIME,
    Account,
)
from photochanger.domain.audit import COMMAND_LINE, Actor, AuditAction
from photochanger.domain.errors import (
    DatabaseUnavailable,
    InvalidCredentials,
    NotAuthenticated,
    StorageUnavailable,
    TokenExpired,
    TooManyAttempts,
)
from photochanger.domain.permissions import Permission
from tests.unit.application.virtual_time import VirtualClock, run

PASSWORD: Final = "canary-горячий-шоколад"
WRONG: Final = "canary-wrong"
ADDRESS: Final = "203.0.113.7"
KEY: Final = "vN2sQ8xR5tYw1ZkC7bLm4HfJ6dGp9aEu"

_Scenario = Callable[["Office"], Coroutine[Any, Any, None]]


class SlowHasher(PasswordHasher):
    """Takes as long as argon2 does, and counts."""

    def __init__(self) -> None:
        self._hasher = FastPasswordHasherForTests()
        self.hashed = 0
        self.verified = 0
        self.lengths: list[int] = []

    async def hash(self, password: str) -> str:
        self.hashed += 1
        await asyncio.sleep(0.04)
        return await self._hasher.hash(password)

    async def verify(self, password: str, password_hash: str) -> bool:
        self.verified += 1
        self.lengths.append(len(password))
        await asyncio.sleep(0.04)
        return await self._hasher.verify(password, password_hash)


class Office:
    """Everything that a login needs, in memory and in virtual time, with one account."""

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.records = MemoryRecords(clock=self.clock, hub=SignalHub())
        self.accounts = MemoryAccountRepository()
        self.hasher = SlowHasher()
        self.throttle = MemoryLoginThrottle(self.records)
        self.audit = MemoryAuditLog(self.records)
        self.sessions = MemorySessionRepository(self.records)
        self.tokens = JwtAccessTokens([KEY])
        self.refusals = 0
        self.log_in = LogIn(
            accounts=self.accounts,
            hasher=self.hasher,
            tokens=self.tokens,
            sessions=self.sessions,
            throttle=self.throttle,
            audit=self.audit,
            clock=self.clock,
            on_refused=self._count_refusal,
        )
        self.authenticate = Authenticate(
            tokens=self.tokens, accounts=self.accounts, sessions=self.sessions, clock=self.clock
        )
        self.log_out = LogOut(self.sessions)
        self.close_sessions = CloseSessions(self.sessions)

    def _count_refusal(self) -> None:
        self.refusals += 1

    async def open(self) -> None:
        """Make the account."""
        account = Account(
            username="serg",
            password_hash=await FastPasswordHasherForTests().hash(PASSWORD),
            permissions=frozenset({Permission.SLOTS_READ, Permission.JOBS_READ}),
        )
        await self.accounts.put(account)

    async def enter(
        self, password: str = PASSWORD, *, username: str = "serg", address: str = ADDRESS
    ) -> LoggedIn:
        """Log in."""
        return await self.log_in(username, password, address=address)

    async def be_refused(
        self, password: str = WRONG, *, username: str = "serg", address: str = ADDRESS
    ) -> type[Exception]:
        """Try to log in, and return how that was refused."""
        with pytest.raises((InvalidCredentials, TooManyAttempts)) as refused:
            await self.enter(password, username=username, address=address)
        return refused.type

    async def duration(self, password: str, *, username: str = "serg", address: str = ADDRESS) -> float:
        """Return the seconds until a login was refused."""
        begun = self.clock.monotonic()
        await self.be_refused(password, username=username, address=address)
        return self.clock.monotonic() - begun

    def actions(self) -> list[AuditAction]:
        """Return what the audit log holds."""
        return [event.entry.action for event in self.records.events]


def in_an_office(scenario: _Scenario) -> Callable[[], None]:
    """Run a test in an office, in virtual time."""

    def test() -> None:
        async def play() -> None:
            office = Office()
            await office.open()
            await scenario(office)

        run(play())

    test.__doc__ = scenario.__doc__
    return test


@in_an_office
async def test_the_right_password_opens_a_session(office: Office) -> None:
    logged_in = await office.enter()

    assert logged_in.principal.username == "serg"
    assert logged_in.principal.permissions == {Permission.SLOTS_READ, Permission.JOBS_READ}
    assert abs(logged_in.expires_in_sec - SESSION_LIFETIME.total_seconds()) <= 1
    assert await office.authenticate(logged_in.token) == logged_in.principal
    [event] = office.records.events
    assert event.entry.action is AuditAction.LOGIN_SUCCEEDED
    assert (event.entry.actor, event.entry.subject) == (Actor(name="serg", origin=ADDRESS), "serg")
    assert office.refusals == 0


@in_an_office
async def test_case_width_and_blanks_of_a_name_make_no_difference(office: Office) -> None:
    for username in ("SERG", " serg ", "\uff33erg"):
        assert (await office.enter(username=username)).principal.username == "serg"


@in_an_office
async def test_a_homoglyph_is_another_name(office: Office) -> None:
    assert await office.be_refused(PASSWORD, username="\u0455erg") is InvalidCredentials


@in_an_office
async def test_unknown_accounts_and_wrong_passwords_are_refused_alike(office: Office) -> None:
    told = []
    for username, password in (("serg", WRONG), ("nobody", PASSWORD), ("", ""), ("\0\ud800", "\0")):
        with pytest.raises(InvalidCredentials) as refused:
            await office.enter(password, username=username, address=f"address of {username!r}")
        told.append((refused.value.code, str(refused.value)))
    assert len(set(told)) == 1
    assert office.hasher.verified == 4
    assert office.refusals == 4


@in_an_office
async def test_a_password_that_is_too_long_is_refused_at_the_same_cost(office: Office) -> None:
    account = await office.accounts.get("serg")
    assert account is not None
    longest = "x" * MAX_ACCOUNT_PASSWORD
    await office.accounts.put(
        replace(account, password_hash=await FastPasswordHasherForTests().hash(longest))
    )
    assert await office.be_refused(longest + "x" * 1_000_000) is InvalidCredentials
    assert office.hasher.lengths == [MAX_ACCOUNT_PASSWORD]
    await office.enter(longest)


@in_an_office
async def test_after_five_failures_even_the_right_password_is_not_verified(office: Office) -> None:
    for _ in range(LOGIN_ATTEMPTS):
        assert await office.be_refused() is InvalidCredentials

    for password in (PASSWORD, WRONG):
        with pytest.raises(TooManyAttempts) as refused:
            await office.enter(password)
        assert refused.value.retry_after_sec is not None
        assert 890 < refused.value.retry_after_sec <= 900

    assert office.hasher.verified == LOGIN_ATTEMPTS
    await asyncio.sleep(LOGIN_BLOCK.total_seconds())
    await office.enter()


@in_an_office
async def test_of_a_hundred_parallel_logins_five_are_verified(office: Office) -> None:
    outcomes = await asyncio.gather(*(office.be_refused() for _ in range(100)))

    assert outcomes.count(InvalidCredentials) == LOGIN_ATTEMPTS
    assert outcomes.count(TooManyAttempts) == 100 - LOGIN_ATTEMPTS
    assert office.hasher.verified == LOGIN_ATTEMPTS
    assert office.hasher.hashed == 1
    assert await office.be_refused(PASSWORD) is TooManyAttempts
    assert office.refusals == 101


@in_an_office
async def test_the_spelling_of_a_name_gains_no_further_attempts(office: Office) -> None:
    for number, username in enumerate(("serg", "SERG", " Serg", "serg\n", "\uff53erg")):
        await office.be_refused(username=username, address=f"203.0.113.{number}")
    assert await office.be_refused(PASSWORD, address="203.0.113.99") is TooManyAttempts


@in_an_office
async def test_no_other_names_gain_an_address_further_attempts(office: Office) -> None:
    for number in range(LOGIN_ATTEMPTS):
        await office.be_refused(username=f"nobody-{number}")
    assert await office.be_refused(PASSWORD) is TooManyAttempts
    await office.enter(address="203.0.113.99")


@in_an_office
async def test_a_success_forgives_what_the_account_has_failed(office: Office) -> None:
    for number in range(3 * LOGIN_ATTEMPTS):
        address = f"203.0.113.{number}"
        await office.be_refused(address=address)
        await office.enter(address=address)


@in_an_office
async def test_unknown_wrong_and_throttled_are_answered_after_the_same_time(office: Office) -> None:
    unknown = [await office.duration(WRONG, username=f"u{n}", address=f"unknown {n}") for n in range(20)]
    wrong = []
    for number in range(20):
        wrong.append(await office.duration(WRONG, address=f"wrong {number}"))
        await office.enter(address="somewhere else")
    for _ in range(LOGIN_ATTEMPTS):
        await office.be_refused(address="blocked")
    throttled = [await office.duration(password, address="blocked") for password in (WRONG, PASSWORD) * 10]

    for durations in (unknown, wrong, throttled):
        assert statistics.median(durations) == pytest.approx(ANSWER_AFTER_SEC, abs=0.001)
        assert min(durations) > ANSWER_AFTER_SEC - 0.001
        assert max(durations) < ANSWER_AFTER_SEC + 0.001


@in_an_office
async def test_the_very_first_login_pays_for_the_decoy_whoever_it_is(office: Office) -> None:
    begun = office.clock.monotonic()
    await office.enter()
    assert office.hasher.hashed == 1
    assert office.clock.monotonic() - begun == pytest.approx(0.08, abs=0.001)


@in_an_office
async def test_failures_are_written_down_without_what_was_typed(office: Office) -> None:
    for _ in range(LOGIN_ATTEMPTS):
        await office.be_refused()
    for _ in range(3):
        await office.be_refused(PASSWORD)
    await office.be_refused(username=PASSWORD, address="203.0.113.8")

    assert office.actions() == [
        *[AuditAction.LOGIN_FAILED] * (LOGIN_ATTEMPTS - 1),
        AuditAction.LOGIN_BLOCKED,
        AuditAction.LOGIN_FAILED,
    ]
    known, unknown = office.records.events[0].entry, office.records.events[-1].entry
    assert (known.actor, known.subject) == (Actor(name="serg", origin=ADDRESS), "serg")
    assert (unknown.actor, unknown.subject) == (Actor(name=None, origin="203.0.113.8"), "")
    assert "canary" not in repr(office.records.events)
    assert "canary" not in repr(office.records.throttled)


@in_an_office
async def test_a_cancelled_attempt_counts(office: Office) -> None:
    await office.be_refused(username="nobody", address="elsewhere")  # the decoy is made
    for _ in range(LOGIN_ATTEMPTS):
        attempt = asyncio.create_task(office.enter())
        await asyncio.sleep(0.01)
        attempt.cancel()
        with pytest.raises(asyncio.CancelledError):
            await attempt
    assert office.hasher.verified == 1 + LOGIN_ATTEMPTS
    assert await office.be_refused(PASSWORD) is TooManyAttempts
    assert office.records.sessions == {}


@in_an_office
async def test_a_decoy_whose_making_was_cancelled_is_made_by_the_next(office: Office) -> None:
    attempt = asyncio.create_task(office.enter())
    await asyncio.sleep(0.01)
    attempt.cancel()
    await asyncio.wait([attempt])
    await office.enter()
    assert (office.hasher.hashed, office.hasher.verified) == (2, 1)


async def _unavailable(*_: object, **__: object) -> None:
    raise DatabaseUnavailable


def test_without_the_database_nobody_is_let_in(monkeypatch: pytest.MonkeyPatch) -> None:
    @in_an_office
    async def scenario(office: Office) -> None:
        token = (await office.enter()).token
        for port, method in (
            (office.sessions, "open"),
            (office.throttle, "succeeded"),
            (office.throttle, "admit"),
        ):
            monkeypatch.setattr(port, method, _unavailable)
            with pytest.raises(DatabaseUnavailable):
                await office.enter()
        assert office.hasher.verified == 3
        monkeypatch.setattr(office.sessions, "is_open", _unavailable)
        with pytest.raises(DatabaseUnavailable):
            await office.authenticate(token)

    scenario()


def test_accounts_that_cannot_be_read_let_nobody_in_and_block_nobody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def unreadable(_: str) -> None:
        raise StorageUnavailable

    @in_an_office
    async def scenario(office: Office) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(office.accounts, "get", unreadable)
            for _ in range(2 * LOGIN_ATTEMPTS):
                with pytest.raises(StorageUnavailable):
                    await office.enter()
        await office.enter()

    scenario()


@in_an_office
async def test_a_token_is_not_shown_with_its_login(office: Office) -> None:
    logged_in = await office.enter()
    assert logged_in.token not in repr(logged_in)


@in_an_office
async def test_after_a_logout_the_token_is_worth_nothing(office: Office) -> None:
    logged_in, other = await office.enter(), await office.enter()
    for _ in range(2):
        await office.log_out(logged_in.principal, address=ADDRESS)
    with pytest.raises(NotAuthenticated):
        await office.authenticate(logged_in.token)
    assert await office.authenticate(other.token) == other.principal
    assert office.actions()[2:] == [AuditAction.LOGGED_OUT]
    assert office.records.events[-1].entry.actor == Actor(name="serg", origin=ADDRESS)


@in_an_office
async def test_all_sessions_of_an_account_can_be_ended(office: Office) -> None:
    tokens = [(await office.enter()).token for _ in range(3)]
    actor = Actor(name="igor", origin=COMMAND_LINE)
    assert await office.close_sessions("serg", actor=actor) == 3
    for token in tokens:
        with pytest.raises(NotAuthenticated):
            await office.authenticate(token)
    entry = office.records.events[-1].entry
    assert (entry.action, entry.actor, entry.subject) == (AuditAction.SESSIONS_CLOSED, actor, "serg")


@in_an_office
async def test_a_session_ends_with_its_time(office: Office) -> None:
    token = (await office.enter()).token
    await asyncio.sleep(SESSION_LIFETIME.total_seconds() - 2)
    await office.authenticate(token)
    await asyncio.sleep(2)
    with pytest.raises(TokenExpired):
        await office.authenticate(token)


@pytest.mark.parametrize(
    "change",
    [
        {"password_hash": "$sha256-for-tests$0$another"},
        {"permissions": frozenset(Permission)},
        {"permissions": frozenset()},
    ],
    ids=["password", "more permissions", "fewer permissions"],
)
def test_a_changed_account_ends_its_sessions(change: dict[str, Any]) -> None:
    @in_an_office
    async def scenario(office: Office) -> None:
        token = (await office.enter()).token
        account = await office.accounts.get("serg")
        assert account is not None
        await office.accounts.put(replace(account, **change))
        with pytest.raises(NotAuthenticated):
            await office.authenticate(token)

    scenario()


@in_an_office
async def test_a_removed_account_ends_its_sessions(office: Office) -> None:
    token = (await office.enter()).token
    await office.accounts.remove("serg")
    with pytest.raises(NotAuthenticated):
        await office.authenticate(token)


@in_an_office
async def test_a_good_token_of_a_session_that_never_was_is_refused(office: Office) -> None:
    token = (await office.enter()).token
    office.records.sessions.clear()
    with pytest.raises(NotAuthenticated):
        await office.authenticate(token)


@in_an_office
async def test_what_the_account_may_do_counts_and_not_what_the_token_says(office: Office) -> None:
    claims = office.tokens.read((await office.enter()).token, now=office.clock.now())
    told = replace(claims, permissions=frozenset(permission.value for permission in Permission))
    principal = await office.authenticate(office.tokens.issue(told))
    assert principal.permissions == {Permission.SLOTS_READ, Permission.JOBS_READ}


@in_an_office
async def test_a_token_made_too_far_ahead_is_refused(office: Office) -> None:
    claims = office.tokens.read((await office.enter()).token, now=office.clock.now())
    ahead = replace(claims, issued_at=office.clock.now() + timedelta(minutes=2))
    with pytest.raises(NotAuthenticated):
        await office.authenticate(office.tokens.issue(ahead))
