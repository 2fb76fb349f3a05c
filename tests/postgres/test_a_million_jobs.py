"""Lists and statistics read as little of a million jobs as of a few."""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, TypeAlias

import psycopg
import pytest
from psycopg.sql import SQL, Identifier, Literal

from photochanger.adapters.postgres import claim_statements, history, statistics
from photochanger.adapters.postgres.pool import connection_options
from photochanger.application.ports import JobCursor, JobFilter
from photochanger.domain.job import FINAL_STATES, JobId, JobSource, JobState
from photochanger.domain.slot import SLOT_IDS, SlotId
from photochanger.domain.statistics import BUCKETS, HOUR, Period
from photochanger.testing.many_jobs import JOBS, fill

pytestmark = pytest.mark.slow

Statement: TypeAlias = tuple[bytes, Mapping[str, object]]
DAY: Final = timedelta(days=1)
FAILED: Final = FINAL_STATES - {JobState.COMPLETED}
NO_SLOT: Final = SlotId("slot-016")
"""It never had a job."""


@dataclass(frozen=True)
class Filled:
    """A database with a million jobs, its time, and until when they are added up."""

    connection: psycopg.Connection
    now: datetime
    until: datetime


@pytest.fixture(scope="module")
def filled(new_database: Any) -> Iterator[Filled]:
    """Fill a database and add everything up; nothing is vacuumed, as after a busy day."""
    dsn = new_database()
    with psycopg.connect(dsn, **connection_options(dsn, application_name="a million")) as connection:
        for table in ("job", "media_object"):  # crashes are not what is looked at here
            connection.execute(SQL("ALTER TABLE {table} SET UNLOGGED").format(table=Identifier(table)))
            connection.execute(
                SQL("ALTER TABLE {table} SET (autovacuum_enabled = off)").format(table=Identifier(table))
            )
        fill(dsn)
        while connection.execute(statistics._ROLL_UP, {"limit": 24}).fetchone() not in {None, (0,)}:
            continue
        connection.execute("ANALYZE")
        row = connection.execute("SELECT now(), until FROM job_tally_progress").fetchone()
        assert row is not None
        yield Filled(connection, *row)


def _plan(filled: Filled, statement: Statement, *, generic: bool) -> Mapping[str, Any]:
    """Run the statement and return the plan that it went by: the one that connections keep, or its own."""
    text, parameters = statement
    with filled.connection.transaction(force_rollback=True):
        if not generic:
            [[[plan]]] = filled.connection.execute(
                b"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) " + text, parameters
            )
            return dict(plan["Plan"])
        filled.connection.execute("SET LOCAL plan_cache_mode = force_generic_plan")
        names = list(dict.fromkeys(re.findall(rb"%\((\w+)\)s", text)))
        numbered = re.sub(rb"%\((\w+)\)s", lambda found: b"$%d" % (names.index(found[1]) + 1), text)
        types = ", ".join(_TYPES[type(parameters[name.decode()])] for name in names)
        declared = f"PREPARE kept ({types}) AS ".encode() if names else b"PREPARE kept AS "
        filled.connection.execute(declared + numbered.replace(b"%%", b"%"))
        given = SQL(", ").join(Literal(parameters[name.decode()]) for name in names)
        execute = SQL("EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) EXECUTE kept{}").format(
            SQL("({})").format(given) if names else SQL("")
        )
        [[[plan]]] = filled.connection.execute(execute)
        filled.connection.execute("DEALLOCATE kept")
        return dict(plan["Plan"])


_TYPES: Final[Mapping[type, str]] = {
    int: "bigint",
    str: "text",
    list: "text[]",
    datetime: "timestamptz",
    timedelta: "interval",
}


