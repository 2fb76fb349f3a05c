"""Where every administrative command works: the database is opened, the work done, the answer printed."""

import asyncio
import functools
import json
import os
import pwd
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

import msgspec
import rich_click as click
from rich.console import Console, RenderableType

from photochanger.domain.audit import COMMAND_LINE, Actor
from photochanger.domain.errors import PhotoChangerError, Problem, TemplateInUse, ValidationFailed
from photochanger.entrypoints.cli.administration.tables import speaks_unicode
from photochanger.entrypoints.cli.options import configured, data_dir_option
from photochanger.entrypoints.documents.links import ResultLinks
from photochanger.entrypoints.settings import Environment

if TYPE_CHECKING:  # it loads every adapter, which is not needed to refuse a wrong option
    from photochanger.entrypoints.container import Container

_Options = ParamSpec("_Options")
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """The installation, as a command finds it. Links are paths where there is no PUBLIC_BASE_URL."""

    container: "Container"
    actor: Actor
    links: ResultLinks


class Desk:
    """Does a command's work, and prints what came of it: for a person, or as one JSON document."""

    def __init__(self, environment: Environment, *, as_json: bool) -> None:
        self.environment = environment
        self._as_json = as_json

    def run(self, work: Callable[[Opened], Awaitable[_T]], *, whosever_media: bool = False) -> _T:
        """Open the installation, do `work`, and close it. Another process may use it at the same time.

        Raises `ValidationFailed` where there is no installation: a mistyped folder is not made into one; and
        `StorageUnavailable` where the media are not its own, unless they may be `whosever_media`.
        """
        return asyncio.run(self._opened(work, whosever_media=whosever_media))

    async def _opened(self, work: Callable[[Opened], Awaitable[_T]], *, whosever_media: bool) -> _T:
        from photochanger.adapters.telemetry.logs import configure_logging  # noqa: PLC0415
        from photochanger.entrypoints.opening import has_database, opened  # noqa: PLC0415

        configure_logging("WARNING", self.environment.log_format)
        if not has_database(self.environment):
            message = f"there is no database in {self.environment.data_dir}: photochanger serve makes one"
            raise ValidationFailed([Problem(field="--data-dir", code="unknown", message=message)])
        silent = replace(self.environment, telemetry={})  # an exporter to the console would print among it
        async with opened(silent, whosever_media=whosever_media) as container:
            links = ResultLinks(self.environment.public_base_url or "")
            return await work(Opened(container=container, actor=operator(), links=links))

    def answer(self, document: object, *for_people: RenderableType) -> None:
        """Print `document` as JSON where that is wanted, else what is for people."""
        if self._as_json:
            print_json(document)
            return
        console = Console(markup=False, highlight=False, emoji=False)
        for part in for_people:
            with console.capture() as captured:
                console.print(part)
            for line in captured.get().splitlines():
                print_line(line.rstrip())


def administrative(
    command: Callable[Concatenate[Desk, _Options], None],
) -> Callable[..., None]:
    """Give a command its desk, and the options that all administrative commands have."""

    @functools.wraps(command)
    def at_desk(*arguments: Any, as_json: bool, data_dir: Path | None, **options: Any) -> None:
        try:
            command(Desk(configured(data_dir), as_json=as_json), *arguments, **options)
        except PhotoChangerError as error:
            if as_json:
                print_json(_problem(error))
            raise

    return json_option(data_dir_option(at_desk))


def json_option(command: Callable[..., None]) -> Callable[..., None]:
    """Add `--json`."""
    return click.option(
        "--json", "as_json", is_flag=True, help="Print one JSON document, as HTTP answers it."
    )(command)


def print_json(document: object) -> None:
    """Print one JSON document."""
    print_line(json.dumps(msgspec.to_builtins(document), indent=2, ensure_ascii=not speaks_unicode()))


def print_line(text: str) -> None:
    """Print a line; where its reader, such as `head`, has had enough, it goes nowhere."""
    try:
        click.echo(text)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def confirm(question: str, *, yes: bool) -> None:
    """Return where the answer is yes; end the command where it is no, or where nobody can be asked."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise click.UsageError(f"{question} There is nobody to ask: say --yes")
    click.confirm(question, abort=True, err=True)


def operator() -> Actor:
    """Return whoever runs the command, as the operating system knows them."""
    try:
        name = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # a container may run under a number without a name
        name = f"uid {os.getuid()}"
    return Actor(name=name, origin=COMMAND_LINE)


def _problem(error: PhotoChangerError) -> dict[str, object]:
    """Return what went wrong, in the words of HTTP's answer (RFC 9457)."""
    problem: dict[str, object] = {"code": error.code, "title": error.title, "detail": error.message}
    if isinstance(error, ValidationFailed):
        problem["errors"] = error.problems
    if isinstance(error, TemplateInUse):
        problem["slot_ids"] = error.slot_ids
    return problem
