"""Every command and its options; those of administration are in `administration/`, one module each.

What a command does is in a module of its own.
"""

import json
import sys
from pathlib import Path
from typing import Any

import rich_click as click
from rich.console import Console

from photochanger import __version__
from photochanger.entrypoints.cli.deferred import Deferred
from photochanger.entrypoints.cli.exit_codes import ExitCode
from photochanger.entrypoints.cli.options import CONTEXT, EXIT_STATUSES, configured, data_dir_option
from photochanger.entrypoints.settings import Environment


@click.group(context_settings=CONTEXT, epilog=EXIT_STATUSES)
@click.version_option(__version__, message="photochanger %(version)s")
def photochanger() -> None:
    """The server between a photo booth and AI image providers.

    Start with `photochanger serve`: without any configuration it makes a database, a password and three
    slots that work without a key, and prints what to type into the booth. `photochanger send PHOTO` then
    plays the booth.
    """


_WORKERS = click.option(
    "--workers", type=click.IntRange(1, 256), help="Jobs to do at once; default $WORKERS or 8."
)


@photochanger.command(epilog=EXIT_STATUSES)
@click.option("--host", default="0.0.0.0", show_default=True, help="Address to listen on.")  # noqa: S104 - the booth is another machine
@click.option("--port", default=8000, show_default=True, type=click.IntRange(0, 65535), help="0: any free.")
@click.option("--no-worker", is_flag=True, help="Take photos only; `photochanger worker` does the jobs.")
@_WORKERS
@data_dir_option
def serve(host: str, port: int, no_worker: bool, workers: int | None, data_dir: Path | None) -> None:
    """Take photos over HTTP and answer with pictures.

    Without DATABASE_URL a PostgreSQL of its own is started in the data folder. The first start makes the
    credentials and switches on slot-001 to slot-003. Ctrl-C or SIGTERM ends it in order: held requests are
    answered first.
    """
    from photochanger.entrypoints.cli.malloc import restart_with_settings

    restart_with_settings()
    from photochanger.entrypoints.cli.serve import serve_http

    serve_http(configured(data_dir, workers), host=host, port=port, with_worker=not no_worker)


@photochanger.command(epilog=EXIT_STATUSES)
@_WORKERS
@data_dir_option
def worker(workers: int | None, data_dir: Path | None) -> None:
    """Do jobs that a `serve` elsewhere has taken in.

    Needs the same DATABASE_URL and the same media folder (MEDIA_ROOT) or bucket (MEDIA_URL); on one machine,
    the same data folder is enough. Start as many as you like.
    """
    from photochanger.entrypoints.cli.malloc import restart_with_settings

    restart_with_settings()
    from photochanger.entrypoints.cli.serve import work

    work(configured(data_dir, workers))


@photochanger.command(epilog=EXIT_STATUSES)
@data_dir_option
def migrate(data_dir: Path | None) -> None:
    """Bring the database's schema up to date.

    Safe to run again and at the same time elsewhere. `serve` does it by itself for its own database, never
    for one that DATABASE_URL names.
    """
    from photochanger.entrypoints.cli.serve import migrate_database

    applied = migrate_database(configured(data_dir))
    click.echo("\n".join(f"applied {revision}" for revision in applied) or "The schema is up to date.")


@photochanger.command(epilog=EXIT_STATUSES)
@click.argument("photo", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--url",
    default="http://127.0.0.1:8000/ingest/slot-001",
    show_default=True,
    envvar="PHOTOCHANGER_INGEST_URL",
    help="The slot's ingest URL.",
)
@click.option(
    "--password",
    envvar="PHOTOCHANGER_INGEST_PASSWORD",
    help="The ingest password; asked for if neither it nor $PHOTOCHANGER_INGEST_PASSWORD is given.",
)
@click.option(
    "--output", "-o", type=click.Path(dir_okay=False, path_type=Path), help="Where to save the picture."
)
@click.option(
    "--timeout", default=60.0, show_default=True, type=click.FloatRange(1, 600), help="Seconds to wait."
)
@click.option("--json", "as_json", is_flag=True, help="Print what happened as JSON.")
def send(
    photo: Path, url: str, password: str | None, output: Path | None, timeout: float, as_json: bool
) -> None:
    """Send PHOTO as the booth would, and save the picture that comes back.

    \b
    Example:
      photochanger send IMG_0001.JPG --url http://192.168.1.20:8000/ingest/slot-001
    """
    from photochanger.entrypoints.cli.booth import Refusal
    from photochanger.entrypoints.cli.send import send as send_photo

    console = Console(stderr=True)
    password = password or click.prompt("Ingest password", hide_input=True, err=True)
    try:
        sent = send_photo(url, password, photo, output=output, timeout_sec=timeout, console=console)
    except Refusal as refusal:
        _explain_refusal(refusal, as_json=as_json)
        sys.exit(refusal.exit_code)
    if as_json:
        click.echo(json.dumps(sent.as_json()))
        return
    click.echo(f"{sent.file}  {len(sent.delivery.picture) / 1000:.0f} kB in {sent.delivery.total_sec:.2f} s")
    click.echo(f"{sent.delivery.result_url}  until {sent.delivery.result_expires_at}")


