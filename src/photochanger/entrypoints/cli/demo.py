"""`photochanger demo`: the whole of it, once, with real processes and real HTTP."""

import json
import time
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from rich.console import Console
from rich.table import Table

from photochanger.domain.errors import Unavailable
from photochanger.entrypoints.cli.booth import Refusal
from photochanger.entrypoints.cli.processes import HOST, ServeProcess
from photochanger.entrypoints.cli.send import Sent, send
from photochanger.entrypoints.http.server import listen
from photochanger.entrypoints.settings import Environment

USUAL_PORT = 8000
SEND_PATIENCE_SEC = 60.0

SAMPLE = Path(__file__).with_name("sample.jpg")


def run_demo(environment: Environment, *, photo: Path | None, slot: str) -> None:
    """Start a server, send a photo, show what came of it, and stop the server.

    Raises `Unavailable` where the server does not start, and what `send` raises.
    """
    console = Console(highlight=False)
    chosen = photo or SAMPLE
    server = ServeProcess(environment.data_dir, _free_port(), log_path=environment.data_dir / "demo.log")
    began = time.monotonic()
    try:
        with console.status("Starting the server, with a database of its own …"):
            server.wait_until_ready()
        start_sec = time.monotonic() - began
        sent = _send(environment, server, chosen, slot, console)
        job = _get_json(f"{server.base_url}/api/jobs/{sent.delivery.job_id}")
    finally:
        server.stop()
    _show_times(console, start_sec, chosen, sent, job)
    _show_places(console, server, sent, slot)


def _send(environment: Environment, server: ServeProcess, photo: Path, slot: str, console: Console) -> Sent:
    try:
        return send(
            f"{server.base_url}/ingest/{slot}",
            _password(environment),
            photo,
            output=environment.data_dir / "demo" / f"{photo.stem}-changed.jpg",
            timeout_sec=SEND_PATIENCE_SEC,
            console=console,
        )
    except Refusal as refusal:
        raise refusal.error(refusal.detail) from refusal


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


def _get_json(url: str) -> Mapping[str, Any]:
    with urlopen(url, timeout=10) as answer:  # noqa: S310 - our own address
        document: Mapping[str, Any] = json.load(answer)
        return document


def _show_times(console: Console, start_sec: float, photo: Path, sent: Sent, job: Mapping[str, Any]) -> None:
    created, started, finalized = (_time(job[name]) for name in ("created_at", "started_at", "finalized_at"))
    times = Table(box=None, show_header=False, pad_edge=False)
    times.add_column(justify="right")
    times.add_column()
    for seconds, what in (
        (start_sec, "start the server: database, migrations, credentials"),
        (sent.delivery.upload_sec, f"send the photo ({photo.stat().st_size / 1000:.0f} kB)"),
        (started - created, "wait for a worker"),
        (finalized - started, "prepare it, transform it, check it, store the picture and its preview"),
        (sent.delivery.total_sec, "from the first byte sent to the last byte of the picture received"),
    ):
        times.add_row(f"{seconds:.3f} s", what)
    console.print(times)
    console.print()


def _show_places(console: Console, server: ServeProcess, sent: Sent, slot: str) -> None:
    console.print(f"Picture   {sent.file}  ({len(sent.delivery.picture) / 1000:.0f} kB)", soft_wrap=True)
    console.print(f"Link      {sent.delivery.result_url}", soft_wrap=True)
    console.print(f"          until {sent.delivery.result_expires_at}, while the server runs: make run")
    console.print(f"Gallery   {server.base_url}/public/slots/{slot} (will be there)", soft_wrap=True)


def _time(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()
