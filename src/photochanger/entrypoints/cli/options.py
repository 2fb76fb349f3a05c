"""What several commands have in common: the configuration they read, their options, the end of their help."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import rich_click as click
from dotenv import dotenv_values

from photochanger.entrypoints.cli.exit_codes import ExitCode
from photochanger.entrypoints.settings import Environment, read_environment

CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}

EXIT_STATUSES = "Exit statuses:\n\n" + "\n\n".join(  # an empty line is what begins a new one
    f"  {code.value}  {text}"
    for code, text in (
        (ExitCode.OK, "done"),
        (ExitCode.DEFECT, "a defect of PhotoChanger"),
        (ExitCode.USAGE, "the command line or the configuration is wrong"),
        (ExitCode.UNAVAILABLE, "the server, the database or the media store cannot be reached"),
        (ExitCode.REFUSED, "the request was refused; repeating it will not help"),
        (ExitCode.PROVIDER, "the image provider did not deliver a picture"),
        (ExitCode.TIMEOUT, "the picture was not ready in time"),
    )
)

_Command = TypeVar("_Command", bound=Callable[..., Any])


def environment() -> Environment:
    """Return the configuration: the environment's variables, and those of `.env` where it has none.

    Raises `ValidationFailed` with everything that is wrong, also with what the image providers read.
    """
    from photochanger.entrypoints.image_providers import check_variables  # noqa: PLC0415 - loads them all

    from_file = {name: value for name, value in dotenv_values(".env").items() if value is not None}
    variables = {**from_file, **os.environ}
    check_variables(variables)
    return read_environment(variables)


def configured(data_dir: Path | None, workers: int | None = None) -> Environment:
    """Return the configuration, with what the command's options say instead of it."""
    chosen = environment()
    if data_dir is not None:
        chosen = replace(chosen, data_dir=data_dir)
    return chosen if workers is None else replace(chosen, workers=workers)


def data_dir_option(command: _Command) -> _Command:
    """Add `--data-dir`."""
    return click.option(
        "--data-dir",
        type=click.Path(file_okay=False, path_type=Path),
        help="Folder for the database, the media and the secrets; default $PHOTOCHANGER_DATA_DIR or .data.",
    )(command)


def yes_option(command: _Command) -> _Command:
    """Add `--yes`, for what cannot be undone."""
    return click.option("--yes", is_flag=True, help="Do not ask. Required where there is no terminal.")(
        command
    )