def _explain_refusal(refusal: Any, *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(refusal.as_json()))
    click.echo(f"photochanger: {refusal.status} {refusal.error.code}: {refusal.detail}", err=True)
    if refusal.retry_after_sec:
        click.echo(f"Try again in {refusal.retry_after_sec} s.", err=True)


@photochanger.command(epilog=EXIT_STATUSES)
@click.option(
    "--photo",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A photo of your own; default: a portrait that comes with PhotoChanger.",
)
@click.option("--slot", default="slot-001", show_default=True, help="The slot to send it to.")
@data_dir_option
def demo(photo: Path | None, slot: str, data_dir: Path | None) -> None:
    """Start a server, send a photo as the booth would, show the picture and the times, and end."""
    from photochanger.entrypoints.cli.demo import run_demo

    run_demo(configured(data_dir), photo=photo, slot=slot)


_FAKED = click.Choice(["gemini", "turbotext"])


@photochanger.command("fake-provider", epilog=EXIT_STATUSES)
@click.argument("provider", type=_FAKED)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=9100, show_default=True, type=click.IntRange(0, 65535), help="0: any free.")
@click.option(
    "--delay", default=2.0, show_default=True, type=click.FloatRange(0, 600), help="Seconds for a picture."
)
@click.option("--fault", "faults", multiple=True, help="What goes wrong, call by call; `ok` for nothing.")
@click.option("--list", "listed", is_flag=True, help="List the faults, and end.")
def fake_provider(
    provider: str, host: str, port: int, delay: float, faults: tuple[str, ...], listed: bool
) -> None:
    """Play PROVIDER on this machine, to rehearse with the real adapter but without a key.

    It speaks the provider's own protocol, and prints the variables to start `photochanger serve` with. A
    prompt with `[fault:overloaded]` in it makes a call of the fake Gemini fail that way.

    \b
    Example:
      photochanger fake-provider gemini --fault no_image --fault overloaded
    """
    from photochanger.entrypoints.cli.fakes import list_faults, run_fake

    if listed:
        list_faults(provider)
    else:
        run_fake(provider, host=host, port=port, delay_sec=delay, faults=faults)


@photochanger.command("provider-faults", epilog=EXIT_STATUSES)
@click.argument("providers", type=_FAKED, nargs=-1)
@click.option("--only", multiple=True, help="Replay this row; may be repeated.")
def provider_faults(providers: tuple[str, ...], only: tuple[str, ...]) -> None:
    """Replay every known way in which PROVIDERS (default: all) fail, and compare what comes of it.

    Each row is one call of the real adapter against a fake that goes wrong: printed are the row, what must
    come of it, and what came. Ends with status 1 where a row is not as it must be.
    """
    from photochanger.entrypoints.cli.fakes import FAKED, replay_faults

    if not replay_faults(providers or tuple(FAKED), only=only):
        sys.exit(ExitCode.DEFECT)


@photochanger.command()
@click.option(
    "--write",
    type=click.Path(file_okay=False, exists=True, path_type=Path),
    metavar="FOLDER",
    help="Write openapi.yaml, errors.md, VERSION.json and slot-parameters/ into FOLDER instead of printing.",
)
def openapi(write: Path | None) -> None:
    """Print the OpenAPI document of the HTTP interface, as YAML."""
    from photochanger.entrypoints.container import Container
    from photochanger.entrypoints.http.app import create_app
    from photochanger.entrypoints.http.documentation import openapi_yaml, write_contracts
    from photochanger.entrypoints.image_providers import write_parameter_schemas

    container = Container(environment=Environment(), database_url="")  # nothing of it is opened
    app = create_app(container)
    if write is not None:
        write_contracts(app, write)
        write_parameter_schemas(container.found_providers(), write / "slot-parameters")
    else:
        click.echo(openapi_yaml(app), nl=False)


ADMINISTRATION = {
    "slots": "Look at the fifteen slots, set them up, delete their results.",
    "templates": "Look at template images, add and remove them.",
    "settings": "Look at the settings and change them; set the ingest password.",
    "jobs": "Look at jobs, and cancel them.",
    "stats": "Show how many photos came, how they ended, and how long they took.",
    "audit": "Show who did what, when and from where.",
    "account": "Look at the administrators' accounts, add and remove them, log them out.",
    "cleanup": "End overdue jobs, delete what has expired, and forget what is long over.",
    "verify": "Look whether database and media store agree with each other, and change nothing.",
    "adopt-media": "Make the media store this database's, whosever it was.",
    "hash-password": "Print the argon2id hash of a password, for the credentials file.",
}
"""The commands that work on the database, or for it, and what `photochanger --help` says of each."""

for _name, _help in ADMINISTRATION.items():
    photochanger.add_command(
        Deferred(
            _name, module=f"photochanger.entrypoints.cli.administration.{_name.replace('-', '_')}", help=_help
        )
    )
