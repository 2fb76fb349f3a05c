"""PostgreSQL is back: whoever waits for it gets his answer, and not only who comes next."""

import asyncio

import pytest

from photochanger.adapters.postgres import create_pool
from photochanger.adapters.postgres.pool import Pool, fetch_one
from tests.resilience.postgres import PostgresServer

pytestmark = [pytest.mark.anyio, pytest.mark.system]

MORE_THAN_THE_POOL_TRIES = 12
"""By itself it tries three times for the connection that it has lost, and three times for who waits."""


async def _has_tried(pool: Pool, times: int) -> None:
    while pool.get_stats().get("connections_errors", 0) < times:  # noqa: ASYNC110 - it sends no signal
        await asyncio.sleep(0.02)


async def test_who_waits_for_a_connection_gets_one_as_soon_as_there_are_any(postgres: PostgresServer) -> None:
    async with create_pool(postgres.dsn(), min_size=1, timeout_sec=60) as pool, asyncio.timeout(30):
        await pool.wait()
        await asyncio.to_thread(postgres.stop)
        waiting = asyncio.create_task(fetch_one(pool, b"SELECT 1 AS one", {}))
        await _has_tried(pool, MORE_THAN_THE_POOL_TRIES)
        await asyncio.to_thread(postgres.start)
        assert await waiting == {"one": 1}
