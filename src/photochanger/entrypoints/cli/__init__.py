"""The `photochanger` command."""

import io
import sys
from collections.abc import Sequence

import rich_click as click

from photochanger.domain.errors import PhotoChangerError, ValidationFailed
from photochanger.entrypoints.cli.commands import photochanger
from photochanger.entrypoints.cli.exit_codes import ExitCode, exit_code_of

INTERRUPTED = 130
"""As shells have it: 128 and the number of the signal (SIGINT)."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line, and end the process with one of the documented exit statuses."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a name in another script is no reason to fail
            stream.reconfigure(errors="backslashreplace")
    try:
        photochanger(arguments, prog_name="photochanger", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(ExitCode.USAGE)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(INTERRUPTED)
    except PhotoChangerError as error:
        _explain(error)
        sys.exit(exit_code_of(type(error)))


def _explain(error: PhotoChangerError) -> None:
    if isinstance(error, ValidationFailed):
        for problem in error.problems:
            click.echo(f"photochanger: {problem.field}: {problem.message}", err=True)
    else:
        click.echo(f"photochanger: {error.message}", err=True)
