"""The example of docs/add-a-provider.md, done as it says: one file, one line, one run of the suite."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

GUIDE = Path(__file__).parents[2] / "docs" / "add-a-provider.md"
SOURCE = Path(__file__).parents[2] / "src"

FIND = """
from photochanger.entrypoints.image_providers import find_providers
provider = find_providers({"ACME_API_KEY": "k"})["acme"]
print(provider.description.display_name, provider.description.is_configured)
"""


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """The package of the guide, as pip would have installed it."""
    code, suite = re.findall(r"```python\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)
    [line] = re.findall(r"```toml\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)
    (tmp_path / "acme_pictures.py").write_text(code, encoding="utf-8")
    (tmp_path / "test_acme.py").write_text(suite, encoding="utf-8")
    [(group, entries)] = tomllib.loads(line)["project"]["entry-points"].items()
    metadata = tmp_path / "acme-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: acme\nVersion: 1.0\n")
    points = "".join(f"{name} = {value}\n" for name, value in entries.items())
    (metadata / "entry_points.txt").write_text(f"[{group}]\n{points}")
    return tmp_path


def run(package: Path, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=package,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(package), str(SOURCE)])},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_provider_is_found_by_its_line(package: Path) -> None:
    assert run(package, "-c", FIND) == "Acme Pictures True\n"


def test_the_provider_passes_the_contract_suite(package: Path) -> None:
    told = run(package, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "test_acme.py")
    assert re.search(r"\d+ passed", told)
    assert "failed" not in told


def test_the_table_of_errors_names_them_all() -> None:
    from photochanger.domain.errors import ProviderFault, error_classes

    named = set(re.findall(r"^\| `(Provider\w+)` \|", GUIDE.read_text(encoding="utf-8"), re.MULTILINE))
    assert named == {cls.__name__ for cls in error_classes(ProviderFault)} - {"ProviderFault"}
