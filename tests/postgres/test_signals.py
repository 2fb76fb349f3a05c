"""Signals between processes."""

import asyncio
import logging
import sys
import time

import psycopg
import pytest

from photochanger.adapters.postgres import PostgresSignals, create_pool
from photochanger.adapters.postgres.pool import borrowed
from photochanger.application.ports import Topic
from photochanger.application.signal_hub import SignalHub

pytestmark = pytest.mark.anyio

_OTHER_PROCESS = """
import sys, time, psycopg
with psycopg.connect(sys.argv[1], autocommit=True) as connection:
    for number in range(100):
        time.sleep(0.005)
        connection.execute("SELECT pg_notify('photochanger', %s)", [f"job_finalized:{time.monotonic()}"])
"""


async def test_a_signal_of_another_process_takes_a_few_milliseconds(worker_database: str) -> None:
    late: list[float] = []
    complete = asyncio.Event()

    class _Recorder(SignalHub):
        def announce(self, topic: Topic, subject: str = "") -> None:
            late.append(time.monotonic() - float(subject))
            if len(late) == 100:
                complete.set()

    signals = PostgresSignals(worker_database, _Recorder())
    await signals.start()
    other = await asyncio.create_subprocess_exec(sys.executable, "-c", _OTHER_PROCESS, worker_database)
    await asyncio.wait_for(complete.wait(), 20)
    await other.wait()
    await signals.stop()
    assert sorted(late)[50] < 0.02


async def test_a_lost_connection_is_made_again_and_wakes_everyone(
    worker_database: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    signals = PostgresSignals(worker_database, SignalHub(), application_name="photochanger-test-signals")
    await signals.start()
    with signals.subscribe(Topic.JOB_FINALIZED, "a") as subscription:
        assert not await subscription.wait(0)
        with psycopg.connect(worker_database, autocommit=True) as other:
            other.execute(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
                " WHERE application_name = 'photochanger-test-signals'"
            )
        assert await subscription.wait(5)
        assert signals.is_listening
        with psycopg.connect(worker_database, autocommit=True) as other:
            other.execute("NOTIFY photochanger, 'job_finalized:a'")
        assert await subscription.wait(5)
    await signals.stop()
    assert "dbname" not in caplog.text


async def test_without_a_server_signals_stay_inside_the_process() -> None:
    signals = PostgresSignals("host=127.0.0.1 port=1 dbname=x", SignalHub())
    await signals.start()
    assert not signals.is_listening
    with signals.subscribe(Topic.JOB_PENDING) as subscription:
        signals.announce_locally(Topic.JOB_PENDING)
        assert await subscription.wait(0)
    await signals.stop()
    await signals.stop()


async def test_what_the_process_has_announced_itself_wakes_nobody_twice(worker_database: str) -> None:
    statement = "SELECT pg_notify('photochanger', %s)"
    async with create_pool(worker_database) as pool:
        signals = PostgresSignals(worker_database, SignalHub(), pool)
        await signals.start()
        with signals.watch(Topic.JOB_PENDING) as own, signals.watch(Topic.JOB_FINALIZED) as foreign:
            async with borrowed(pool) as connection:
                await connection.execute(statement, ["job_pending:"])
            with psycopg.connect(worker_database, autocommit=True) as other:
                other.execute(statement, ["job_finalized:a"])
            assert await foreign.wait(5)  # it was sent later, so the other would have come by now
            assert not await own.wait(0)
        await signals.stop()


async def test_foreign_notifications_are_passed_over(worker_database: str) -> None:
    signals = PostgresSignals(worker_database, SignalHub())
    await signals.start()
    with signals.subscribe(Topic.JOB_PENDING) as subscription:
        with psycopg.connect(worker_database, autocommit=True) as other:
            for payload in ("", "nonsense", "unknown_topic:x", "job_pending:"):
                other.execute("SELECT pg_notify('photochanger', %s)", [payload])
        assert await subscription.wait(5)
        assert signals.is_listening
    await signals.stop()
