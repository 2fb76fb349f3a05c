"""The rules of the house that import-linter cannot say: what the pure layers may import at all."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src"

PURE = {"abc", "collections", "contextlib", "dataclasses", "datetime", "enum", "math", "re", "typing"}
ALLOWED = {
    "domain": PURE | {"hashlib", "ipaddress", "json", "unicodedata"},
    "application": PURE | {"asyncio", "hashlib", "hmac", "secrets"},
}


def imported(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            names.add((node.module or "").split(".")[0])
    return names


@pytest.mark.parametrize("layer", ALLOWED)
def test_a_pure_layer_imports_only_the_pure_parts_of_the_standard_library(layer: str) -> None:
    files = sorted((SOURCE / "photochanger" / layer).rglob("*.py"))
    assert files
    surplus = {
        f"{path.relative_to(SOURCE)}: {name}"
        for path in files
        for name in imported(path) - ALLOWED[layer] - {"photochanger"}
    }
    assert surplus == set()


def test_the_core_needs_no_dependency() -> None:
    # -I and -S: no site-packages at all, as in a virtual environment without any dependency
    code = f"import sys; sys.path.insert(0, {str(SOURCE)!r})\n" + "\n".join(
        f"import {'.'.join(path.relative_to(SOURCE).with_suffix('').parts).removesuffix('.__init__')}"
        for layer in ALLOWED
        for path in sorted((SOURCE / "photochanger" / layer).rglob("*.py"))
    )
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr
