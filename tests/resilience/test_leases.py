"""A worker that slept beyond its lease: what it writes counts for nothing, and its files are collected."""

import pytest

from tests.resilience.leases import Leases
from tests.system.installation import Installation

pytestmark = [pytest.mark.anyio, pytest.mark.system, pytest.mark.slow]

JOBS = 12


@pytest.mark.parametrize("another", [True, False], ids=["another worker", "alone"])
async def test_no_write_is_accepted_after_its_lease(installation: Installation, another: bool) -> None:
    leases = Leases(installation)
    await leases.set_up(delay_ms=700)

    stopped = await leases.stop_and_go_on(JOBS, another=another)

    assert stopped.jobs > 0
    assert stopped.writes_tried > 0
    assert stopped.writes_accepted == 0
    assert stopped.discrepancies == []
