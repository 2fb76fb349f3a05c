"""The crash test in small: what a hundred kills may show, a few show often enough to be worth a minute."""

import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from photochanger.adapters.object_store.bucket import Bucket
from tests.crash.driver import Driver, Plan
from tests.s3_server import S3Server
from tests.system.installation import Installation, as_url

pytestmark = [pytest.mark.anyio, pytest.mark.system, pytest.mark.slow]

KILLS = 15


@pytest.fixture(params=["folder", "s3"])
def bucket(request: pytest.FixtureRequest) -> Bucket | None:
    if request.param == "folder":
        return None
    server: S3Server = request.getfixturevalue("s3_server")
    return server.new_bucket()


@pytest.fixture
def installation(
    tmp_path: Path, new_database: Callable[[], str], bucket: Bucket | None
) -> Iterator[Installation]:
    installation = Installation(tmp_path / "data", as_url(new_database()), bucket=bucket)
    yield installation
    installation.kill_all()


@pytest.mark.parametrize("separate_worker", [False, True], ids=["one process", "two processes"])
async def test_whatever_is_killed_when_nothing_is_lost(
    installation: Installation, separate_worker: bool
) -> None:
    seed = random.randrange(10**6)
    print(f"seed {seed}")  # noqa: T201 - shown where the test fails
    plan = Plan(kills=KILLS, seed=seed, separate_worker=separate_worker)

    figures = await Driver(plan, installation, tell=print).run()

    assert figures.violations == []
    assert sum(figures.kills.values()) >= KILLS
    assert figures.counts["photos answered 200"] > 0
    assert figures.counts["results downloaded and compared"] > 0
