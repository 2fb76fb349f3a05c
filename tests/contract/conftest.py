"""The adapters that the contract suites are run on."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Final

import pytest

from photochanger.adapters.memory import ManualClock, MemoryStorage
from photochanger.adapters.postgres import (
    PostgresSignals,
    create_pool,
)
from photochanger.adapters.postgres.pool import Pool
from photochanger.application.signal_hub import SignalHub
from tests.postgres_records import OVER_THE_TRIGGERS, PostgresRecords

_CLEAR: Final = f"""
    {OVER_THE_TRIGGERS};
    TRUNCATE job, media_object, template, slot_template, provider_usage, audit_event, session, login_throttle,
        job_tally, worker_process;
    UPDATE ingest_rate SET tat = DEFAULT;
    UPDATE job_tally_progress SET until = 'epoch';
    UPDATE sweeper SET holder = NULL, lease_expires_at = NULL, swept_at = NULL, compared_at = NULL;
    UPDATE setting SET document = '{{}}', version = 1, updated_at = NULL, updated_by = NULL WHERE version > 1;
    UPDATE slot SET configuration = DEFAULT_SLOT.configuration, ingest_password_hash = NULL,
        version = 1, updated_at = NULL, updated_by = NULL
    FROM slot AS DEFAULT_SLOT WHERE DEFAULT_SLOT.slot_id = 'slot-015' AND slot.version > 1;
"""


class MemoryRecordsHarness(MemoryStorage):
    """Memory, with a clock that stands still between the leaps of a test."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        super().__init__(self.clock)

    async def time_passes(self, by: timedelta) -> None:
        """Set the clock forward."""
        self.clock.advance(by)


@pytest.fixture
def memory_records() -> MemoryRecordsHarness:
    """Return fresh records in memory."""
    return MemoryRecordsHarness()


@pytest.fixture
async def postgres_pool(worker_database: str) -> AsyncIterator[Pool]:
    """Return an open pool on an empty database."""
    async with create_pool(worker_database, min_size=1, max_size=8, timeout_sec=30) as pool:
        async with pool.connection() as connection:
            await connection.execute(_CLEAR)
        yield pool


@pytest.fixture
def postgres_records(postgres_pool: Pool) -> PostgresRecords:
    """Return fresh records in PostgreSQL, announced in this process."""
    return PostgresRecords(postgres_pool, SignalHub())


@pytest.fixture
async def postgres_signals(worker_database: str) -> AsyncIterator[PostgresSignals]:
    """Return signals that arrive through the database."""
    signals = PostgresSignals(worker_database, SignalHub())
    await signals.start()
    assert signals.is_listening
    await asyncio.sleep(0)
    yield signals
    await signals.stop()
