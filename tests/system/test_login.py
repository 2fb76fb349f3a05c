"""Logins with all that is real: PostgreSQL, argon2id, the credentials file, several processes' pools."""

import asyncio
import logging
import secrets
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from photochanger.adapters.argon2_hasher import Argon2PasswordHasher
from photochanger.adapters.postgres.pool import fetch_all
from photochanger.adapters.telemetry.tracing import configure_tracing
from photochanger.application.ports import PasswordHasher
from photochanger.domain.account import LOGIN_ATTEMPTS, Account
from photochanger.domain.audit import AuditAction
from photochanger.domain.errors import InvalidCredentials, NotAuthenticated, TooManyAttempts
from photochanger.domain.permissions import Permission
from photochanger.entrypoints.container import Container
from photochanger.entrypoints.settings import Environment

pytestmark = [pytest.mark.anyio, pytest.mark.system]

PASSWORD: Final = "canary-right-password"
WRONG: Final = "canary-wrong-password"
KEY: Final = f"canary-{secrets.token_urlsafe(48)}"
PROCESSES: Final = 4
_ROWS: Final = (
    b"SELECT * FROM audit_event WHERE origin = %(origin)s",
    b"SELECT * FROM session",
    b"SELECT * FROM login_throttle",
)
REFUSALS: Final = (InvalidCredentials, TooManyAttempts)


class CountingHasher(PasswordHasher):
    """argon2id, and how often it was asked."""

    def __init__(self) -> None:
        self._hasher = Argon2PasswordHasher()
        self.verified = 0

    async def hash(self, password: str) -> str:
        return await self._hasher.hash(password)

    async def verify(self, password: str, password_hash: str) -> bool:
        self.verified += 1
        return await self._hasher.verify(password, password_hash)


@pytest.fixture
def username() -> str:
    """Return a name that no other test has blocked."""
    return f"serg-{secrets.token_hex(4)}"


@pytest.fixture
def address(username: str) -> str:
    """Return an address that no other test has blocked; it stands for one."""
    return f"address of {username}"


@pytest.fixture
def hasher() -> CountingHasher:
    return CountingHasher()


@pytest.fixture
async def processes(
    tmp_path: Path, worker_database: str, hasher: CountingHasher, username: str
) -> AsyncIterator[list[Container]]:
    """Return what several processes of one installation are made of, each with its own connections."""
    environment = Environment(data_dir=tmp_path, jwt_signing_key=KEY)
    async with AsyncExitStack() as stack:
        containers = [
            Container(environment=environment, database_url=worker_database) for _ in range(PROCESSES)
        ]
        for container in containers:
            container.hasher.override(hasher)
            await stack.enter_async_context(container.pool())
        account = Account(
            username=username,
            password_hash=await hasher.hash(PASSWORD),
            permissions=frozenset({Permission.AUDIT_READ}),
        )
        await containers[0].accounts().put(account)
        yield containers


async def test_of_a_hundred_parallel_logins_over_four_processes_five_are_verified(
    processes: list[Container], hasher: CountingHasher, username: str, address: str
) -> None:
    outcomes = await asyncio.gather(
        *(processes[n % PROCESSES].log_in()(username, WRONG, address=f"{address} {n}") for n in range(100)),
        return_exceptions=True,
    )

    assert {type(outcome) for outcome in outcomes} == set(REFUSALS)
    assert sum(isinstance(outcome, InvalidCredentials) for outcome in outcomes) == LOGIN_ATTEMPTS
    assert hasher.verified == LOGIN_ATTEMPTS
    for container in processes:
        with pytest.raises(TooManyAttempts) as refused:
            await container.log_in()(username, PASSWORD, address=f"{address} another")
        assert refused.value.retry_after_sec is not None
        assert 600 < refused.value.retry_after_sec <= 900
    assert hasher.verified == LOGIN_ATTEMPTS


