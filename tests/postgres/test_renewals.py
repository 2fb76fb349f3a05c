"""The leases of a process are renewed together."""

import asyncio
from typing import Any

import pytest

from photochanger.adapters.postgres.pool import Pool, fetch_all
from photochanger.application.signal_hub import SignalHub
from photochanger.testing.harness import MINUTE, a_processing_job
from tests.postgres_records import PostgresRecords

pytestmark = pytest.mark.anyio


async def test_a_hundred_leases_are_renewed_by_two_statements(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = PostgresRecords(pool, SignalHub())
    claimed = [await a_processing_job(records) for _ in range(100)]
    statements = list[bytes]()

    async def counted(pool: Pool, statement: bytes, *given: Any, **named: Any) -> Any:
        statements.append(statement)
        return await fetch_all(pool, statement, *given, **named)

    monkeypatch.setattr("photochanger.adapters.postgres.jobs.fetch_all", counted)
    renewed = await asyncio.gather(
        *(records.jobs.renew(each.job.job_id, fence=1, lease=MINUTE) for each in claimed)
    )

    assert all(renewed)
    assert 1 <= len(statements) <= 2
