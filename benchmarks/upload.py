"""Taking photos in: multipart to a file, against nginx and Litestar's `UploadFile` (goals G4 and G3).

Photos of 10 MB over 16 connections. nginx writes the bodies of PUTs into files, without a form and without a
hash, and is the yardstick. The bare endpoint has our server and parser and writes one file. Litestar's
`UploadFile` is the framework's own way, and is read once. Ours is the whole intake of `photochanger serve`:
form, password, hash, a look at the picture's structure, `fsync`, durable job; it ends there, for the slot's
provider has no key. Only ours makes anything durable. Then 32 photos of 50 MB at once, for the memory.

Servers are on core 0, one at a time under load; load and PostgreSQL are on core 1. nginx has to be
installed.
"""

import argparse
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from benchmarks.harness import (
    SERVER_CORE,
    Spread,
    bare,
    configure,
    cpu_seconds,
    forget_peak,
    ingest_request,
    installation,
    keep_to_load_core,
    peak_mib,
    pinned,
    resident_mib,
    running,
    wait_for,
)
from benchmarks.nginx import PUT_LOCATION, is_installed, nginx, version
from benchmarks.report import OURS, Contestant, Figure, Goal, Report, Rounds, say
from benchmarks.sending import send
from photochanger.adapters.embedded_postgres import EmbeddedPostgres
from photochanger.domain.slot import ProviderCall
from photochanger.entrypoints.cli.malloc import SETTINGS as MALLOC
from photochanger.testing.photos import camera_jpeg, jpeg_50mb

NGINX_PORT, BARE_PORT, LITESTAR_PORT, PORT = 8341, 8342, 8343, 8344
CONNECTIONS: Final = 16
LARGE: Final = 32
NGINX, BARE, LITESTAR = "nginx PUT", "bare endpoint", "Litestar UploadFile"
REFUSED: Final = 502
"""What a photo is answered whose slot's provider has no key."""

