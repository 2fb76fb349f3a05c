"""The crash test in small: what a hundred kills may show, a few show often enough to be worth a minute."""

import asyncio
import random
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.crash.driver import Driver, Plan
from tests.s3_server import S3Server
from tests.system.installation import Installation, as_url, eventually

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


async def test_what_is_lost_or_left_is_found(installation: Installation) -> None:
    spoiling = asyncio.create_task(spoiled(installation.environment.media_dir))

    figures = await Driver(Plan(kills=6, seed=1), installation, tell=print).run()

    await spoiling
    told = "\n".join(figures.violations)
    assert re.search(r"row_without_file result/|[1-9]\d* lost files", told), told
    assert re.search(r"file_without_row payload/|[1-9]\d* stray", told), told


async def spoiled(media: Path) -> None:
    """Remove files that are stored, and leave one that nobody knows."""

    async def results() -> list[Path]:
        found = [path for path in media.glob("result/*/*") if path.suffix != ".part"]
        return found if len(found) >= 3 else []

    stray = media / "payload" / "ab" / f"ab{30 * '0'}"
    for lost in await eventually(results, within_sec=120):
        lost.unlink(missing_ok=True)
    stray.parent.mkdir(parents=True, exist_ok=True)
    stray.write_bytes(b"whose is it?")


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
