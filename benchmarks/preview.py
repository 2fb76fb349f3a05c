"""Checking a picture and making its preview, against libjpeg-turbo's own program (goal G8).

`djpeg -scale 1/8` decodes a JPEG to an eighth of its size and writes it as a bitmap: about what nobody can
leave out who wants to know whether all of it can be decoded. Ours is `ImageEditor.finish`, in a new process:
the structure examined, metadata removed into a new file, every pixel decoded on the way to the preview, and
that encoded. Processor time, so that other work on the machine changes little.

Needs djpeg (Debian: libjpeg-turbo-progs).
"""

import argparse
import asyncio
import json
import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import BinaryIO, Final

from benchmarks.harness import (
    Spread,
    forget_peak,
    installation,
    peak_mib,
    resident_mib,
)
from benchmarks.report import OURS, Contestant, Figure, Goal, Report, Rounds, say
from photochanger.adapters.filesystem import FilesystemMediaStore
from photochanger.adapters.images import PillowImageEditor
from photochanger.testing.photos import camera_jpeg

DJPEG: Final = "djpeg -scale 1/8"
TIMES: Final = 8
"""Pictures in a round."""
_TICK_SEC: Final = 0.001

PICTURES: Final[Mapping[str, Callable[[], bytes]]] = {
    "24 MP, q92": lambda: camera_jpeg(6000, 4000, quality=92, noise=0.1),
    "24 MP, q97": lambda: camera_jpeg(6000, 4000, quality=97, noise=0.4),
    "3 MP, q97 (the other benchmarks' picture)": lambda: camera_jpeg(2048, 1536, quality=97, noise=0.65),
}


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add what can be chosen of this comparison."""
    parser.add_argument("--photo", type=Path, nargs="*", default=[], help="JPEGs of your own, besides")


def run(options: argparse.Namespace) -> Report:
    """Measure, and return the report."""
    pictures = {name: make() for name, make in list(PICTURES.items())[: 1 if options.quick else None]}
    pictures |= {f"photo {number + 1}": path.read_bytes() for number, path in enumerate(options.photo)}
    rounds = Rounds()
    times = 2 if options.quick else TIMES
    with installation() as folder:
        for number in range(options.rounds):
            for index, (name, picture) in enumerate(pictures.items()):
                say(f"round {number + 1} of {options.rounds}: {name}")
                if shutil.which("djpeg"):
                    figures = asyncio.run(_beside_djpeg(folder, picture, times))
                    rounds.add(DJPEG, **{f"{key}_{index}": value for key, value in figures.items()})
                figures = _ours(folder, picture, times)
                rounds.add(OURS, **{f"{key}_{index}": value for key, value in figures.items()})
    with_djpeg = bool(rounds.of(DJPEG, "cpu_0"))
    known = [
        Contestant(name=DJPEG, what=_version() if with_djpeg else "not installed"),
        Contestant(name=OURS, what="`ImageEditor.finish`: examined, cleaned, checked by decoding, preview"),
    ]
    sizes = ", ".join(f"{name}: {len(picture) / 1e6:.1f} MB" for name, picture in pictures.items())
    return Report(
        name="preview",
        title="A picture checked, cleaned, and its preview",
        how=f"Processor time of {times} pictures a round, {options.rounds} interleaved rounds; {sizes}.",
        contestants=known if with_djpeg else known[1:],
        figures=[
            Figure(key=f"{key}_{index}", label=f"{name}: {label}")
            for index, name in enumerate(pictures)
            for key, label in (
                ("cpu", "CPU ms a picture"),
                ("memory", "memory added, MiB"),
                ("lag", "event loop held up, most ms"),
            )
        ],
        plotted=[f"cpu_{index}" for index in range(len(pictures))],
        rounds=rounds,
        goals=[
            goal
            for index, name in enumerate(pictures)
            for goal in (
                *([_cpu_goal(rounds, index, name)] if with_djpeg else []),
                Goal(
                    label=f"G8: {name}, memory added",
                    reached=rounds.spread(OURS, f"memory_{index}"),
                    bound=15,
                    unit=" MiB",
                ),
                Goal(
                    label=f"G8: {name}, event loop held up",
                    reached=rounds.spread(OURS, f"lag_{index}"),
                    bound=10,
                    unit=" ms",
                ),
            )
        ],
    )


def _cpu_goal(rounds: Rounds, index: int, name: str) -> Goal:
    ratio: Spread = rounds.ratio(OURS, DJPEG, f"cpu_{index}")
    return Goal(label=f"G8: {name}, CPU ÷ djpeg's", reached=ratio, bound=1.2)


async def _beside_djpeg(folder: Path, picture: bytes, times: int) -> Mapping[str, float]:
    """Return also how late this event loop's timers were: what the machine's other work is to blame for."""
    ticking = asyncio.create_task(_longest_pause())
    cpu = await asyncio.to_thread(_djpeg, folder, picture, times)
    ticking.cancel()
    return {"cpu": cpu, "lag": await ticking}


def _djpeg(folder: Path, picture: bytes, times: int) -> float:
    """Return the CPU milliseconds that djpeg takes for a picture, its start included."""
    file = folder / "picture.jpg"
    file.write_bytes(picture)
    command = ["djpeg", "-scale", "1/8", "-outfile", os.devnull, str(file)]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    for _ in range(times):
        subprocess.run(command, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) * 1000 / times


def _ours(folder: Path, picture: bytes, times: int) -> Mapping[str, float]:
    """Run this module as a program: a process that is used to nothing larger."""
    file = folder / "picture.jpg"
    file.write_bytes(picture)
    command = [sys.executable, "-m", "benchmarks.preview", str(file), str(times)]
    told = subprocess.run(command, check=True, capture_output=True, timeout=300).stdout
    figures: Mapping[str, float] = json.loads(told)
    return figures


async def _finish(file: BinaryIO, folder: Path, times: int) -> Mapping[str, float]:
    store = FilesystemMediaStore(folder)
    store.check()
    editor = PillowImageEditor(scratch=store.scratch, decodes=1)
    with store.scratch() as small:
        small.write(camera_jpeg(60, 40))
        async with editor.finish(small):  # everything is loaded
            pass
    idle = resident_mib(os.getpid())
    forget_peak(os.getpid())
    ticking = asyncio.create_task(_longest_pause())
    await asyncio.sleep(0)
    before = time.process_time()
    for _ in range(times):
        async with editor.finish(file):
            pass
    cpu = (time.process_time() - before) * 1000 / times
    memory = peak_mib(os.getpid()) - idle
    ticking.cancel()
    lag = await ticking
    editor.close()
    return {"cpu": cpu, "memory": memory, "lag": lag}


async def _longest_pause() -> float:
    """Return by how many milliseconds a timer of one was late at most, until this is cancelled."""
    longest = 0.0
    try:
        while True:
            began = time.monotonic()
            await asyncio.sleep(_TICK_SEC)
            longest = max(longest, time.monotonic() - began - _TICK_SEC)
    except asyncio.CancelledError:
        return longest * 1000


def _version() -> str:
    told = subprocess.run(["djpeg", "-version"], input=b"", capture_output=True, check=False).stderr.decode()
    return next((line for line in told.splitlines() if "version" in line), "version unknown")


def main() -> None:
    """Finish the picture in a file so many times; print the figures as JSON."""
    path, times = Path(sys.argv[1]), int(sys.argv[2])
    with path.open("rb") as file:
        print(json.dumps(asyncio.run(_finish(file, path.parent / "media", times))))


if __name__ == "__main__":
    main()
