"""Our whole durable job against gateways that only pass a request on (goals G1, G2, G3, G10).

A photo of 3 MB goes in; behind every gateway is the same fake image service, which answers at once with a
picture of 3 MB as base64. nginx passes that on as it is, and is the limit; LiteLLM's proxy parses it and
makes it anew, in one worker, once as it is installed and once with our settings of glibc's malloc. Ours is
`photochanger serve` with everything on: password, hash, durable job with three `fsync`ed files, metadata
removed, the picture checked by decoding it, preview, logs, metrics. Peers do things that we do not (models,
routing, spend), but nothing of theirs is durable.

Gateways are on core 0, one at a time under load; load, image service and our PostgreSQL are on core 1. Needs
`python -m benchmarks install-peers`, and nginx.
"""

import argparse
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.request import urlopen

import psutil

from benchmarks import peers
from benchmarks.harness import (
    LOAD_CORE,
    SERVER_CORE,
    Spread,
    configure,
    cpu_seconds,
    forget_peak,
    ingest_request,
    installation,
    keep_to_load_core,
    peak_mib,
    percentile,
    pinned,
    postgres_pid,
    resident_mib,
    running,
    url_of,
    wait_for,
)
from benchmarks.nginx import PROXY, PROXY_LOCATION, is_installed, nginx, version
from benchmarks.report import OURS, Contestant, Figure, Goal, Report, Rounds, say
from benchmarks.sending import Sent, send
from photochanger.adapters.embedded_postgres import EmbeddedPostgres
from photochanger.domain.slot import ProviderCall
from photochanger.entrypoints.cli.malloc import SETTINGS as MALLOC
from photochanger.testing.photos import camera_jpeg

UPSTREAM_PORT, NGINX_PORT, LITELLM_PORT, TUNED_PORT, PORT = 8331, 8332, 8333, 8334, 8335
COLD_PORT: Final = 8336
WORKERS: Final = 64
"""Ours, so that 64 calls can be under way at once."""
AT_ONCE, HELD = 32, 64
HELD_SEC: Final = 5.0
REST_SEC: Final = 60
START_PATIENCE_SEC: Final = 90
DIRECT, NGINX, LITELLM, TUNED = "direct", "nginx", "LiteLLM", "LiteLLM, malloc tuned"
CALL = ProviderCall(provider="gemini", operation="edit_image", params={"prompt": "as a comic"})

