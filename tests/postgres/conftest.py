"""A pool on the worker's database, emptied."""

from collections.abc import AsyncIterator

import pytest

from photochanger.adapters.postgres import PostgresJobRepository, PostgresMediaRegistry, create_pool
from photochanger.adapters.postgres.pool import Pool
from photochanger.application.signal_hub import SignalHub
from photochanger.testing.harness import Records
from tests.postgres_records import PostgresRecords

_CLEAR = """
    SET LOCAL session_replication_role = replica;
    TRUNCATE job, media_object, template, slot_template, provider_usage, audit_event, session,
        login_throttle;
"""


@pytest.fixture
async def pool(worker_database: str) -> AsyncIterator[Pool]:
    """Return an open pool on an empty database."""
    async with create_pool(worker_database, min_size=1, max_size=8, timeout_sec=30) as pool:
        async with pool.connection() as connection:
            await connection.execute(_CLEAR)
        yield pool


@pytest.fixture
def records(pool: Pool) -> Records:
    """Return all repositories over the pool."""
    return PostgresRecords(pool, SignalHub())


@pytest.fixture
def jobs(pool: Pool) -> PostgresJobRepository:
    """Return the job repository."""
    return PostgresJobRepository(pool, SignalHub())


@pytest.fixture
def media(pool: Pool) -> PostgresMediaRegistry:
    """Return the media registry."""
    return PostgresMediaRegistry(pool)
