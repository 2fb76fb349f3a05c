"""The chaos test in small, and the same with defects put in, which it has to find."""

import os
import random
import shutil
import sys
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.broken import DEFECTS
from tests.chaos.driver import FAKETIME, Plan, Report, run
from tests.chaos.report import as_markdown
from tests.chaos.schedule import KINDS
from tests.crash.victim import OWN_GROUP

pytestmark = [pytest.mark.anyio, pytest.mark.system, pytest.mark.slow]

SECONDS = 30.0


def all_that_can_be() -> list[str]:
    """Return the faults that this machine can make; in CI that has to be all of them."""
    if FAKETIME:
        return list(KINDS)
    missing = "no clock is set wrong: libfaketime is missing (Debian: libfaketime)"
    if os.environ.get("CI") == "true":
        pytest.fail(missing)
    warnings.warn(missing, stacklevel=2)
    return [kind for kind in KINDS if kind != "clock"]


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder of a short name that PostgreSQL's own user can pass, other than pytest's."""
    folder = Path(tempfile.mkdtemp(prefix="photochanger-chaos-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.filterwarnings("default:no clock is set wrong")
@pytest.mark.parametrize("store", ["folder", "s3"])
async def test_everything_goes_wrong_and_nothing_is_lost(folder: Path, store: str) -> None:
    seed = random.randrange(10**6)
    print(f"seed {seed}")  # noqa: T201 - shown where the test fails
    plan = Plan(seed=seed, faults=all_that_can_be(), seconds=SECONDS, store=store, booths=8)

    report = await run(plan, folder, tell=print)

    assert report.violations == [], as_markdown(report)
    assert all(any(name.startswith(f"fault: {kind}") for name in report.counts) for kind in plan.faults)
    assert report.counts["photo: ok"] > 0
    unseen = {verdict.invariant for verdict in report.verdicts if not verdict.checked}
    assert unseen <= MAY_BE_UNSEEN


MAY_BE_UNSEEN = {
    "memory and descriptors stay flat",
    "no 504 comes early",
    "no temporary file outlives its time by a minute",
}
"""What takes longer to tell, and what a run without time-outs, or with quick sweeps, has none of."""


async def test_processes_that_are_forked_are_killed_as_well(folder: Path) -> None:
    seed = random.randrange(10**6)
    print(f"seed {seed}")  # noqa: T201 - shown where the test fails
    plan = Plan(seed=seed, faults=["kill"], kills=20, forked=True, booths=8)

    report = await run(plan, folder, tell=print)

    assert report.violations == [], as_markdown(report)
    assert sum(count for name, count in report.counts.items() if name.startswith("fault: kill")) == 20
    assert report.counts["photo: ok"] > 0


FOUND = {
    "short_leases": "every repeated call of the provider has a cause",
    "early_time_outs": "no 504 comes early",
    "kept_files": "verify finds nothing, and nothing is left",
    "talkative_logs": "no unforeseen error and no secret in a log",
}


@pytest.mark.parametrize("defect", DEFECTS)
async def test_a_defect_is_found(folder: Path, defect: str) -> None:
    report = await with_defect(folder, defect)
    found = {verdict.invariant for verdict in report.verdicts if verdict.violations}
    assert FOUND[defect] in found, as_markdown(report)


async def with_defect(folder: Path, defect: str) -> Report:
    """Run without any fault but the one that is in the program."""
    prefix = [*OWN_GROUP, sys.executable, "-m", "tests.chaos.broken", defect]
    plan = Plan(seed=1, faults=[], seconds=4.0, serves=1, workers=1, booths=8, prefix=prefix)
    return await run(plan, folder, tell=print)