async def test_what_one_process_ends_is_ended_in_all(
    processes: list[Container], username: str, address: str
) -> None:
    here, *others = processes
    logged_in = await here.log_in()(username, PASSWORD, address=address)
    for container in processes:
        assert await container.authenticate()(logged_in.token) == logged_in.principal

    await here.log_out()(logged_in.principal, address=address)

    for container in others:
        with pytest.raises(NotAuthenticated):
            await container.authenticate()(logged_in.token)


async def test_an_account_that_one_process_removes_is_gone_in_all(
    processes: list[Container], username: str, address: str
) -> None:
    here, *others = processes
    logged_in = await here.log_in()(username, PASSWORD, address=address)

    await here.accounts().remove(username)

    for container in others:
        with pytest.raises(NotAuthenticated):
            await container.authenticate()(logged_in.token)


async def test_a_rotated_key_is_accepted_until_it_is_dropped(
    processes: list[Container], worker_database: str, tmp_path: Path, username: str, address: str
) -> None:
    logged_in = await processes[0].log_in()(username, PASSWORD, address=address)

    async def is_known(*, previous: tuple[str, ...]) -> bool:
        environment = Environment(
            data_dir=tmp_path, jwt_signing_key=secrets.token_urlsafe(48), jwt_previous_keys=previous
        )
        container = Container(environment=environment, database_url=worker_database)
        async with container.pool():
            try:
                await container.authenticate()(logged_in.token)
            except NotAuthenticated:
                return False
            return True

    assert await is_known(previous=(secrets.token_urlsafe(48), KEY))
    assert not await is_known(previous=())


async def test_no_secret_is_written_anywhere(
    processes: list[Container],
    worker_database: str,
    username: str,
    address: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Passwords are typed rightly, wrongly, and into the field for the name."""
    caplog.set_level(logging.DEBUG)
    spans = InMemorySpanExporter()
    container = Container(environment=processes[0].environment(), database_url=worker_database)
    container.tracing.override(configure_tracing(version="0", exporter=spans))
    async with container.pool() as pool:
        logged_in = await container.log_in()(username, PASSWORD, address=address)
        refusals = await asyncio.gather(
            container.log_in()(username, WRONG, address=address),
            container.log_in()(PASSWORD, PASSWORD, address=address),
            container.authenticate()(logged_in.token[:-1] + "_"),
            return_exceptions=True,
        )
        rows = [row for statement in _ROWS for row in await fetch_all(pool, statement, {"origin": address})]
        account = await container.accounts().get(username)
    container.tracing().provider.force_flush()

    assert {type(refusal) for refusal in refusals} == {InvalidCredentials, NotAuthenticated}
    assert account is not None
    finished = spans.get_finished_spans()
    assert {"PasswordHasher.verify", "SessionRepository.open"} <= {span.name for span in finished}
    told = [
        caplog.text,
        container.metrics().exposition().decode(),
        *(span.to_json() for span in finished),
        *map(repr, [*rows, *refusals, logged_in, container.environment()]),
    ]
    for secret in ("canary", logged_in.token, logged_in.token.rpartition(".")[2], account.password_hash):
        assert [text for text in told if secret in text] == []


async def test_failures_are_in_the_log_and_the_metrics(
    processes: list[Container], username: str, address: str
) -> None:
    container = processes[0]
    await asyncio.gather(
        *(container.log_in()(username, WRONG, address=address) for _ in range(LOGIN_ATTEMPTS + 2)),
        return_exceptions=True,
    )

    rows = await fetch_all(
        container.pool(), b"SELECT action FROM audit_event WHERE origin = %(origin)s", {"origin": address}
    )
    actions = sorted(row["action"] for row in rows)
    assert actions == [AuditAction.LOGIN_BLOCKED, *[AuditAction.LOGIN_FAILED] * (LOGIN_ATTEMPTS - 1)]
    assert "photochanger_login_failures_total 7.0" in container.metrics().exposition().decode()
