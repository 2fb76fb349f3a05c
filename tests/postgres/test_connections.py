"""Connections: their settings, their loss, and locks that somebody else holds."""

import asyncio
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import psycopg
import pytest

from photochanger.adapters.postgres import PostgresJobRepository, PostgresMediaRegistry, create_pool
from photochanger.adapters.postgres import pool as pool_module
from photochanger.adapters.postgres.pool import Pool, fetch_all, fetch_one
from photochanger.application.ports import JobSubmission, Verdict
from photochanger.application.signal_hub import SignalHub
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


async def test_after_a_restart_nobody_waits_for_dead_connections(worker_database: str) -> None:
    """However many there are; the pool itself would wait for a second at the first of them."""
    name = "photochanger-test-dead"
    async with create_pool(
        worker_database, min_size=4, max_size=4, timeout_sec=0.9, application_name=name
    ) as pool:
        await pool.wait()
        with psycopg.connect(worker_database, autocommit=True) as other:
            other.execute(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = %s",
                [name],
            )
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


@contextmanager
def silenced(backend: int) -> Iterator[None]:
    """Stop one of the server's processes where it is, during the context."""
    os.kill(backend, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(backend, signal.SIGCONT)


async def _backend_of_the_only_connection(pool: Pool) -> int:
    row = await fetch_one(pool, b"SELECT pg_backend_pid() AS pid", {})
    assert row is not None
    return int(row["pid"])


async def test_a_server_that_stays_silent_is_given_up_and_asked_no_second_time(
    worker_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool_module, "ANSWER_SEC", 0.3)
    async with create_pool(worker_database, min_size=1, max_size=1) as pool:
        with silenced(await _backend_of_the_only_connection(pool)):
            with pytest.raises(DatabaseUnavailable):
                await fetch_one(pool, b"SELECT 1 AS one", {}, repeatable=True)
            assert await fetch_one(pool, b"SELECT 1 AS one", {}) == {"one": 1}, "by another connection"


async def test_who_is_cancelled_does_not_wait_for_a_silent_server(worker_database: str) -> None:
    """psycopg alone would wait for ten seconds."""
    async with create_pool(worker_database, min_size=1, max_size=1) as pool:
        with silenced(await _backend_of_the_only_connection(pool)):
            waiting = asyncio.create_task(fetch_one(pool, b"SELECT 1 AS one", {}))
            while pool.get_stats()["pool_available"]:  # noqa: ASYNC110 -- it sends no signal
                await asyncio.sleep(0)
            await asyncio.sleep(0.05)  # until it waits for the answer
            waiting.cancel()
            async with asyncio.timeout(4):
                with pytest.raises(asyncio.CancelledError):
                    await waiting


async def test_a_server_that_can_only_be_read_is_left(worker_database: str) -> None:
    async with create_pool(worker_database, min_size=1, max_size=1) as pool:
        await fetch_all(pool, b"SET default_transaction_read_only = on", {})
        with pytest.raises(DatabaseUnavailable):
            await fetch_all(pool, b"CREATE TABLE nothing ()", {})
        row = await fetch_one(pool, b"SHOW default_transaction_read_only", {})
        assert row == {"default_transaction_read_only": "off"}, "by another connection"


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


@pytest.mark.parametrize("others", [0, 10], ids=["alone", "beside others"])
async def test_claims_go_on_when_the_job_table_was_locked(
    jobs: PostgresJobRepository, media: PostgresMediaRegistry, worker_database: str, others: int
) -> None:
    """The claim's own prepared statement is lost where psycopg rolls back beside others, and else stays."""
    async with create_pool(worker_database, min_size=1, max_size=1, timeout_sec=30) as only_one:
        claiming = PostgresJobRepository(only_one, SignalHub())
        for _ in range(others):  # until psycopg prepares it
            await fetch_one(only_one, b"SELECT 1 AS one", {})
        assert not await claiming.claim(limit=1, lease=MINUTE)
        with psycopg.connect(worker_database) as other:
            other.execute("LOCK TABLE job IN ACCESS EXCLUSIVE MODE")
            with pytest.raises(DatabaseUnavailable):
                await claiming.claim(limit=1, lease=MINUTE)
            other.rollback()
        job_id = await _submit(jobs, media)
        [claimed] = await claiming.claim(limit=1, lease=MINUTE)
        assert claimed.job.job_id == job_id


async def test_a_broken_constraint_is_told_by_its_name_only(
    jobs: PostgresJobRepository, media: PostgresMediaRegistry
) -> None:
    with pytest.raises(InternalError, match="media_object_media_id_check") as caught:
        await media.intend([("not-an-id", MediaKind.PAYLOAD)], slot_id=A_SLOT, ttl=HOUR)  # type: ignore[list-item]
    assert "not-an-id" not in caught.value.message
