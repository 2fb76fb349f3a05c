"""The crash test in small: what a hundred kills may show, a few show often enough to be worth a minute."""

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.crash.driver import Driver, Plan
from tests.s3_server import S3Server
from tests.system.installation import Installation, as_url

pytestmark = [pytest.mark.anyio, pytest.mark.system, pytest.mark.slow]

KILLS = 15


async def test_a_server_with_its_media_in_a_folder(installation: Installation) -> None:
    await killed_again_and_again(installation)


async def test_a_server_and_a_worker(installation: Installation) -> None:
    await killed_again_and_again(installation, separate_worker=True)


async def test_a_server_with_its_media_in_a_bucket(
    tmp_path: Path, new_database: Callable[[], str], s3_server: S3Server
) -> None:
    bucket = s3_server.new_bucket()
    await killed_again_and_again(Installation(tmp_path / "data", as_url(new_database()), bucket=bucket))


async def killed_again_and_again(installation: Installation, *, separate_worker: bool = False) -> None:
    """Let the crash test find nothing, and see that it had something to look at."""
    seed = random.randrange(10**6)
    print(f"seed {seed}")  # noqa: T201 - shown where the test fails
    plan = Plan(kills=KILLS, seed=seed, separate_worker=separate_worker)

    figures = await Driver(plan, installation, tell=print).run()

    assert figures.violations == []
    assert sum(figures.kills.values()) >= KILLS
    assert figures.counts["photos answered 200"] > 0
    assert figures.counts["results downloaded and compared"] > 0
