"""glibc's memory allocator, told to keep the buffers that photos pass through."""

import os
import platform
import sys
from collections.abc import Mapping
from typing import Final

SETTINGS: Final[Mapping[str, str]] = {
    "MALLOC_TRIM_THRESHOLD_": str(64 << 20),
    "MALLOC_MMAP_THRESHOLD_": str(32 << 20),
    "MALLOC_TOP_PAD_": str(16 << 20),
}
"""By default glibc gives large buffers back to the kernel and fetches them again for every chunk: a third
fewer bytes a second come in (benchmarks/README.md, ASGI servers)."""


def restart_with_settings() -> None:
    """Replace this process by itself with the settings in its environment; return where they are moot.

    glibc reads them before the interpreter starts, so setting them later changes nothing. A variable that
    the operator has set stays as it is.
    """
    if platform.libc_ver()[0] != "glibc" or SETTINGS.keys() <= os.environ.keys():
        return
    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], {**SETTINGS, **os.environ})  # noqa: S606 - ourselves
