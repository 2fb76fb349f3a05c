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
    configure,
    ingest_request,
    installation,
    keep_to_load_core,
    resident_mib,
    running,
    table,
)
from benchmarks.nginx import is_installed, nginx
from photochanger.adapters.embedded_postgres import EmbeddedPostgres
from photochanger.testing.photos import camera_jpeg

ROUNDS = 2
SECONDS = 1.0
CONNECTIONS = (1, 16, 64)
PORT, CHUNKS_PORT, NGINX_PORT = 8315, 8316, 8317
OURS, CHUNKS, NGINX = "photochanger", "in chunks", "nginx"

PHOTOS: Mapping[str, Callable[[], bytes]] = {
    "5 MB": lambda: camera_jpeg(2048, 1856, quality=99, noise=1.0),
    "3 MB": lambda: camera_jpeg(2048, 1536, quality=97, noise=0.65),
}

_IN_CHUNKS = (sys.executable, "-m", "benchmarks.in_chunks")
_Case = tuple[str, int, bool]
"""Which file, over how many connections, and whether the client looks at what it gets."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """One of those that are compared: where the files are, and which process sends them."""

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
    with running(data_dir, PORT) as ours, running(data_dir, CHUNKS_PORT, prefix=_IN_CHUNKS) as in_chunks:
        paths = {name: _result(photo()) for name, photo in PHOTOS.items()}
        files = {path: _content(PORT, path) for path in paths.values()}
        with nginx(data_dir / "nginx", NGINX_PORT, files) as worker:
            servers = [
                Server(name=name, port=port, process=psutil.Process(pid), paths=paths)
                for name, port, pid in (
                    (OURS, PORT, ours.pid),
                    (CHUNKS, CHUNKS_PORT, in_chunks.pid),
                    (NGINX, NGINX_PORT, worker),
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
    for size, path in servers[0].paths.items():
        digests = {hashlib.sha256(_content(server.port, path)).digest() for server in servers}
        if len(digests) != 1:
            raise AssertionError(f"the servers deliver different files of {size}")


def _measure(servers: Sequence[Server]) -> str:
    cases = [(size, count, look) for look in (True, False) for size in PHOTOS for count in CONNECTIONS]
    figures = {(case, server.name): Series() for case in cases for server in servers}
    for server in servers:  # warm
        for size in PHOTOS:
            drain(server.port, server.paths[size], connections=4, seconds=0.3)
    idle = {server.name: resident_mib(server.process.pid) for server in servers}
    peak = dict(idle)
    for number in range(ROUNDS):
        for case in cases:
            for server in servers if number % 2 == 0 else reversed(servers):
                _one(server, case, figures[case, server.name])
                peak[server.name] = max(peak[server.name], resident_mib(server.process.pid))
    return _report(cases, figures, idle, peak)


def _one(server: Server, case: _Case, series: Series) -> None:
    size, connections, look = case
    before = server.process.cpu_times()
    drained = drain(server.port, server.paths[size], connections=connections, seconds=SECONDS, look=look)
    after = server.process.cpu_times()
    series.add(drained, after.user + after.system - before.user - before.system)


def _report(
    cases: Sequence[_Case],
    figures: Mapping[tuple[_Case, str], Series],
    idle: Mapping[str, float],
    peak: Mapping[str, float],
) -> str:
    def row(case: _Case) -> list[object]:
        ours, chunks, nginx_ = (figures[case, name] for name in (OURS, CHUNKS, NGINX))
        return [
            case[0],
            case[1],
            *(Spread.of(series.mb_per_second) for series in (nginx_, ours, chunks)),
            *(_ratio(series, nginx_) for series in (ours, chunks)),
            " / ".join(f"{Spread.of(series.cpu_ms).median:.2f}" for series in (nginx_, ours, chunks)),
            " / ".join(str(series.failed) for series in (nginx_, ours, chunks)),
        ]

    header = [
        "file",
        "c",
        "nginx, MB/s",
        "sendfile, MB/s",
        "chunks, MB/s",
        "sendfile ÷ nginx",
        "chunks ÷ nginx",
    ]
    header += ["CPU ms a file: nginx / sendfile / chunks", "failed"]
    memory = table(
        ["", *idle],
        [
            ["idle, warm, MiB", *(f"{value:.1f}" for value in idle.values())],
            ["most afterwards, MiB", *(f"{value:.1f}" for value in peak.values())],
        ],
    )
    return "\n".join(
        [
            f"### Downloads of a result ({ROUNDS} interleaved rounds)",
            "",
            "The client reads what it gets:",
            "",
            table(header, [row(case) for case in cases if case[2]]),
            "",
            "The client has the kernel throw it away:",
            "",
            table(header, [row(case) for case in cases if not case[2]]),
            "",
            memory,
        ]
    )


def _ratio(series: Series, other: Series) -> Spread:
    return Spread.of(
        [mine / theirs for mine, theirs in zip(series.mb_per_second, other.mb_per_second, strict=True)]
    )
