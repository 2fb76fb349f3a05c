"""What is written down is what is so."""

import runpy
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest
from packaging.version import Version

ROOT = Path(__file__).parents[2]

# Below these, a known weakness is open: docs name it beside the requirement in pyproject.toml.
FLOORS = {
    "aiohttp": "3.14.4",
    "litestar": "2.23",
    "multipart": "1.3.1",
    "pillow": "13.0.0",
}


def test_the_chart_of_the_job_states_is_drawn_from_the_table() -> None:
    chart = runpy.run_path(str(ROOT / "docs" / "job_states.py"))["chart"]

    assert (ROOT / "docs" / "job-states.md").read_text() == chart(), "run: make contracts"


def test_the_chart_of_the_media_states_is_drawn_from_the_table() -> None:
    chart = runpy.run_path(str(ROOT / "docs" / "media_states.py"))["chart"]

    assert (ROOT / "docs" / "media-states.md").read_text() == chart(), "run: make contracts"


@pytest.mark.parametrize("package", FLOORS)
def test_no_library_is_older_than_its_last_known_weakness(package: str) -> None:
    assert Version(version(package)) >= Version(FLOORS[package])


def test_the_locked_requirements_carry_hashes_and_no_index() -> None:
    for path in (ROOT / "requirements").glob("*.txt"):
        lines = path.read_text().splitlines()
        pinned = [line for line in lines if "==" in line]
        assert pinned
        assert all(line.rstrip().endswith("\\") for line in pinned), f"{path.name}: a pin without a hash"
        assert not [line for line in lines if "://" in line or line.startswith("-")]


def test_every_make_target_explains_itself() -> None:
    makefile = (ROOT / "Makefile").read_text()
    [phony] = [line.removeprefix(".PHONY:") for line in makefile.splitlines() if line.startswith(".PHONY:")]

    assert [target for target in phony.split() if f"\n{target}:" not in makefile] == []
    assert [target for target in phony.split() if not _explained(target, makefile)] == []


def _explained(target: str, makefile: str) -> bool:
    return any(line.startswith(f"{target}:") and " ## " in line for line in makefile.splitlines())


def test_the_core_has_no_dependency() -> None:
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"] == []
