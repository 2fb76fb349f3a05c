"""The peers: which versions, how they are installed, and where they are found.

Each is pinned with hashes in `requirements/` and gets an environment of its own, in a cache folder outside of
the repository, so that none of its dependencies touches ours.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeAlias

HERE: Final = Path(__file__).parent
PYTHON_PEERS: Final = ("litellm", "queues")
NODE_PEERS: Final = ("graphile",)
_DONE: Final = "installed"

_Installer: TypeAlias = Callable[[Path, Path], None]


def default_folder() -> Path:
    """Return the cache folder of the peers: `~/.cache/photochanger-benchmarks`, or where XDG puts caches."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "photochanger-benchmarks"


class MissingPeerError(Exception):
    """A peer is not installed."""

    def __init__(self, name: str) -> None:
        super().__init__(f"{name} is not installed: run python -m benchmarks install-peers")


def install(folder: Path) -> None:
    """Install every peer that is not installed yet; those of npm only where there is one."""
    for name in PYTHON_PEERS:
        _install_once(folder / name, HERE / "requirements" / f"{name}.txt", _install_python)
    if shutil.which("npm") is None:
        print("There is no npm here: graphile-worker is left out.", file=sys.stderr)
        return
    for name in NODE_PEERS:
        _install_once(folder / name, HERE / name / "package-lock.json", _install_node)


def _install_once(target: Path, lock: Path, install_into: _Installer) -> None:
    mark = target / _DONE
    if mark.exists() and mark.read_bytes() == lock.read_bytes():
        print(f"{target.name} is there", file=sys.stderr)
        return
    print(f"Installing {target.name} …", file=sys.stderr)
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    install_into(target, lock)
    mark.write_bytes(lock.read_bytes())


def _install_python(target: Path, lock: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", target], check=True)
    pip = [str(target / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "--quiet"]
    subprocess.run([*pip, "install", "--require-hashes", "-r", str(lock)], check=True)


def _install_node(target: Path, lock: Path) -> None:
    for name in ("package.json", "package-lock.json"):
        shutil.copy(lock.parent / name, target)
    subprocess.run(["npm", "ci", "--no-audit", "--no-fund", "--silent"], cwd=target, check=True)


def python_of(folder: Path, name: str) -> Path:
    """Return the Python of a peer's environment; raises `MissingPeerError`."""
    python = folder / name / "bin" / "python"
    if not (folder / name / _DONE).exists() or not python.exists():
        raise MissingPeerError(name)
    return python


def has_node_peer(folder: Path, name: str) -> bool:
    """Say whether a peer from npm is installed."""
    return (folder / name / _DONE).exists() and shutil.which("node") is not None


def node_program(folder: Path, name: str) -> Path:
    """Return the program that runs a peer from npm: Node finds packages beside it only."""
    return Path(shutil.copy(HERE / name / "closed_loop.mjs", folder / name))


def pinned_version(name: str, package: str) -> str:
    """Return which version of a package is pinned for a peer."""
    for line in (HERE / "requirements" / f"{name}.txt").read_text().splitlines():
        if line.lower().startswith(f"{package}=="):
            return line.partition("==")[2].split()[0].rstrip(";\\ ")
    raise LookupError(package)
