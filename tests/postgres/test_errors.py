"""What the program sees of psycopg's errors."""

import traceback

import psycopg
import psycopg_pool
import pytest
from psycopg import errors

from photochanger.adapters.postgres.errors import translate_errors
from photochanger.domain.errors import DatabaseUnavailable, InternalError, InvalidRequest, PhotoChangerError


def _classes(root: type[Exception]) -> set[type[Exception]]:
    return {root}.union(*map(_classes, root.__subclasses__()))


ALL = sorted(_classes(psycopg.Error), key=lambda cls: f"{cls.__module__}.{cls.__name__}")


def _translated(error: BaseException) -> PhotoChangerError:
    with pytest.raises(PhotoChangerError) as caught, translate_errors():
        raise error
    return caught.value


def test_the_walk_meets_psycopg_and_its_pool() -> None:
    assert len(ALL) > 250
    assert {psycopg_pool.PoolTimeout, psycopg_pool.TooManyRequests, errors.AdminShutdown} <= set(ALL)


@pytest.mark.parametrize("cls", ALL, ids=lambda cls: cls.__name__)
def test_every_error_becomes_one_of_the_domain(cls: type[Exception]) -> None:
    error = _translated(cls("SELECT secret FROM t WHERE key = 'data' host=db.example"))
    assert type(error) in {DatabaseUnavailable, InternalError, InvalidRequest}
    shown = "".join(traceback.format_exception(error))
    for leak in ("SELECT", "secret", "data'", "db.example"):
        assert leak not in shown
    if cls.__name__ not in {"DataError", "CharacterNotInRepertoire", "UntranslatableCharacter"}:
        assert cls.__name__ in error.message


@pytest.mark.parametrize(
    "cls",
    [
        psycopg.OperationalError,
        psycopg.InterfaceError,
        psycopg_pool.PoolTimeout,
        psycopg_pool.PoolClosed,
        psycopg_pool.TooManyRequests,
        errors.AdminShutdown,
        errors.CrashShutdown,
        errors.CannotConnectNow,
        errors.TooManyConnections,
        errors.LockNotAvailable,
        errors.QueryCanceled,
        errors.DeadlockDetected,
        errors.SerializationFailure,
        errors.DiskFull,
        errors.OutOfMemory,
        errors.ConnectionFailure,
        errors.IdleInTransactionSessionTimeout,
        errors.ReadOnlySqlTransaction,
    ],
)
def test_what_may_pass_is_unavailability(cls: type[Exception]) -> None:
    assert type(_translated(cls("x"))) is DatabaseUnavailable


@pytest.mark.parametrize(
    "cls",
    [
        errors.SyntaxError,
        errors.UndefinedTable,
        errors.InsufficientPrivilege,
        errors.UniqueViolation,
        errors.CheckViolation,
        errors.NumericValueOutOfRange,
        errors.FeatureNotSupported,
    ],
)
def test_what_is_a_defect_is_an_internal_error(cls: type[Exception]) -> None:
    assert type(_translated(cls("x"))) is InternalError


def test_text_that_cannot_be_stored_is_the_callers_fault() -> None:
    for error in (psycopg.DataError("NUL"), UnicodeEncodeError("utf-8", "\ud800", 0, 1, "surrogate")):
        assert type(_translated(error)) is InvalidRequest


def test_other_exceptions_pass_untouched() -> None:
    with pytest.raises(ZeroDivisionError), translate_errors():
        raise ZeroDivisionError