FIGURES = [
    Figure(key="alone_p50", label="c=1, p50 ms"),
    Figure(key="alone_p99", label="c=1, p99 ms"),
    Figure(key="rate", label="c=8, photos a second", less_is_better=False),
    Figure(key="cpu", label="c=8, CPU ms a photo"),
    Figure(key="database_cpu", label="c=8, CPU ms of PostgreSQL a photo"),
    Figure(key="start", label="cold start, s"),
    Figure(key="idle", label="memory at the start, MiB"),
    Figure(key="warm", label="memory after eight photos, MiB"),
    Figure(key="peak", label=f"most memory, {AT_ONCE} photos at once, MiB"),
    Figure(key="held", label=f"most memory, {HELD} held {HELD_SEC:g} s, MiB"),
    Figure(key="held_late", label=f"{HELD} held: answered after the service, p50 ms"),
    Figure(key="after", label=f"memory {REST_SEC} s later, MiB"),
    Figure(key="failed", label="failed"),
]


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add what can be chosen of this comparison."""
    parser.add_argument("--seconds", type=float, default=4.0, help="of each load in each round; default 4")
    parser.add_argument(
        "--without-peers", action="store_true", help="measure ours, and nginx if there is one"
    )
    parser.add_argument("--without-memory", action="store_true", help="leave the memory and its minute out")


@dataclass(frozen=True, slots=True, kw_only=True)
class Gateway:
    """One of those that are compared, while it runs."""

    name: str
    what: str
    port: int
    request: bytes
    pid: int | None = None
    """None: it is not a process of its own."""


def run(options: argparse.Namespace) -> Report:
    """Measure, and return the report."""
    if not options.without_peers:
        peers.python_of(options.peers, "litellm")
    # As large as the camera's photos are often, and no larger than Gemini takes: nothing is scaled down.
    photo = camera_jpeg(2048, 1536, quality=97, noise=0.65)
    keep_to_load_core()
    with installation() as data_dir, EmbeddedPostgres(data_dir) as dsn:
        configure(data_dir, call=CALL)
        return _Measurement(options, data_dir, dsn, photo).report()


class _Measurement:
    """Everything that is measured with one image service, one database, and the gateways before them."""

    def __init__(self, options: argparse.Namespace, data_dir: Path, dsn: str, photo: bytes) -> None:
        self._data_dir, self._dsn, self._photo = data_dir, dsn, photo
        self._with_peers, self._with_memory = not options.without_peers, not options.without_memory
        self._quick: bool = options.quick
        self._count: int = options.rounds
        self._seconds = 1.0 if options.quick else options.seconds
        self._peers: Path = options.peers
        self._key = "sk-" + secrets.token_hex(24)
        self._rounds = Rounds()
        self._failed = dict.fromkeys((DIRECT, NGINX, LITELLM, TUNED, OURS), 0)

    def report(self) -> Report:
        """Measure everything, and return the report."""
        with image_service(self._data_dir, self._photo, UPSTREAM_PORT):
            self._cold_starts()
            with ExitStack() as stack:
                gateways = self._start(stack)
                if self._with_memory:
                    self._memory([gateway for gateway in gateways if gateway.pid is not None])
                for number in range(self._count):
                    for gateway in gateways[:: 1 if number % 2 == 0 else -1]:
                        say(f"round {number + 1} of {self._count}: {gateway.name}")
                        self._round(gateway)
        for gateway in gateways:
            self._rounds.add(gateway.name, failed=self._failed[gateway.name])
        return self._told(gateways)

    def _start(self, stack: ExitStack) -> Sequence[Gateway]:
        photo, edit = self._photo, _edit_request(self._photo, self._key)
        known = [Gateway(name=DIRECT, what="the image service itself", port=UPSTREAM_PORT, request=edit)]
        if is_installed():
            pid = stack.enter_context(self._nginx())
            what = f"{version()}, one worker, `proxy_pass`, buffering as by default"
            known.append(Gateway(name=NGINX, what=what, port=NGINX_PORT, request=edit, pid=pid))
        for name, port in ((LITELLM, LITELLM_PORT), (TUNED, TUNED_PORT)) if self._with_peers else ():
            pid = stack.enter_context(self._litellm(port, tuned=name == TUNED))
            malloc = "ours, by the environment" if name == TUNED else "glibc's defaults"
            pin = peers.pinned_version("litellm", "litellm")
            what = f"proxy {pin}, one worker, no database; malloc: {malloc}"
            known.append(Gateway(name=name, what=what, port=port, request=edit, pid=pid))
        server = stack.enter_context(running(self._data_dir, PORT, workers=WORKERS, variables=variables()))
        what = f"`photochanger serve --workers {WORKERS}`, provider gemini; malloc: its own settings"
        ours = Gateway(name=OURS, what=what, port=PORT, request=ingest_request(photo), pid=server.pid)
        return [*known, ours]

    @contextmanager
    def _nginx(self) -> Iterator[int]:
        folder = self._data_dir / "nginx"
        upstreams = PROXY.format(port=UPSTREAM_PORT)
        with nginx(
            folder, NGINX_PORT, {"/ready.txt": b"ready"}, locations=PROXY_LOCATION, upstreams=upstreams
        ) as pid:
            yield pid

    @contextmanager
    def _litellm(self, port: int, *, tuned: bool) -> Iterator[int]:
        say(f"starting LiteLLM{', malloc tuned' if tuned else ''}")
        process = self._litellm_process(port, tuned=tuned)
        try:
            _wait_until_up(process, f"http://127.0.0.1:{port}/health/liveliness")
            yield process.pid
        finally:
            _end(process)

    def _litellm_process(self, port: int, *, tuned: bool) -> subprocess.Popen[bytes]:
        settings = self._data_dir / f"litellm-{port}.yaml"
        settings.write_text(_LITELLM.format(port=UPSTREAM_PORT))
        program = peers.python_of(self._peers, "litellm").with_name("litellm")
        options = [
            "--config",
            str(settings),
            "--host",
            "127.0.0.1",
            "--port",
            str(port),
            "--num_workers",
            "1",
        ]
        log = (self._data_dir / f"litellm-{port}.log").open("wb")
        with log:
            return subprocess.Popen(
                [*pinned(SERVER_CORE), str(program), *options, "--telemetry", "False"],
                stdout=log,
                stderr=log,
                env={
                    **os.environ,
                    **(MALLOC if tuned else {}),
                    "LITELLM_MASTER_KEY": self._key,
                    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
                },
            )

    def _cold_starts(self) -> None:
        """Time how long each takes from its command to its first answer, in turn."""
        for number in range(1 if self._quick else 3):
            say(f"cold start {number + 1}")
            if self._with_peers:
                began = time.monotonic()
                process = self._litellm_process(COLD_PORT, tuned=False)
                try:
                    _wait_until_up(process, f"http://127.0.0.1:{COLD_PORT}/health/liveliness")
                    self._rounds.add(LITELLM, start=time.monotonic() - began)
                finally:
                    _end(process)
            began = time.monotonic()
            environment = {**variables(), "DATABASE_URL": url_of(self._dsn)}
            with running(self._data_dir, COLD_PORT, variables=environment):
                self._rounds.add(OURS, start=time.monotonic() - began)

    def _memory(self, gateways: Sequence[Gateway]) -> None:
        rested: dict[str, float] = {}
        for gateway in gateways:
            say(f"memory: {gateway.name}")
            figures = {"idle": _memory_of(gateway, resident_mib)}
            self._send(gateway, connections=4, total=8)
            figures["warm"] = _memory_of(gateway, resident_mib)
            _memory_of(gateway, _forget)
            self._send(gateway, connections=AT_ONCE, total=2 * AT_ONCE)
            figures["peak"] = _memory_of(gateway, peak_mib)
            _memory_of(gateway, _forget)
            with slow(HELD_SEC):
                sent = self._send(gateway, connections=HELD, total=HELD)
            figures["held"] = _memory_of(gateway, peak_mib)
            figures["held_late"] = percentile(sent.milliseconds(), 0.5) - HELD_SEC * 1000
            self._rounds.add(gateway.name, **figures)
            rested[gateway.name] = time.monotonic() + (1 if self._quick else REST_SEC)
        for gateway in gateways:
            say(f"memory: {gateway.name} rests")
            time.sleep(max(0.0, rested[gateway.name] - time.monotonic()))
            self._rounds.add(gateway.name, after=_memory_of(gateway, resident_mib))

    def _round(self, gateway: Gateway) -> None:
        self._send(gateway, connections=1, total=3)
        alone = self._send(gateway, connections=1, seconds=self._seconds).milliseconds()
        before, database = _cpu(gateway), self._database_cpu()
        sent = self._send(gateway, connections=8, seconds=self._seconds)
        figures = {
            "alone_p50": percentile(alone, 0.5),
            "alone_p99": percentile(alone, 0.99),
            "rate": sent.per_second,
        }
        if gateway.pid is not None:
            figures["cpu"] = (_cpu(gateway) - before) * 1000 / len(sent.exchanges)
        if gateway.name == OURS:
            used = self._database_cpu() - database
            figures["database_cpu"] = used * 1000 / len(sent.exchanges)
        self._rounds.add(gateway.name, **figures)

    def _database_cpu(self) -> float:
        return cpu_seconds(postgres_pid(self._data_dir))

    def _send(
        self, gateway: Gateway, *, connections: int, total: int | None = None, seconds: float | None = None
    ) -> Sent:
        sent = send(gateway.port, [gateway.request], connections=connections, total=total, seconds=seconds)
        whole = sum(
            each.status == 200 and each.size_bytes > 0.9 * len(self._photo) for each in sent.exchanges
        )
        self._failed[gateway.name] += len(sent.exchanges) - whole
        return sent

    def _told(self, gateways: Sequence[Gateway]) -> Report:
        return Report(
            name="gateway",
            title="The whole durable job, and gateways that pass a request on",
            how=f"A photo of {len(self._photo) / 1e6:.1f} MB in and a picture as large out, over kept-alive "
            f"connections; {self._count} interleaved rounds of {self._seconds:g} s for each load. Gateways "
            "on core 0; load, image service and our PostgreSQL (`fsync` on) on core 1. Memory is that of the "
            "gateway's process; the database's is not in it.",
            contestants=[Contestant(name=each.name, what=each.what) for each in gateways],
            figures=[
                figure for figure in FIGURES if any(self._rounds.of(g.name, figure.key) for g in gateways)
            ],
            plotted=["alone_p50", "rate", "peak", "held", "start"],
            rounds=self._rounds,
            goals=list(self._goals([each.name for each in gateways])),
            notes=[
                f"CPU time of a photo, ours ÷ {each.name}: {self._rounds.ratio(OURS, each.name, 'cpu')}"
                for each in gateways
                if each.name != OURS and self._rounds.of(each.name, "cpu")
            ],
        )

    def _goals(self, names: Sequence[str]) -> Iterator[Goal]:
        rounds = self._rounds
        if LITELLM in names:
            yield Goal(
                label="G1: photos a second ÷ LiteLLM's",
                reached=rounds.ratio(OURS, LITELLM, "rate"),
                bound=4,
                at_most=False,
            )
            yield Goal(
                label="G1: … ÷ LiteLLM's with tuned malloc",
                reached=rounds.ratio(OURS, TUNED, "rate"),
                bound=4,
                at_most=False,
            )
        if NGINX in names:
            yield Goal(
                label="G1: photos a second ÷ nginx's",
                reached=rounds.ratio(OURS, NGINX, "rate"),
                bound=0.6,
                at_most=False,
            )
        ours = _added(rounds, OURS, "alone_p50")
        if LITELLM in names:
            theirs = _added(rounds, LITELLM, "alone_p50")
            yield Goal(
                label="G2: added at c=1, p50 ÷ what LiteLLM adds",
                reached=Spread.of([mine / other for mine, other in zip(ours, theirs, strict=True)]),
                bound=0.2,
            )
        yield Goal(
            label="G2: added at c=1, p99",
            reached=Spread.of(_added(rounds, OURS, "alone_p99")),
            bound=10,
            unit=" ms",
        )
        if LITELLM in names:
            for key, label in (("peak", f"{AT_ONCE} at once"), ("held", f"{HELD} held")):
                if rounds.of(OURS, key):
                    yield Goal(
                        label=f"G3: most memory, {label} ÷ LiteLLM's",
                        reached=rounds.ratio(OURS, LITELLM, key),
                        bound=0.2,
                    )
            yield Goal(
                label="G10: cold start ÷ LiteLLM's", reached=rounds.ratio(OURS, LITELLM, "start"), bound=0.15
            )
        if rounds.of(OURS, "after"):
            yield Goal(
                label=f"G3: memory {REST_SEC} s later ÷ memory when warm",
                reached=rounds.ratio(OURS, OURS, "after", of_other="warm"),
                bound=1.3,
            )
        yield Goal(
            label="G10: `import photochanger.domain`", reached=Spread.of(_imports()), bound=50, unit=" ms"
        )
        yield Goal(label="failed", reached=Spread.of([sum(self._failed.values())]), bound=0)


_LITELLM = """
model_list:
  - model_name: picture
    litellm_params:
      model: openai/gpt-image-1
      api_base: http://127.0.0.1:{port}/v1
      api_key: none
