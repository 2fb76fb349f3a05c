"""What only the tables show of sessions and the login throttle."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable
from contextlib import AsyncExitStack
from datetime import timedelta

import pytest

from photochanger.adapters.postgres import PostgresLoginThrottle, PostgresSessionRepository, create_pool
from photochanger.adapters.postgres.pool import Pool, fetch_all, fetch_one
from photochanger.domain.account import LOGIN_ATTEMPTS, Session, SessionId, throttle_keys
from photochanger.testing.harness import an_entry, new_id

pytestmark = pytest.mark.anyio


@pytest.fixture
async def throttles(pool: Pool, worker_database: str) -> AsyncIterator[list[PostgresLoginThrottle]]:
    """Return the throttle as four processes have it."""
    async with AsyncExitStack() as stack:
        pools = [
            await stack.enter_async_context(create_pool(worker_database, max_size=5, timeout_sec=30))
            for _ in range(4)
        ]
        yield [PostgresLoginThrottle(each) for each in pools]


async def _count(pool: Pool, table: bytes) -> int:
    row = await fetch_one(pool, b"SELECT count(*) AS rows FROM " + table, {})
    assert row is not None
    return int(row["rows"])


async def _open_one(pool: Pool, life: timedelta) -> None:
    row = await fetch_one(pool, b"SELECT now()", {})
    assert row is not None
    now = row["now"]
    session = Session(session_id=SessionId(new_id()), username="serg", created_at=now, expires_at=now + life)
    await PostgresSessionRepository(pool).open(session, entry=an_entry())


async def test_of_two_hundred_parallel_logins_over_four_processes_five_are_let_in(
    throttles: list[PostgresLoginThrottle],
) -> None:
    for username in ("serg", "igor", "olga"):
        keys = throttle_keys(username, f"address of {username}")
        waits = await asyncio.gather(*(throttles[n % 4].admit(keys) for n in range(200)))
        assert waits.count(None) == LOGIN_ATTEMPTS


async def test_keys_that_cross_and_rows_that_end_make_neither_deadlock_nor_error(
    throttles: list[PostgresLoginThrottle], pool: Pool
) -> None:
    names = [f"key-{number}" for number in range(6)]
    end = b"UPDATE login_throttle SET ends_at = 'epoch' WHERE key = %(key)s"
    for _ in range(10):
        doing: list[Awaitable[object]] = []
        for number in range(40):
            throttle, pair = throttles[number % 4], random.sample(names, 2)
            doing += [throttle.admit(pair), throttle.failed(pair), throttle.succeeded(pair, forgiven=pair[0])]
            doing.append(fetch_all(pool, end, {"key": pair[1]}))
        await asyncio.gather(*doing)


async def test_what_has_ended_does_not_pile_up(pool: Pool) -> None:
    throttle = PostgresLoginThrottle(pool)
    for number in range(30):
        assert await throttle.admit([f"key-{number}"]) is None
    assert await _count(pool, b"login_throttle") == 30
    await fetch_all(pool, b"UPDATE login_throttle SET ends_at = now() - interval '1 s'", {})
    for number in range(3):
        assert await throttle.admit([f"new-{number}"]) is None
    assert await _count(pool, b"login_throttle") == 3


async def test_sessions_that_have_ended_do_not_pile_up(pool: Pool) -> None:
    for _ in range(25):
        await _open_one(pool, timedelta(seconds=-1))
    assert await _count(pool, b"session") <= 11
    for _ in range(3):
        await _open_one(pool, timedelta(hours=1))
    assert await _count(pool, b"session") == 3


async def test_closing_all_while_some_are_opened_makes_no_deadlock(pool: Pool) -> None:
    sessions = PostgresSessionRepository(pool)

    async def open_some(life: timedelta) -> None:
        for _ in range(10):
            await _open_one(pool, life)

    async def close_all() -> int:
        return sum([await sessions.close_all("serg", entry=an_entry()) for _ in range(10)])

    await asyncio.gather(
        open_some(timedelta(hours=1)), open_some(timedelta(seconds=-1)), close_all(), close_all()
    )
    await sessions.close_all("serg", entry=an_entry())
    assert await _count(pool, b"session") == 0
