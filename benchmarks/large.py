"""A photo of 50 MB and a provider that answers at once: what is our own share of the time (goal G11).

Through the whole of `photochanger serve`, with the fake image service of the gateway comparison. Beside it
is the bare endpoint: the same form into a file, with nothing done to it. A photo of 50 megapixels has to be
decoded, scaled down to what Gemini takes and encoded again; where the time goes is read from the server's
own metrics. On the wire, 50 MB take 0.4 s at 1 Gbit/s; here they come over the loopback interface.

The server is on core 0; load, image service and PostgreSQL are on core 1.
"""

import argparse
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final
from urllib.request import urlopen

from benchmarks.gateway import CALL, image_service
from benchmarks.harness import (
    Spread,
    bare,
    configure,
    cpu_seconds,
    ingest_request,
    installation,
    keep_to_load_core,
    percentile,
    running,
)
from benchmarks.report import OURS, Contestant, Figure, Goal, Report, Rounds, say
from benchmarks.sending import send
from photochanger.adapters.embedded_postgres import EmbeddedPostgres
from photochanger.entrypoints.cli.malloc import SETTINGS as MALLOC
from photochanger.testing.photos import camera_jpeg, jpeg_50mb

UPSTREAM_PORT, BARE_PORT, PORT = 8361, 8362, 8363
BARE: Final = "bare endpoint"
TIMES: Final = 3
_CALLS: Final = re.compile(
    r'photochanger_port_duration_seconds_sum\{operation="(\w+)",outcome="ok",port="(\w+)"\} (\S+)'
)

P50 = Figure(key="p50", label="c=1, p50 ms")
MOST = Figure(key="most", label="c=1, most ms")
CPU = Figure(key="cpu", label="CPU ms a photo")
FAILED = Figure(key="failed", label="failed")


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add what can be chosen of this comparison."""
    parser.add_argument("--times", type=int, default=TIMES, help=f"photos in a round; default {TIMES}")


def run(options: argparse.Namespace) -> Report:
    """Measure, and return the report."""
    photo = camera_jpeg(3000, 2000) if options.quick else jpeg_50mb()
    picture = camera_jpeg(2048, 1536, quality=97, noise=0.65)
    keep_to_load_core()
    rounds = Rounds()
    with (
        installation() as data_dir,
        EmbeddedPostgres(data_dir),
        image_service(data_dir, picture, UPSTREAM_PORT),
    ):
        configure(data_dir, call=CALL)
        answer = data_dir / "answer.jpg"
        answer.write_bytes(picture)
        variables = {"GEMINI_API_KEY": "none", "GEMINI_BASE_URL": f"http://127.0.0.1:{UPSTREAM_PORT}"}
        with (
            bare(answer, BARE_PORT, variables=MALLOC) as bare_pid,
            running(data_dir, PORT, variables=variables) as ours,
        ):
            servers = ((BARE, BARE_PORT, bare_pid), (OURS, PORT, ours.pid))
            request = ingest_request(photo)
            for _, port, _ in servers:
                send(port, [request], connections=1, total=1)
            before = _seconds()
            for number in range(options.rounds):
                for name, port, pid in servers:
                    say(f"round {number + 1} of {options.rounds}: {name}")
                    rounds.add(name, **_one(port, pid, request, options.times))
            after = _seconds()
    photos = options.rounds * options.times
    return Report(
        name="large",
        title="A photo of 50 MB, and a provider that answers at once",
        how=f"A photo of {len(photo) / 1e6:.1f} MB in, a picture of {len(picture) / 1e6:.1f} MB out, one "
        f"at a time; {options.rounds} interleaved rounds of {options.times} photos. Server on core 0; "
        "load, image service and PostgreSQL (`fsync` on) on core 1.",
        contestants=[
            Contestant(name=BARE, what="our server and parser, one file written, one sent"),
            Contestant(name=OURS, what="`photochanger serve`: the whole durable job, provider gemini"),
        ],
        figures=[P50, MOST, CPU, FAILED],
        plotted=["p50", "cpu"],
        rounds=rounds,
        goals=list(_goals(rounds)),
        notes=_where(before, after, photos),
    )


def _one(port: int, pid: int, request: bytes, times: int) -> Mapping[str, float]:
    cpu = cpu_seconds(pid)
    sent = send(port, [request], connections=1, total=times)
    took = sent.milliseconds()
    return {
        "p50": percentile(took, 0.5),
        "most": max(took),
        "cpu": (cpu_seconds(pid) - cpu) * 1000 / times,
        "failed": sent.failed(),
    }


def _seconds() -> Mapping[str, float]:
    """Return how long each operation of each port has taken so far, by the server's metrics."""
    with urlopen(f"http://127.0.0.1:{PORT}/metrics") as answer:
        text = answer.read().decode()
    return {f"{port}.{operation}": float(value) for operation, port, value in _CALLS.findall(text)}


def _where(before: Mapping[str, float], after: Mapping[str, float], photos: int) -> Sequence[str]:
    """Return the longest operations; they overlap, and a context's includes what was done in it."""
    took = {name: (value - before.get(name, 0.0)) * 1000 / photos for name, value in after.items()}
    longest = sorted(took.items(), key=lambda item: -item[1])[:8]
    told = ", ".join(f"{name} {value:.0f}" for name, value in longest)
    return [f"By the server's metrics, ms of one photo, overlapping: {told}"]


def _goals(rounds: Rounds) -> Iterator[Goal]:
    share = [
        value - other for value, other in zip(rounds.of(OURS, "p50"), rounds.of(BARE, "p50"), strict=True)
    ]
    yield Goal(
        label="G11: our own share, over the bare endpoint", reached=Spread.of(share), bound=1000, unit=" ms"
    )
    failed = sum(sum(rounds.of(name, "failed")) for name in (BARE, OURS))
    yield Goal(label="failed", reached=Spread.of([failed]), bound=0)
