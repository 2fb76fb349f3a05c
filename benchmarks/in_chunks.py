"""Runs the `photochanger` command that follows without its sending of files by the kernel.

Used as the beginning of a command: `python -m benchmarks.in_chunks python -m photochanger serve …`.
"""

import sys

from photochanger.entrypoints.cli import main
from photochanger.entrypoints.http.server import GuardedProtocol

if __name__ == "__main__":
    sys.argv = sys.argv[sys.argv.index("photochanger") :]
    GuardedProtocol.sends_files = False
    main()
