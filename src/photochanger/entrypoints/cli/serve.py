"""`photochanger serve`, `worker` and `migrate`."""

import asyncio
import socket
import sys
from collections.abc import Coroutine, Sequence
from typing import Any

import rich_click as click
import uvloop

from photochanger import __version__
from photochanger.adapters.postgres.migrations import migrate
from photochanger.adapters.telemetry.logs import configure_logging
from photochanger.entrypoints.container import Container
from photochanger.entrypoints.first_start import InitialCredentials
from photochanger.entrypoints.http.server import listen
from photochanger.entrypoints.opening import embedded_database
from photochanger.entrypoints.runtime import run_server, run_worker
from photochanger.entrypoints.settings import Environment

BOOTH_MARGIN_SEC = 2
"""How much longer the booth should wait than we take: the way there and back."""


def serve_http(environment: Environment, *, host: str, port: int, with_worker: bool) -> None:
    """Run the HTTP server until the process is asked to end."""
    configure_logging(environment.log_level, environment.log_format)
    listening = listen(host, port)
    base_url = environment.public_base_url or _base_url(listening)

    async def announce(container: Container, credentials: InitialCredentials | None) -> None:
        click.echo(await _welcome(container, base_url, credentials))

    _run(run_server(environment, listening, with_worker=with_worker, on_ready=announce))


def work(environment: Environment) -> None:
    """Do jobs until the process is asked to end."""
    configure_logging(environment.log_level, environment.log_format)

    async def announce(_: Container) -> None:
        click.echo(f"PhotoChanger {__version__}: doing up to {environment.workers} jobs at once.")

    _run(run_worker(environment, on_ready=announce))


def migrate_database(environment: Environment) -> Sequence[str]:
    """Apply what migrations are missing, and return their names."""
    if environment.database_url is not None:
        return migrate(environment.database_url)
    with embedded_database(environment) as dsn:
        return migrate(dsn)


def _run(process: Coroutine[Any, Any, None]) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        try:
            runner.run(process)
        except asyncio.CancelledError as impatience:
            raise click.Abort from impatience


def _base_url(listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    if host in {"0.0.0.0", "::"}:  # noqa: S104 - compared, not bound
        host = _address_on_the_network()
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _address_on_the_network() -> str:
    """Return the address that other machines of the network reach this one by."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # an address for documentation (RFC 5737): nothing is sent
        except OSError:
            return "127.0.0.1"
        return str(probe.getsockname()[0])


async def _welcome(container: Container, base_url: str, credentials: InitialCredentials | None) -> str:
    current = await container.configuration().get()
    active = [slot for slot in current.slots.values() if slot.configuration.is_active]
    note = container.first_start().credentials_note
    lines = [
        f"PhotoChanger {__version__} is ready at {base_url}",
        "",
        "In DSLR Remote Pro: Output Settings, Postprocess photos, Web based (HTTP POST):",
        "",
    ]
    for slot in active:
        seconds = current.settings.sync_response_timeout_sec(slot.configuration) + BOOTH_MARGIN_SEC
        lines.append(
            f"  URL {base_url}/ingest/{slot.slot_id}   Timeout {seconds}   {slot.configuration.display_name}"
        )
    lines += ["", f"  Password  {_password_hint(credentials, str(note))}", ""]
    return "\n".join(lines)


def _password_hint(credentials: InitialCredentials | None, note: str) -> str:
    if credentials is None:
        return "the one that an administrator has set"
    # On a terminal it is read by a person; elsewhere it would end in a log.
    return credentials.ingest_password if sys.stdout.isatty() else f"is in {note}"
