"""`photochanger demo`: the whole of it, once, with real processes and real HTTP."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

from rich.console import Console
from rich.table import Table

from photochanger.domain.errors import Unavailable
from photochanger.entrypoints.cli.booth import Refusal
from photochanger.entrypoints.cli.send import Sent, send
from photochanger.entrypoints.http.server import listen
from photochanger.entrypoints.settings import Environment

HOST = "127.0.0.1"
USUAL_PORT = 8000
START_PATIENCE_SEC = 60.0
STOP_PATIENCE_SEC = 20.0
SEND_PATIENCE_SEC = 60.0

SAMPLE = Path(__file__).with_name("sample.jpg")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Server:
    base_url: str
    start_sec: float


def run_demo(environment: Environment, *, photo: Path | None, slot: str) -> None:
    """Start a server, send a photo, show what came of it, and stop the server.

    Raises `Unavailable` where the server does not start, and what `send` raises.
    """
    console = Console(highlight=False)
    chosen = photo or SAMPLE
    with _server(environment, console) as server:
        try:
            sent = send(
                f"{server.base_url}/ingest/{slot}",
                _password(environment),
                chosen,
                output=_output(environment, chosen),
                timeout_sec=SEND_PATIENCE_SEC,
                console=console,
            )
        except Refusal as refusal:
            raise refusal.error(refusal.detail) from refusal
        job = _get_json(f"{server.base_url}/api/jobs/{sent.delivery.job_id}")
        _show(console, server, chosen, sent, job, slot)


@contextmanager
def _server(environment: Environment, console: Console) -> Iterator[_Server]:
    """Run `photochanger serve` as a process of its own, and end it with the context."""
    environment.data_dir.mkdir(parents=True, exist_ok=True)
    log_path = environment.data_dir / "demo.log"
    base_url = f"http://{HOST}:{_free_port()}"
    began = time.monotonic()
    with log_path.open("ab") as log:
        process = subprocess.Popen(  # noqa: S603 - our own command
            [
                *(sys.executable, "-m", "photochanger", "serve", "--host", HOST),
                *("--port", base_url.rpartition(":")[2], "--data-dir", str(environment.data_dir)),
            ],
            stdout=log,
            stderr=log,
            env={**os.environ, "LOG_FORMAT": "json"},
        )
    try:
        with console.status("Starting the server, with a database of its own …"):
            _wait_until_ready(base_url, process, log_path)
        yield _Server(base_url=base_url, start_sec=time.monotonic() - began)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_PATIENCE_SEC)
        except subprocess.TimeoutExpired:
            process.kill()


def _wait_until_ready(base_url: str, process: "subprocess.Popen[bytes]", log_path: Path) -> None:
    patience_ends = time.monotonic() + START_PATIENCE_SEC
    while time.monotonic() < patience_ends:
        if process.poll() is not None:
            raise Unavailable(f"The server ended with status {process.returncode}; see {log_path}")
        try:
            with urlopen(f"{base_url}/readyz", timeout=2):  # noqa: S310 - our own address
                return
        except (URLError, OSError):
            time.sleep(0.05)  # not ready yet: this is a poll, with an end
    raise Unavailable(f"The server was not ready within {START_PATIENCE_SEC:g} s; see {log_path}")


def _free_port() -> int:
    """Return the usual port if it is free, so that the link goes on working with `serve`; else any other."""
    for port in (USUAL_PORT, 0):
        try:
            with listen(HOST, port) as free:
                return int(free.getsockname()[1])
        except Unavailable:
            continue
    raise Unavailable("There is no free port")


def _password(environment: Environment) -> str:
    note = environment.secrets_dir / "initial-credentials.json"
    try:
        return str(json.loads(note.read_text())["ingest_password"])
    except FileNotFoundError as error:
        raise Unavailable(
            f"{note} is gone, so the demo does not know the ingest password; use --data-dir with a new folder"
        ) from error


def _output(environment: Environment, photo: Path) -> Path:
    return environment.data_dir / "demo" / f"{photo.stem}-changed.jpg"


def _get_json(url: str) -> Mapping[str, Any]:
    with urlopen(url, timeout=10) as answer:  # noqa: S310 - our own address
        document: Mapping[str, Any] = json.load(answer)
        return document


def _show(
    console: Console, server: _Server, photo: Path, sent: Sent, job: Mapping[str, Any], slot: str
) -> None:
    created, started, finalized = (_time(job[name]) for name in ("created_at", "started_at", "finalized_at"))
    times = Table(box=None, show_header=False, pad_edge=False)
    times.add_column(justify="right")
    times.add_column()
    for seconds, what in (
        (server.start_sec, "start the server: database, migrations, credentials"),
        (sent.delivery.upload_sec, f"send the photo ({photo.stat().st_size / 1000:.0f} kB)"),
        (started - created, "wait for a worker"),
        (finalized - started, "prepare it, transform it, check it, store the picture and its preview"),
        (sent.delivery.total_sec, "from the first byte sent to the last byte of the picture received"),
    ):
        times.add_row(f"{seconds:.3f} s", what)
    console.print(times)
    console.print()
    console.print(f"Picture   {sent.file}  ({len(sent.delivery.picture) / 1000:.0f} kB)", soft_wrap=True)
    console.print(f"Link      {sent.delivery.result_url}", soft_wrap=True)
    console.print(f"          until {sent.delivery.result_expires_at}, while the server runs: make run")
    console.print(f"Gallery   {server.base_url}/public/slots/{slot} (will be there)", soft_wrap=True)


def _time(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()
