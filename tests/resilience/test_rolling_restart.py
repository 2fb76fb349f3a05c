"""Two processes behind nginx, restarted in turn under load: no booth notices."""

from pathlib import Path

import pytest

from photochanger.testing.photos import plain_jpeg
from tests.resilience.rolling import BOOTHS, RollingRestart
from tests.system.installation import Installation

pytestmark = [pytest.mark.anyio, pytest.mark.system]


@pytest.mark.usefixtures("nginx_is_there")
async def test_no_photo_fails_while_the_processes_are_restarted_one_by_one(
    installation: Installation, tmp_path: Path
) -> None:
    photo = tmp_path / "photo.jpg"
    photo.write_bytes(plain_jpeg())
    await installation.set_up({"effect": "none", "delay_ms": 50})

    rolled = await RollingRestart(installation, photo, tmp_path).run(photos=300, restarts=2)

    assert dict(rolled.outcomes) == {"delivered": rolled.outcomes.total()}, rolled.proxy_errors
    assert rolled.exit_statuses == [0, 0]
    jobs = await installation.jobs()
    assert len(jobs) == rolled.outcomes.total()
    assert sum(job.fence for job in jobs) - len(jobs) <= 2 * BOOTHS
