"""How the command ends: one table from what went wrong to the exit status."""

from collections.abc import Mapping
from enum import IntEnum

from photochanger.domain import errors
from photochanger.domain.errors import PhotoChangerError


class ExitCode(IntEnum):
    """The exit statuses of every `photochanger` command."""

    OK = 0
    DEFECT = 1
    """Something went wrong that should not have: please report it."""
    USAGE = 2
    """The command line or the configuration is wrong."""
    UNAVAILABLE = 3
    """The server, the database or the media store cannot be reached, or is overloaded."""
    REFUSED = 4
    """The request was refused: repeating it will not help."""
    PROVIDER = 5
    """The image provider did not deliver a picture."""
    TIMEOUT = 6
    """The picture was not ready by the deadline."""


EXIT_CODE_OF: Mapping[type[PhotoChangerError], ExitCode] = {
    errors.ValidationFailed: ExitCode.USAGE,
    errors.CallerError: ExitCode.REFUSED,
    errors.ProviderFault: ExitCode.PROVIDER,
    errors.DeadlineExceeded: ExitCode.TIMEOUT,
    errors.Unavailable: ExitCode.UNAVAILABLE,
    errors.InternalError: ExitCode.DEFECT,
}


def exit_code_of(error: type[PhotoChangerError]) -> ExitCode:
    """Return the exit status for an error class: that of its nearest ancestor in the table."""
    return next((EXIT_CODE_OF[cls] for cls in error.__mro__ if cls in EXIT_CODE_OF), ExitCode.DEFECT)
