"""Connections: their settings, their loss, and locks that somebody else holds."""

import asyncio
import time
from datetime import timedelta

import psycopg
import pytest

from photochanger.adapters.postgres import PostgresJobRepository, PostgresMediaRegistry, create_pool
from photochanger.adapters.postgres.pool import Pool, fetch_one
from photochanger.application.ports import JobSubmission, Verdict
from photochanger.domain.errors import DatabaseUnavailable, InternalError, InvalidRequest
from photochanger.domain.job import JobEvent, JobId, JobState
from photochanger.domain.media import MediaKind
from photochanger.testing.harness import A_SLOT, HOUR, MINUTE, SECOND, a_slot, an_image, new_id

pytestmark = pytest.mark.anyio


async def _submit(
    jobs: PostgresJobRepository,
    media: PostgresMediaRegistry,
    *,
    time_left: timedelta = MINUTE,
    idempotency_key: str | None = None,
) -> JobId:
    payload = an_image()
    await media.intend([(payload.media_id, MediaKind.PAYLOAD)], slot_id=A_SLOT, ttl=HOUR)
    submission = JobSubmission(
        job_id=JobId(new_id()),
        slot=a_slot(),
        payload=payload,
        time_left=time_left,
        retention=HOUR,
        idempotency_key=idempotency_key,
    )
    return (await jobs.submit(submission)).reading.job.job_id


async def test_every_connection_has_our_settings(worker_database: str) -> None:
    dsn = psycopg.conninfo.make_conninfo(worker_database, options="-c statement_timeout=7s")
    async with create_pool(dsn, application_name="photochanger-test") as pool:
        for name, value in [
            ("TimeZone", "UTC"),
            ("lock_timeout", "2s"),
            ("idle_in_transaction_session_timeout", "10s"),
            ("application_name", "photochanger-test"),
            ("statement_timeout", "7s"),
        ]:
            row = await fetch_one(pool, b"SELECT current_setting(%(name)s) AS value", {"name": name})
            assert row == {"value": value}


async def test_a_connection_that_was_ended_goes_unnoticed(pool: Pool, worker_database: str) -> None:
    for _ in range(3):
        row = await fetch_one(pool, b"SELECT pg_backend_pid() AS pid", {})
        assert row is not None
        with psycopg.connect(worker_database, autocommit=True) as other:
            other.execute("SELECT pg_terminate_backend(%s, 5000)", [row["pid"]])
        assert await fetch_one(pool, b"SELECT 1 AS one", {}) == {"one": 1}


@pytest.mark.parametrize("turns", range(8))
async def test_a_cancellation_is_not_lost_that_comes_together_with_the_connection(
    worker_database: str, turns: int
) -> None:
    """However many turns of the loop after it: the pool itself forgets some of them."""
    async with create_pool(worker_database, min_size=1, max_size=1) as pool:
        taken = await pool.getconn()
        waiting = asyncio.create_task(fetch_one(pool, b"SELECT pg_sleep(1)", {}))
        while not pool.get_stats().get("requests_waiting"):  # noqa: ASYNC110 -- it sends no signal
            await asyncio.sleep(0)

        await pool.putconn(taken)
        for _ in range(turns):
            await asyncio.sleep(0)
        waiting.cancel()

        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert await fetch_one(pool, b"SELECT 1 AS one", {}) == {"one": 1}


async def test_what_may_be_repeated_is_sent_again_where_the_server_went_away(
    pool: Pool, worker_database: str
) -> None:
    """Here it goes away for good measure while the statement runs."""
    for repeatable in (True, False):
        statement = b"SELECT pg_sleep(0.3), pg_backend_pid() AS pid"
        running = asyncio.create_task(fetch_one(pool, statement, {}, repeatable=repeatable))
        await asyncio.sleep(0.1)
        with psycopg.connect(worker_database, autocommit=True) as other:
            other.execute(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
                " WHERE state = 'active' AND query LIKE '%pg_sleep%' AND pid <> pg_backend_pid()"
            )
        if repeatable:
            assert await running is not None
        else:
            with pytest.raises(DatabaseUnavailable):
                await running


