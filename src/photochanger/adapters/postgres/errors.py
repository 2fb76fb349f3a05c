"""What the rest of the program sees of a database error."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import Final, TypeAlias

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

Violations: TypeAlias = Mapping[str, type[PhotoChangerError]]
"""What the violation of a constraint means, by the constraint's name."""

NO_VIOLATIONS: Final[Violations] = MappingProxyType({})
_UNSTORABLE_TEXT: Final = (errors.CharacterNotInRepertoire, errors.UntranslatableCharacter)


@contextmanager
def translate_errors(violations: Violations = NO_VIOLATIONS) -> Iterator[None]:
    """Turn the errors of psycopg and its pool into those of the domain.

    `DatabaseUnavailable` for what may pass, `InvalidRequest` for text that no database can hold (NUL, halves
    of surrogate pairs), what `violations` says of a constraint, `InternalError` for the rest, which are
    defects. The original is not chained: its text may hold rows, statements or addresses. What identifies it
    (class, SQLSTATE, constraint) is kept.
    """
    try:
        yield
    except psycopg.Error as error:
        raise _translated(error, violations) from None
    except UnicodeEncodeError:
        raise InvalidRequest("The text holds characters that cannot be stored") from None


def _translated(error: psycopg.Error, violations: Violations) -> PhotoChangerError:
    if (meaning := violations.get(error.diag.constraint_name or "")) is not None:
        return meaning()
    if isinstance(error, _PASSING):
        return DatabaseUnavailable(f"The database is not available ({_identity(error)})")
    if isinstance(error, _UNSTORABLE_TEXT) or type(error) is psycopg.DataError:
        return InvalidRequest("The text holds characters that cannot be stored")
    return InternalError(f"The database refused a statement ({_identity(error)})")


def _identity(error: psycopg.Error) -> str:
    parts = [type(error).__name__, error.sqlstate, error.diag.constraint_name]
    return ", ".join(part for part in parts if part)
