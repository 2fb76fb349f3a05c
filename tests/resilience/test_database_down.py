"""PostgreSQL stops, freezes, is locked, full or cannot write while requests are held: they are answered."""

from pathlib import Path
from typing import Final

import pytest

from photochanger.domain.job import JobState
from tests.resilience.postgres import CAN_BE_READ, TROUBLES, PostgresServer
from tests.resilience.trouble import HANGING, QUICK, Endurance
from tests.system.installation import Installation

pytestmark = [pytest.mark.anyio, pytest.mark.system, pytest.mark.slow]

TIME_OUT_SEC: Final = 6
LATENESS_SEC: Final = 2.0
"""Much more than is allowed, for a busy machine: `python -m tests.resilience database` has the figures."""


@pytest.mark.parametrize("trouble", TROUBLES)
async def test_held_requests_are_answered_at_their_deadline_and_everything_comes_back(
    postgres: PostgresServer, tmp_path: Path, trouble: str
) -> None:
    database = f"is_{trouble}"
    installation = Installation(tmp_path / "data", postgres.create_database(database))
    endurance = Endurance(installation, time_out_sec=TIME_OUT_SEC)
    try:
        await endurance.set_up()
        seen = await endurance.go_through(TROUBLES[trouble](postgres, database), held=12)
    finally:
        installation.kill_all()

    assert {(each.status, each.code) for each in seen.held} == {(504, "timeout")}
    assert 0 <= min(seen.late_sec()) <= max(seen.late_sec()) < LATENESS_SEC
    refused = [each for each in seen.during if each.status != 504]
    assert {(each.status, each.code) for each in refused} == {(503, "database_unavailable")}
    assert all(each.has_retry_after for each in refused)
    assert max(each.seconds for each in refused) < 3 + LATENESS_SEC
    assert {each.status for each in seen.live} == {200}
    if trouble not in CAN_BE_READ:
        assert {each.status for each in seen.ready} == {503}
    assert seen.states[HANGING] == {JobState.FAILED_TIMEOUT}
    assert JobState.COMPLETED in seen.states[QUICK]
    assert seen.states[QUICK] <= {JobState.COMPLETED, JobState.FAILED_TIMEOUT}
