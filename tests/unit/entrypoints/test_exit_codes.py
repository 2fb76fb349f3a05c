"""Exit statuses: every error has one."""

import pytest

from photochanger.domain import errors
from photochanger.entrypoints.cli.exit_codes import ExitCode, exit_code_of
from photochanger.entrypoints.cli.options import EXIT_STATUSES


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.ValidationFailed, ExitCode.USAGE),
        (errors.InvalidPassword, ExitCode.REFUSED),
        (errors.PayloadTooLarge, ExitCode.REFUSED),
        (errors.ProviderRefused, ExitCode.PROVIDER),
        (errors.DeadlineExceeded, ExitCode.TIMEOUT),
        (errors.DatabaseUnavailable, ExitCode.UNAVAILABLE),
        (errors.InternalError, ExitCode.DEFECT),
    ],
)
def test_an_error_ends_the_command_with_its_status(
    error: type[errors.PhotoChangerError], code: ExitCode
) -> None:
    assert exit_code_of(error) is code


@pytest.mark.parametrize("error", [e for e in errors.error_classes() if not e.__subclasses__()])
def test_no_error_is_forgotten(error: type[errors.PhotoChangerError]) -> None:
    if not issubclass(error, errors.InternalError):
        assert exit_code_of(error) is not ExitCode.DEFECT


@pytest.mark.parametrize("code", ExitCode)
def test_every_status_is_explained_in_the_help(code: ExitCode) -> None:
    assert f"  {code.value}  " in EXIT_STATUSES