async def test_without_a_server_the_answer_comes_soon(caplog: pytest.LogCaptureFixture) -> None:
    pool = create_pool("host=127.0.0.1 port=1 dbname=x user=nobody", timeout_sec=0.5)
    await pool.open()
    begun = time.monotonic()
    with pytest.raises(DatabaseUnavailable):
        await PostgresJobRepository(pool, None).get(JobId(new_id()))  # type: ignore[arg-type]
    assert time.monotonic() - begun < 1.5
    await pool.close()


async def test_a_closed_pool_is_a_database_that_is_not_available(worker_database: str) -> None:
    pool = create_pool(worker_database)
    with pytest.raises(DatabaseUnavailable):
        await fetch_one(pool, b"SELECT 1", {})


async def test_who_waits_too_long_for_a_lock_is_told(
    jobs: PostgresJobRepository, media: PostgresMediaRegistry, worker_database: str
) -> None:
    job_id = await _submit(jobs, media)
    [claimed] = await jobs.claim(limit=1, lease=MINUTE)
    with psycopg.connect(worker_database) as other:
        other.execute("SELECT FROM job FOR UPDATE")
        with pytest.raises(DatabaseUnavailable):
            await jobs.renew(job_id, fence=claimed.job.fence, lease=MINUTE)
        other.rollback()
    assert await jobs.renew(job_id, fence=claimed.job.fence, lease=MINUTE)


async def test_a_writer_that_waited_past_the_deadline_does_not_succeed(
    jobs: PostgresJobRepository, media: PostgresMediaRegistry, worker_database: str
) -> None:
    """The holder of the lock changes nothing, so the row that the waiter gets is the one it has seen."""
    job_id = await _submit(jobs, media, time_left=SECOND)
    await jobs.claim(limit=1, lease=MINUTE)
    verdict = Verdict(event=JobEvent.PROVIDER_FAILED, attempts=1, failure_reason="provider_error")
    with psycopg.connect(worker_database) as other:
        other.execute("SELECT FROM job FOR UPDATE")
        waiting = asyncio.create_task(jobs.finalize(job_id, verdict, fence=1))
        await asyncio.sleep(1.2)
        assert not waiting.done()
        other.rollback()
    assert await waiting is None
    [ended] = await jobs.expire([job_id])
    assert ended.job.state is JobState.FAILED_TIMEOUT


async def test_a_writer_sees_what_the_one_before_it_did(
    jobs: PostgresJobRepository, media: PostgresMediaRegistry, worker_database: str
) -> None:
    """Here the holder of the lock does change the row, after the waiter's statement has begun."""
    job_id = await _submit(jobs, media)
    await jobs.claim(limit=1, lease=MINUTE)
    with psycopg.connect(worker_database) as other:
        other.execute("UPDATE job SET fence = fence + 1")
        waiting = asyncio.create_task(jobs.renew(job_id, fence=1, lease=MINUTE))
        await asyncio.sleep(0.1)
        other.commit()
    assert not await waiting
    assert await jobs.renew(job_id, fence=2, lease=MINUTE)


async def test_a_locked_job_keeps_nobody_from_claiming_others(
    jobs: PostgresJobRepository, media: PostgresMediaRegistry, worker_database: str
) -> None:
    locked = await _submit(jobs, media)
    free = await _submit(jobs, media)
    with psycopg.connect(worker_database) as other:
        other.execute("SELECT FROM job WHERE job_id = %s FOR UPDATE", [locked])
        assert [reading.job.job_id for reading in await jobs.claim(limit=2, lease=MINUTE)] == [free]
        waiting = asyncio.create_task(jobs.claim(limit=1, lease=MINUTE))
        await asyncio.sleep(0.2)
        assert not waiting.done()
        other.rollback()
    assert [reading.job.job_id for reading in await waiting] == [locked]


@pytest.mark.parametrize("text", ["nul \0", "half a pair \ud83d"])
async def test_text_that_cannot_be_stored_is_refused(
    jobs: PostgresJobRepository, media: PostgresMediaRegistry, text: str
) -> None:
    with pytest.raises(InvalidRequest):
        await _submit(jobs, media, idempotency_key=text)


async def test_a_broken_constraint_is_told_by_its_name_only(
    jobs: PostgresJobRepository, media: PostgresMediaRegistry
) -> None:
    with pytest.raises(InternalError, match="media_object_media_id_check") as caught:
        await media.intend([("not-an-id", MediaKind.PAYLOAD)], slot_id=A_SLOT, ttl=HOUR)  # type: ignore[list-item]
    assert "not-an-id" not in caught.value.message
