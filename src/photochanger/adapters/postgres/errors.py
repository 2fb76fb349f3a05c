"""What the rest of the program sees of a database error."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import psycopg
from psycopg import errors

from photochanger.domain.errors import DatabaseUnavailable, InternalError, InvalidRequest, PhotoChangerError

_PASSING: Final = (
    psycopg.OperationalError,
    psycopg.InterfaceError,
    errors.IdleInTransactionSessionTimeout,
    errors.TransactionTimeout,
    errors.ReadOnlySqlTransaction,  # after a fail-over the old primary is a standby for a while
    errors.FdwUnableToEstablishConnection,
)
"""Errors of the moment: lost connections, time-outs, locks, resources, servers that start or stop."""

_UNSTORABLE_TEXT: Final = (errors.CharacterNotInRepertoire, errors.UntranslatableCharacter)


@contextmanager
def translate_errors() -> Iterator[None]:
    """Turn the errors of psycopg and its pool into those of the domain.

    `DatabaseUnavailable` for what may pass, `InvalidRequest` for text that no database can hold (NUL, halves
    of surrogate pairs), `InternalError` for the rest, which are defects. The original is not chained: its
    text may hold rows, statements or addresses. What identifies it (class, SQLSTATE, constraint) is kept.
    """
    try:
        yield
    except psycopg.Error as error:
        raise _translated(error) from None
    except UnicodeEncodeError:
        raise InvalidRequest("The text holds characters that cannot be stored") from None


def _translated(error: psycopg.Error) -> PhotoChangerError:
    if isinstance(error, _PASSING):
        return DatabaseUnavailable(f"The database is not available ({_identity(error)})")
    if isinstance(error, _UNSTORABLE_TEXT) or type(error) is psycopg.DataError:
        return InvalidRequest("The text holds characters that cannot be stored")
    return InternalError(f"The database refused a statement ({_identity(error)})")


def _identity(error: psycopg.Error) -> str:
    parts = [type(error).__name__, error.sqlstate, error.diag.constraint_name]
    return ", ".join(part for part in parts if part)
