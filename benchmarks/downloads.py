"""Downloads of results: the whole program against nginx with `sendfile`, in the same run."""

import hashlib
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.request import Request, urlopen

import psutil

from benchmarks.draining import Drained, drain
from benchmarks.harness import (
    Spread,
    bare,
    configure,
    forget_peak,
    ingest_request,
    installation,
    keep_to_load_core,
    peak_mib,
    resident_mib,
    running,
    table,
)
from benchmarks.nginx import is_installed, nginx
from photochanger.adapters.embedded_postgres import EmbeddedPostgres
from photochanger.testing.photos import camera_jpeg

ROUNDS = 5
SECONDS = 1.0
CONNECTIONS = (1, 16, 64)
PORT, CHUNKS_PORT, NGINX_PORT, BARE_PORT, BARE_CHUNKS_PORT = 8315, 8316, 8317, 8318, 8319
NGINX, OURS, CHUNKS = "nginx", "sendfile", "chunks"
BARE, BARE_CHUNKS = "bare sendfile", "bare chunks"

PHOTOS: Mapping[str, Callable[[], bytes]] = {
    "5 MB": lambda: camera_jpeg(2048, 1920, quality=99, noise=1.0),
    "3 MB": lambda: camera_jpeg(2048, 1536, quality=97, noise=0.65),
}

_IN_CHUNKS = (sys.executable, "-m", "benchmarks.in_chunks")


@dataclass(frozen=True, slots=True)
class Case:
    """Which file, over how many connections, and whether the client looks at what it gets."""

    size: str
    connections: int
    look: bool = True