RATE = Figure(key="rate", label="10 MB, c=16, MB a second", less_is_better=False)
CPU = Figure(key="cpu", label="10 MB, c=16, CPU ms a photo")
IDLE = Figure(key="idle", label="memory when warm, MiB")
PEAK = Figure(key="peak", label=f"most memory, {LARGE} × 50 MB, MiB")
EACH = Figure(key="each", label="of it for each photo, MiB")
FAILED = Figure(key="failed", label="failed")


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add what can be chosen of this comparison."""
    parser.add_argument("--seconds", type=float, default=3.0, help="of each server in each round; default 3")
    parser.add_argument("--without-memory", action="store_true", help="leave the photos of 50 MB out")


@dataclass(slots=True, kw_only=True)
class Taker:
    """One of those that are compared, while it runs."""

    name: str
    what: str
    port: int
    pid: int
    status: Sequence[int]
    """What it answers when it has taken the photo in."""
    requests: Sequence[bytes]
    large: Sequence[bytes] = ()
    failed: int = field(default=0)

    def take(self, requests: Sequence[bytes], **how: float) -> tuple[float, int]:
        """Send the requests; return the photos a second, and how many there were."""
        seconds, total = how.get("seconds"), how.get("total")
        connections = int(how.get("connections", CONNECTIONS))
        limit = None if total is None else int(total)
        sent = send(self.port, requests, connections=connections, seconds=seconds, total=limit)
        self.failed += sum(each.status not in self.status for each in sent.exchanges)
        return sent.per_second, len(sent.exchanges)


def run(options: argparse.Namespace) -> Report:
    """Measure, and return the report."""
    photo = camera_jpeg(4096, 3072, quality=97, noise=0.42)
    large = () if options.without_memory or options.quick else (jpeg_50mb(),)
    seconds = 1.0 if options.quick else options.seconds
    rounds = Rounds()
    keep_to_load_core()
    with installation() as data_dir, EmbeddedPostgres(data_dir), ExitStack() as stack:
        takers = _start(stack, data_dir, photo, *large)
        for taker in takers:
            taker.take(taker.requests, total=CONNECTIONS)
        for number in range(options.rounds):
            for taker in takers[:: 1 if number % 2 == 0 else -1]:
                say(f"round {number + 1} of {options.rounds}: {taker.name}")
                before = cpu_seconds(taker.pid)
                rate, count = taker.take(taker.requests, seconds=seconds)
                cpu = (cpu_seconds(taker.pid) - before) * 1000 / count
                rounds.add(taker.name, rate=rate * len(photo) / 1e6, cpu=cpu)
        for taker in takers if large else ():
            say(f"memory: {taker.name}")
            idle = resident_mib(taker.pid)
            forget_peak(taker.pid)
            taker.take(taker.large, connections=LARGE, total=LARGE)
            peak = peak_mib(taker.pid)
            rounds.add(taker.name, idle=idle, peak=peak, each=(peak - idle) / LARGE)
        for taker in takers:
            rounds.add(taker.name, failed=taker.failed)
    return Report(
        name="upload",
        title="Photos taken in: multipart to a file",
        how=f"Photos of {len(photo) / 1e6:.1f} MB over {CONNECTIONS} kept-alive connections; "
        f"{options.rounds} interleaved rounds of {seconds:g} s. Server on core 0; load "
        "and PostgreSQL (`fsync` on) on core 1.",
        contestants=[Contestant(name=each.name, what=each.what) for each in takers],
        figures=[each for each in (RATE, CPU, IDLE, PEAK, EACH, FAILED) if rounds.of(OURS, each.key)],
        plotted=["rate", "cpu", "each"],
        rounds=rounds,
        goals=list(_goals(rounds, takers)),
    )


def _start(stack: ExitStack, data_dir: Path, photo: bytes, large: bytes = b"") -> Sequence[Taker]:
    form, large_form = ingest_request(photo), ingest_request(large)
    known: list[Taker] = []
    if is_installed():
        pid = stack.enter_context(
            nginx(data_dir / "nginx", NGINX_PORT, {"/ready.txt": b"ready"}, locations=PUT_LOCATION)
        )
        what = f"{version()}, one worker, raw bodies of PUT into files; no form, no hash, no `fsync`"
        known.append(
            Taker(
                name=NGINX,
                what=what,
                port=NGINX_PORT,
                pid=pid,
                status=(201, 204),
                requests=[_put(photo, number) for number in range(CONNECTIONS)],
                large=[_put(large, number) for number in range(LARGE)] if large else (),
            )
        )
    answer = data_dir / "answer.txt"
    answer.write_bytes(b"taken")
    bare_pid = stack.enter_context(bare(answer, BARE_PORT, variables=MALLOC))
    for name, what, port, pid in (
        (BARE, "our server and parser, one file, nothing else; malloc: ours", BARE_PORT, bare_pid),
        (
            LITESTAR,
            "Litestar on uvicorn, spooled by the framework, read once; malloc: glibc's defaults",
            LITESTAR_PORT,
            stack.enter_context(_litestar(LITESTAR_PORT)),
        ),
    ):
        request, many = _to_root(form), [_to_root(large_form)]
        known.append(
            Taker(name=name, what=what, port=port, pid=pid, status=(200,), requests=[request], large=many)
        )
    # Without a key the provider is not called, and the photo is not decoded for it.
    configure(data_dir, call=ProviderCall(provider="gemini", operation="edit_image", params={"prompt": "x"}))
    server = stack.enter_context(running(data_dir, PORT, variables={"GEMINI_API_KEY": ""}))
    what = "`photochanger serve`: password, hash, structure, `fsync`, durable job, its end; malloc: its own"
    known.append(
        Taker(
            name=OURS,
            what=what,
            port=PORT,
            pid=server.pid,
            status=(REFUSED,),
            requests=[form],
            large=[large_form],
        )
    )
    return known


def _put(photo: bytes, number: int) -> bytes:
    head = f"PUT /put/{number}.jpg HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(photo)}\r\n\r\n"
    return head.encode() + photo


def _to_root(request: bytes) -> bytes:
    return request.replace(b"POST /ingest/slot-001 ", b"POST / ", 1)


@contextmanager
def _litestar(port: int) -> Iterator[int]:
    command = [*pinned(SERVER_CORE), sys.executable, "-m", "benchmarks.litestar_upload", str(port)]
    process = subprocess.Popen(command)
    try:
        wait_for(f"http://127.0.0.1:{port}/")
        yield process.pid
    finally:
        process.terminate()
        process.wait()


def _goals(rounds: Rounds, takers: Sequence[Taker]) -> Iterator[Goal]:
    if takers[0].name == NGINX:
        ratio = rounds.ratio(OURS, NGINX, "rate")
        yield Goal(label="G4: MB a second ÷ nginx's", reached=ratio, bound=1.0, at_most=False)
    ratio = rounds.ratio(OURS, LITESTAR, "rate")
    yield Goal(label="G4: MB a second ÷ Litestar's", reached=ratio, bound=1.5, at_most=False)
    if rounds.of(OURS, "each"):
        each = rounds.spread(OURS, "each")
        yield Goal(label=f"G3: memory for each of {LARGE} × 50 MB", reached=each, bound=1.0, unit=" MiB")
    yield Goal(label="failed", reached=Spread.of([sum(taker.failed for taker in takers)]), bound=0)