"""


@contextmanager
def image_service(folder: Path, picture: bytes, port: int) -> Iterator[None]:
    """Run `benchmarks.upstream` on the load's core during the context."""
    file = folder / "picture.jpg"
    file.write_bytes(picture)
    process = subprocess.Popen(
        [*pinned(LOAD_CORE), sys.executable, "-m", "benchmarks.upstream", str(port), str(file)]
    )
    try:
        wait_for(f"http://127.0.0.1:{port}/calls")
        yield
    finally:
        _end(process)


@contextmanager
def slow(seconds: float) -> Iterator[None]:
    """Have the image service take so long for each answer during the context."""
    urlopen(f"http://127.0.0.1:{UPSTREAM_PORT}/delay/{seconds}").close()
    try:
        yield
    finally:
        urlopen(f"http://127.0.0.1:{UPSTREAM_PORT}/delay/0").close()


def variables() -> Mapping[str, str]:
    """Return the environment in which the image service is Gemini."""
    return {"GEMINI_API_KEY": "none", "GEMINI_BASE_URL": f"http://127.0.0.1:{UPSTREAM_PORT}"}


def _edit_request(photo: bytes, key: str) -> bytes:
    boundary = "-" * 28 + secrets.token_hex(8)
    fields = "".join(
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in (("model", "picture"), ("prompt", "as a comic"))
    )
    file = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="image"; filename="photo.jpg"\r\n'
        "Content-Type: image/jpeg\r\n\r\n"
    )
    body = (fields + file).encode() + photo + f"\r\n--{boundary}--\r\n".encode()
    head = (
        f"POST /v1/images/edits HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {key}\r\n"
        f"Content-Type: multipart/form-data; boundary={boundary}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def _wait_until_up(process: subprocess.Popen[bytes], url: str) -> None:
    patience_ends = time.monotonic() + START_PATIENCE_SEC
    while time.monotonic() < patience_ends and process.poll() is None:
        try:
            urlopen(url, timeout=5).close()
        except OSError:
            time.sleep(0.02)
        else:
            return
    raise TimeoutError("LiteLLM did not come up")


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _cpu(gateway: Gateway) -> float:
    return 0.0 if gateway.pid is None else cpu_seconds(gateway.pid)


def _memory_of(gateway: Gateway, measure: Callable[[int], float]) -> float:
    assert gateway.pid is not None
    process = psutil.Process(gateway.pid)
    return sum(measure(each.pid) for each in (process, *process.children(recursive=True)))


def _forget(pid: int) -> float:
    forget_peak(pid)
    return 0.0


def _added(rounds: Rounds, name: str, key: str) -> Sequence[float]:
    pairs = zip(rounds.of(name, key), rounds.of(DIRECT, "alone_p50"), strict=True)
    return [through - direct for through, direct in pairs]


_IMPORT = (
    "import time; began = time.perf_counter(); import photochanger.domain.job; "
    "print((time.perf_counter() - began) * 1000)"
)


def _imports() -> Sequence[float]:
    command = [*pinned(SERVER_CORE), sys.executable, "-c", _IMPORT]
    return [float(subprocess.run(command, check=True, capture_output=True).stdout) for _ in range(5)]
