"""A small disk of a test's own, which becomes full, read-only, or vanishes when the test says so.

It is a tmpfs in a mount namespace of its own, which a helper process holds: with that process everything is
unmounted, whatever ends it. Others reach the files through `/proc/<pid>/root`.
"""

import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NoReturn

import pytest

_HOLD: Final = """
mount -t tmpfs -o "size=$2,nr_inodes=$3,mode=0777" none "$0" && mount --bind "$0" "$1" && echo && exec cat
"""
_FILLER: Final = "filler"
_PAGE_BYTES: Final = 4096


class SmallDisk:
    """The disk, seen at `path`, and what befalls it."""

    def __init__(self, helper: "subprocess.Popen[bytes]", disk: Path, folder: Path) -> None:
        self._helper = helper
        self._disk = disk
        self._folder = folder
        self._fillers: list[Path] = []
        self.path = self._seen(folder)

    def _seen(self, path: Path) -> Path:
        return Path(f"/proc/{self._helper.pid}/root{path}")

    @property
    def free_bytes(self) -> int:
        """How much room is left."""
        found = os.statvfs(self._seen(self._disk))
        return found.f_bavail * found.f_frsize

    def fill(self, *, but_for_bytes: int = 0) -> None:
        """Leave no room but for so many bytes, in whole pages."""
        path = self._new_filler()
        with path.open("wb") as file:
            room = self.free_bytes - but_for_bytes
            if room >= _PAGE_BYTES:
                os.posix_fallocate(file.fileno(), 0, room - room % _PAGE_BYTES)

    def use_up_names(self, *, but_for: int = 0) -> None:
        """Leave room for bytes, and for no more files than these."""
        while os.statvfs(self._seen(self._disk)).f_favail > but_for:
            self._new_filler().touch()

    def make_room(self) -> None:
        """Take away all that filled the disk."""
        while self._fillers:
            self._fillers.pop().unlink()

    def _new_filler(self) -> Path:
        path = self._seen(self._disk) / f"{_FILLER}-{len(self._fillers)}"
        self._fillers.append(path)
        return path

    def make_read_only(self) -> None:
        """Mount it read-only; every file that is open for writing has to be closed."""
        self._run("mount", "-o", "remount,bind,ro", str(self._folder))

    def make_writable(self) -> None:
        """Mount it writable again."""
        self._run("mount", "-o", "remount,bind,rw", str(self._folder))

    def vanish(self) -> None:
        """Unmount it; the empty folder below is seen."""
        self._run("umount", "--lazy", str(self._folder))

    def come_back(self) -> None:
        """Mount it again, with all that is on it."""
        self._run("mount", "--bind", str(self._disk), str(self._folder))

    def _run(self, *command: str) -> None:
        entered = ["nsenter", "--target", str(self._helper.pid), *_namespaces(), *command]
        subprocess.run(entered, check=True, capture_output=True)


def _namespaces() -> Sequence[str]:
    return ["--mount"] if os.geteuid() == 0 else ["--user", "--preserve-credentials", "--mount"]


@contextmanager
def small_disk(folder: Path, *, size_bytes: int, files: int = 0) -> Iterator[SmallDisk]:
    """Mount a disk of so many bytes, and of so many files (0: as many as memory allows), below `folder`.

    Where that is impossible the test is skipped; it fails where everything has to be there.
    """
    disk, seen = folder / "disk", folder / "mounted"
    disk.mkdir()
    seen.mkdir()
    command = [*a_namespace(), "sh", "-c", _HOLD, str(disk), str(seen), str(size_bytes), str(files)]
    try:
        helper = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
    except FileNotFoundError:
        cannot("the program unshare is missing (Debian: util-linux)")
    with helper:
        assert helper.stdin and helper.stdout and helper.stderr  # noqa: PT018 - for mypy
        if not helper.stdout.readline():
            cannot(f"no small disk can be mounted: {helper.stderr.read().decode().strip()}")
        try:
            yield SmallDisk(helper, disk, seen)
        finally:
            helper.stdin.close()  # it ends, as it would if we were killed


def a_namespace() -> Sequence[str]:
    """Return how to run a command where its mounts are its own."""
    return ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--mount", "--map-root-user"]


def cannot(reason: str) -> NoReturn:
    """Skip the test that lacks something here; in CI a missing part fails."""
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)