CASES = [
    *(Case(size, connections) for size in PHOTOS for connections in CONNECTIONS),
    Case("5 MB", 16, look=False),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """One of those that are compared: where it has which files, and which process sends them."""

    name: str
    port: int
    process: psutil.Process
    paths: Mapping[str, str]


@dataclass(slots=True)
class Series:
    """What one server did in one case, round by round."""

    mb_per_second: list[float] = field(default_factory=list)
    cpu_ms: list[float] = field(default_factory=list)
    failed: int = 0

    def add(self, drained: Drained, cpu_seconds: float) -> None:
        """Take a round's figures."""
        self.mb_per_second.append(drained.mb_per_second)
        self.cpu_ms.append(cpu_seconds * 1000 / max(1, drained.files))
        self.failed += drained.failed


def run() -> str:
    """Measure, and return the figures as Markdown."""
    if not is_installed():
        return (
            "### Downloads\n\n**Not measured: there is no nginx here** (on Debian: `apt-get install nginx`)."
        )
    keep_to_load_core()
    with installation() as data_dir:
        database = EmbeddedPostgres(data_dir)
        database.start()  # by this process, and so on its core, not on the server's
        try:
            configure(data_dir, params={"effect": "none"})
            with _all_servers(data_dir) as servers:
                return _measure(servers)
        finally:
            database.stop()


@contextmanager
def _all_servers(data_dir: Path) -> Iterator[Sequence[Server]]:
    with (
        running(data_dir, PORT) as ours,
        running(data_dir, CHUNKS_PORT, prefix=_IN_CHUNKS) as in_chunks,
    ):
        paths = {size: _result(photo()) for size, photo in PHOTOS.items()}
        files = {path: _content(PORT, path) for path in paths.values()}
        one = {"5 MB": paths["5 MB"]}
        answer = data_dir / "answer.jpg"
        answer.write_bytes(files[paths["5 MB"]])
        with (
            nginx(data_dir / "nginx", NGINX_PORT, files) as worker,
            bare(answer, BARE_PORT, "sendfile") as bare_,
            bare(answer, BARE_CHUNKS_PORT) as bare_in_chunks,
        ):
            servers = [
                Server(name=name, port=port, process=psutil.Process(pid), paths=known)
                for name, port, pid, known in (
                    (NGINX, NGINX_PORT, worker, paths),
                    (OURS, PORT, ours.pid, paths),
                    (CHUNKS, CHUNKS_PORT, in_chunks.pid, paths),
                    (BARE, BARE_PORT, bare_, one),
                    (BARE_CHUNKS, BARE_CHUNKS_PORT, bare_in_chunks, one),
                )
            ]
            _compare(servers)
            yield servers


def _result(photo: bytes) -> str:
    """Have a photo become a result; return the result's path."""
    head, _, body = ingest_request(photo).partition(b"\r\n\r\n")
    content_type = next(line[14:] for line in head.decode().split("\r\n") if line.startswith("Content-Type"))
    url = f"http://127.0.0.1:{PORT}/ingest/slot-001"
    with urlopen(Request(url, data=body, headers={"Content-Type": content_type}), timeout=60) as answer:
        return str(answer.headers["Content-Location"])


def _content(port: int, path: str) -> bytes:
    with urlopen(f"http://127.0.0.1:{port}{path}", timeout=60) as answer:
        content: bytes = answer.read()
        return content


def _compare(servers: Sequence[Server]) -> None:
    for size in PHOTOS:
        contents = (_content(each.port, each.paths[size]) for each in servers if size in each.paths)
        if len({hashlib.sha256(content).digest() for content in contents}) != 1:
            raise AssertionError(f"the servers deliver different files of {size}")


def _measure(servers: Sequence[Server]) -> str:
    figures: dict[tuple[Case, str], Series] = {}
    for server in servers:  # warm
        for path in server.paths.values():
            drain(server.port, path, connections=4, seconds=0.5)
    idle = {server.name: resident_mib(server.process.pid) for server in servers}
    for server in servers:
        forget_peak(server.process.pid)
    for number in range(ROUNDS):
        for case in CASES:
            for server in servers if number % 2 == 0 else reversed(servers):
                if case.size in server.paths:
                    _one(server, case, figures.setdefault((case, server.name), Series()))
    return _report(figures, idle, {server.name: peak_mib(server.process.pid) for server in servers})


def _one(server: Server, case: Case, series: Series) -> None:
    before = server.process.cpu_times()
    drained = drain(
        server.port,
        server.paths[case.size],
        connections=case.connections,
        seconds=SECONDS,
        look=case.look,
    )
    after = server.process.cpu_times()
    series.add(drained, after.user + after.system - before.user - before.system)


def _report(
    figures: Mapping[tuple[Case, str], Series], idle: Mapping[str, float], peak: Mapping[str, float]
) -> str:
    def row(case: Case) -> list[object]:
        known = [figures.get((case, name)) for name in idle]
        yardstick = figures[case, NGINX]
        first = f"{case.size}, c={case.connections}" + ("" if case.look else ", thrown away")
        return [
            first,
            Spread.of(yardstick.mb_per_second),
            *(_ratio(series, yardstick) if series else "–" for series in known[1:]),
            " / ".join(f"{Spread.of(series.cpu_ms).median:.2f}" if series else "–" for series in known),
            sum(series.failed for series in known if series),
        ]

    header = ["", "nginx, MB/s", *(f"{name} ÷ nginx" for name in list(idle)[1:])]
    header += [f"CPU ms a file: {' / '.join(idle)}", "failed"]
    memory = [
        ["idle, warm, MiB", *(f"{value:.1f}" for value in idle.values())],
        ["most in any case, MiB", *(f"{value:.1f}" for value in peak.values())],
    ]
    return "\n".join(
        [
            f"### Downloads of a result ({ROUNDS} interleaved rounds)",
            "",
            table(header, [row(case) for case in CASES]),
            "",
            table(["", *idle], memory),
        ]
    )


def _ratio(series: Series, other: Series) -> Spread:
    pairs = zip(series.mb_per_second, other.mb_per_second, strict=True)
    return Spread.of([mine / theirs for mine, theirs in pairs])
