"""Benchmarks still run: those that need nothing but us, as short as they can be."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "benchmarks", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.system
@pytest.mark.parametrize(
    ("name", "options", "figure"),
    [
        pytest.param("queue", ["--without-peers", "--stranded", "200"], "rate", id="queue"),
        pytest.param("preview", [], "cpu_0", id="preview"),
    ],
)
def test_a_comparison_runs_and_leaves_its_files(
    name: str, options: list[str], figure: str, tmp_path: Path
) -> None:
    done = run(name, "--quick", "--to", str(tmp_path), *options)

    assert done.returncode == 0, done.stderr
    assert {path.name for path in tmp_path.iterdir()} == {f"{name}.{kind}" for kind in ("md", "json", "svg")}
    document = json.loads((tmp_path / f"{name}.json").read_text())
    [found] = [each for each in document["figures"] if each["key"] == figure]
    assert found["rounds"]["PhotoChanger"][0] > 0
    assert "… round 1 of 1" in done.stderr


def test_what_needs_a_peer_says_how_to_install_it(tmp_path: Path) -> None:
    done = run("queue", "--quick", "--peers", str(tmp_path))

    assert done.returncode == 1
    assert "install-peers" in done.stderr


def test_an_unknown_name_is_told_what_there_is() -> None:
    done = run("quue")

    assert done.returncode == 2
    assert "queue" in done.stderr
