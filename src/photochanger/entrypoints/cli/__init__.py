"""The `photochanger` command."""

import sys

import rich_click as click

from photochanger.domain.errors import PhotoChangerError, ValidationFailed
from photochanger.entrypoints.cli.commands import photochanger
from photochanger.entrypoints.cli.exit_codes import ExitCode, exit_code_of


def main() -> None:
    """Run the command line, and end the process with one of the documented exit statuses."""
    try:
        photochanger(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(ExitCode.USAGE)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(130)
    except PhotoChangerError as error:
        _explain(error)
        sys.exit(exit_code_of(type(error)))


def _explain(error: PhotoChangerError) -> None:
    if isinstance(error, ValidationFailed):
        for problem in error.problems:
            click.echo(f"photochanger: {problem.field}: {problem.message}", err=True)
    else:
        click.echo(f"photochanger: {error.message}", err=True)