def _nodes(plan: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield plan
    for part in plan.get("Plans", []):
        yield from _nodes(part)


def _pages(plan: Mapping[str, Any]) -> int:
    return int(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"])


def _figures(length: timedelta, bucket: str, *, by_slot: bool) -> Callable[[Filled], Statement]:
    def statement(filled: Filled) -> Statement:
        period = Period(start=filled.now - length, end=filled.now, bucket=BUCKETS[bucket])
        return statistics.reading(period, filled.until, by_slot=by_slot)

    return statement


def _page(wanted: JobFilter, *, days_ago: float | None = None) -> Callable[[Filled], Statement]:
    def statement(filled: Filled) -> Statement:
        if days_ago is None:
            return history.page_of(wanted, limit=50)
        after = JobCursor(created_at=filled.now - days_ago * DAY, job_id=JobId("a" * 32))
        return history.page_of(wanted, limit=50, after=after)

    return statement


def _within(days_ago: float, **wanted: Any) -> Callable[[Filled], Statement]:
    def statement(filled: Filled) -> Statement:
        since = filled.now - days_ago * DAY
        return history.page_of(JobFilter(since=since, until=since + DAY, **wanted), limit=50)

    return statement


def _under_limits(statement: bytes, **others: object) -> Callable[[Filled], Statement]:
    limits = {
        "slots": list(SLOT_IDS),
        "slot_places": ["8"] * len(SLOT_IDS),
        "providers": ["gemini"],
        "provider_places": ["20"],
    }
    return lambda _: (statement, {**limits, **others})


STATEMENTS: Final[Mapping[str, tuple[Callable[[Filled], Statement], int]]] = {
    "claim": (_under_limits(claim_statements.CLAIM, limit=8, reach=8, lease=timedelta(seconds=4)), 30),
    "move": (
        lambda _: (
            claim_statements.MOVE,
            {"job_id": "a" * 32, "fence": 1, "provider": "gemini", "places": 5},
        ),
        30,
    ),
    "series, a day by hours": (_figures(DAY, "1h", by_slot=False), 3_000),
    "slots, a day by hours": (_figures(DAY, "1h", by_slot=True), 3_000),
    "series, thirty days": (_figures(30 * DAY, "1d", by_slot=False), 3_000),
    "slots, thirty days": (_figures(30 * DAY, "1d", by_slot=True), 3_000),
    "slots, a week by hours": (_figures(7 * DAY, "1h", by_slot=True), 6_000),
    "slots, fifty hours by quarters": (_figures(49 * HOUR, "15m", by_slot=True), 8_000),
    "series, four hours by five minutes": (_figures(4 * HOUR, "5m", by_slot=False), 8_000),
    "present": (lambda _: (statistics._PRESENT, {}), 12_000),
    "all": (_page(JobFilter()), 300),
    "all, deep": (_page(JobFilter(), days_ago=29), 300),
    "a slot": (_page(JobFilter(slot_id=SLOT_IDS[6])), 300),
    "a slot, deep": (_page(JobFilter(slot_id=SLOT_IDS[6]), days_ago=29), 300),
    "a slot without a job": (_page(JobFilter(slot_id=NO_SLOT)), 30),
    "failed": (_page(JobFilter(states=FAILED)), 300),
    "failed in one way": (_page(JobFilter(states=[JobState.FAILED_INTERNAL]), days_ago=10), 500),
    "failed of a slot": (_page(JobFilter(slot_id=SLOT_IDS[6], states=FAILED)), 300),
    "failed of a slot without a job": (_page(JobFilter(slot_id=NO_SLOT, states=FAILED)), 30),
    "completed": (_page(JobFilter(states=[JobState.COMPLETED])), 300),
    "unfinished": (_page(JobFilter(states=set(JobState) - FINAL_STATES)), 30),
    "tests": (_page(JobFilter(source=JobSource.TEST)), 300),
    "tests of a slot": (_page(JobFilter(source=JobSource.TEST, slot_id=SLOT_IDS[6])), 2_500),
    "a day long ago": (_within(25), 300),
    "a slot's failures of a day long ago": (_within(25, slot_id=SLOT_IDS[6], states=FAILED), 300),
    "the newest of each slot": (lambda _: history.latest_of(JobSource.BOOTH, None), 500),
    "the newest failure of each slot": (lambda _: history.latest_of(JobSource.BOOTH, FAILED), 500),
    "results": (lambda _: (history._WITH_RESULTS, {"slot_id": SLOT_IDS[6], "limit": 10}), 100),
    "results of a slot without a job": (
        lambda _: (history._WITH_RESULTS, {"slot_id": NO_SLOT, "limit": 10}),
        30,
    ),
}


@pytest.mark.parametrize("generic", [False, True], ids=["own plan", "kept plan"])
@pytest.mark.parametrize("name", STATEMENTS)
def test_a_statement_reads_little(filled: Filled, name: str, generic: bool) -> None:
    make, most_pages = STATEMENTS[name]
    plan = _plan(filled, make(filled), generic=generic)
    tables = {node["Relation Name"] for node in _nodes(plan) if node["Node Type"] == "Seq Scan"}
    assert not tables & {"job", "media_object", "job_tally"}
    assert _pages(plan) <= most_pages


def test_adding_up_an_hour_reads_that_hour_and_the_longer_buckets_that_it_ends(filled: Filled) -> None:
    """The worst is the last hour of a day: jobs are read for the hour, its quarters, six hours, the day."""
    with filled.connection.transaction(force_rollback=True):
        filled.connection.execute(
            "UPDATE job_tally_progress SET until = date_bin('1 day', until - '2 days'::interval, 'epoch')"
            " - '1 hour'::interval"
        )
        filled.connection.execute("DELETE FROM job_tally")
        plan = _plan(filled, (statistics._ROLL_UP, {"limit": 1}), generic=False)
    scans = [node for node in _nodes(plan) if node.get("Relation Name") == "job"]
    assert {node["Node Type"] for node in scans} == {"Index Only Scan"}
    read = sum(node["Actual Rows"] * node["Actual Loops"] for node in scans)
    assert read <= 1.1 * (JOBS / 30) * (24 + 6 + 1 + 1) / 24


def test_the_million_is_there(filled: Filled) -> None:
    """Or else little would be read of little."""
    row = filled.connection.execute(
        "SELECT count(*), count(*) FILTER (WHERE state <> 'completed'), count(DISTINCT slot_id),"
        " (SELECT count(*) FROM media_object WHERE state = 'stored') FROM job"
    ).fetchone()
    assert row is not None
    jobs, failed, slots, files = row
    assert (jobs, slots) == (JOBS, len(SLOT_IDS))
    assert 0.035 * JOBS < failed < 0.045 * JOBS
    assert 0.9 * 2 * JOBS / 10 < files <= 2 * JOBS / 10
