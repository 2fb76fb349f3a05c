"""PostgreSQL is restarted, or fails over, under load: what was accepted is done, and more is accepted."""

from pathlib import Path

import pytest

from tests.resilience.outages import Outage, failed_over, restarted
from tests.resilience.postgres import Mode, PostgresServer, servers

pytestmark = [pytest.mark.anyio, pytest.mark.system]


def assert_nothing_is_lost(outage: Outage) -> None:
    """See that booths got pictures, or were told to come again; and that every job was done."""
    assert set(outage.load.outcomes()) <= {"200", "503 database_unavailable"}
    assert set(outage.states()) == {"completed"}
    assert outage.lost() == 0


@pytest.mark.parametrize("mode", ["fast", "immediate"])
async def test_a_restart_costs_no_accepted_photo(
    postgres: PostgresServer, tmp_path: Path, mode: Mode
) -> None:
    assert_nothing_is_lost(await restarted(postgres, tmp_path / "data", f"restart_{mode}", mode=mode))


async def test_a_failover_costs_no_accepted_photo(tmp_path: Path) -> None:
    with servers(2) as [primary, standby]:
        primary.create()
        assert_nothing_is_lost(await failed_over(primary, standby, tmp_path / "data"))
