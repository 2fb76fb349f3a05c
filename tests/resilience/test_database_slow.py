"""PostgreSQL answers late, or later than anybody waits: held requests are answered all the same, in time."""

from pathlib import Path
from typing import Final

import pytest

from photochanger.domain.job import JobState
from tests.resilience.postgres import HOST, OWNER, PostgresServer
from tests.resilience.slow_proxy import LATENESSES, SlowProxy
from tests.resilience.trouble import HANGING, QUICK, Endurance
from tests.system.installation import Installation

pytestmark = [pytest.mark.anyio, pytest.mark.system, pytest.mark.slow]

TIME_OUT_SEC: Final = 6
LATENESS_SEC: Final = 2.0
"""Much more than is allowed, for a busy machine: `python -m tests.resilience slow` has the figures."""


@pytest.mark.parametrize("name", LATENESSES)
async def test_a_slow_database_makes_nobody_wait_beyond_the_deadline(
    postgres: PostgresServer, tmp_path: Path, name: str
) -> None:
    database = f"answers_{name}"
    postgres.create_database(database)
    async with SlowProxy(postgres.port).running() as proxy:
        url = f"postgresql://{OWNER}@{HOST}:{proxy.port}/{database}"
        installation = Installation(tmp_path / "data", url)
        endurance = Endurance(installation, time_out_sec=TIME_OUT_SEC)
        try:
            await endurance.set_up()
            seen = await endurance.go_through(proxy.slow(LATENESSES[name]), held=12)
            discrepancies = await installation.discrepancies()
        finally:
            installation.kill_all()

    assert {(each.status, each.code) for each in seen.held} == {(504, "timeout")}
    assert 0 <= min(seen.late_sec()) <= max(seen.late_sec()) < LATENESS_SEC
    answers = {(200, ""), (503, "database_unavailable"), (504, "timeout")}
    assert {(each.status, each.code) for each in seen.during} <= answers
    assert all(each.has_retry_after for each in seen.during if each.status == 503)
    assert {each.status for each in seen.live} == {200}
    assert seen.states[HANGING] == {JobState.FAILED_TIMEOUT}
    assert seen.states[QUICK] <= {JobState.COMPLETED, JobState.FAILED_TIMEOUT}
    assert seen.doubled() == seen.lost() == 0
    assert discrepancies == []
