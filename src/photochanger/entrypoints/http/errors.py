"""Errors as answers: one table of statuses, one shape (RFC 9457), for everything that goes wrong."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from http import HTTPStatus
from math import ceil
from typing import Any, Final

import msgspec
import structlog
from litestar.exceptions import HTTPException
from litestar.response import Response
from litestar.types import Scope

from photochanger.domain.errors import (
    CallerError,
    Conflict,
    DeadlineExceeded,
    Forbidden,
    Gone,
    IdempotencyKeyReused,
    InternalError,
    InvalidCredentials,
    InvalidImage,
    InvalidPassword,
    InvalidRequest,
    NotAuthenticated,
    NotFound,
    PayloadTooLarge,
    PhotoChangerError,
    Problem,
    ProviderFault,
    ProviderQuotaExhausted,
    RateLimited,
    SlotBusy,
    TemplateInUse,
    TooManyAttempts,
    Unavailable,
    UnsupportedMediaType,
    ValidationFailed,
)
from photochanger.domain.job import Job, JobId
from photochanger.entrypoints.http.heads import AnyRequest, first_header
from photochanger.entrypoints.http.messages import Language, preferred_language, sentence, title_of

PROBLEM_TYPE: Final = "application/problem+json"

CLIENT_CLOSED_REQUEST: Final = 499
"""What nginx counts for a client that left before its answer. Nobody receives it."""

_LOGGER = structlog.get_logger("photochanger.http")


class RouteNotFound(NotFound):
    """No route has this path."""

    code = "not_found"
    title = "There is nothing at this address"


class MethodNotAllowed(CallerError):
    """The route does not know this method."""

    code = "method_not_allowed"
    title = "This method is not supported here"


class RangeNotSatisfiable(CallerError):
    """The range begins behind the end of the file."""

    code = "range_not_satisfiable"
    title = "The range begins behind the end of the file"


STATUS_OF: Final[Mapping[type[PhotoChangerError], HTTPStatus]] = {
    InvalidRequest: HTTPStatus.BAD_REQUEST,
    InvalidPassword: HTTPStatus.UNAUTHORIZED,
    NotAuthenticated: HTTPStatus.UNAUTHORIZED,
    InvalidCredentials: HTTPStatus.UNAUTHORIZED,
    Forbidden: HTTPStatus.FORBIDDEN,
    TooManyAttempts: HTTPStatus.TOO_MANY_REQUESTS,
    NotFound: HTTPStatus.NOT_FOUND,
    MethodNotAllowed: HTTPStatus.METHOD_NOT_ALLOWED,
    Conflict: HTTPStatus.CONFLICT,
    Gone: HTTPStatus.GONE,
    PayloadTooLarge: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    UnsupportedMediaType: HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    RangeNotSatisfiable: HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE,
    ValidationFailed: HTTPStatus.UNPROCESSABLE_ENTITY,
    InvalidImage: HTTPStatus.UNPROCESSABLE_ENTITY,
    IdempotencyKeyReused: HTTPStatus.UNPROCESSABLE_ENTITY,
    InternalError: HTTPStatus.INTERNAL_SERVER_ERROR,
    ProviderFault: HTTPStatus.BAD_GATEWAY,
    ProviderQuotaExhausted: HTTPStatus.SERVICE_UNAVAILABLE,
    RateLimited: HTTPStatus.TOO_MANY_REQUESTS,
    SlotBusy: HTTPStatus.TOO_MANY_REQUESTS,
    Unavailable: HTTPStatus.SERVICE_UNAVAILABLE,
    DeadlineExceeded: HTTPStatus.GATEWAY_TIMEOUT,
}
"""The status of every error class, its own or that of its nearest ancestor."""


class ClientGone(Exception):
    """The client hung up: there is nobody left to answer, and nothing is wrong with us."""


class JobFailed(Exception):
    """An error together with the job that it ended."""

    def __init__(self, error: PhotoChangerError, job_id: JobId, failure_reason: str | None) -> None:
        super().__init__(error.message)
        self.error = error
        self.job_id = job_id
        self.failure_reason = failure_reason

    @classmethod
    def of(cls, job: Job, error: PhotoChangerError) -> "JobFailed":
        """Return `error` with what the job itself says of its failure."""
        return cls(error, job.job_id, job.failure_reason)


class ProblemDetails(msgspec.Struct, omit_defaults=True, kw_only=True):
    """The body of every error answer (RFC 9457). `code` is stable; `title`, `detail` and messages are not."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    job_id: str | None = None
    failure_reason: str | None = None
    retry_after_sec: int | None = None
    errors: Sequence[Problem] = ()
    slot_ids: Sequence[str] = ()


def status_of(error: type[PhotoChangerError]) -> HTTPStatus:
    """Return the status of an error class."""
    return next(STATUS_OF[cls] for cls in error.__mro__ if cls in STATUS_OF)


def describe(
    error: PhotoChangerError, language: Language, *, status: int | None = None, about: JobFailed | None = None
) -> ProblemDetails:
    """Return what the caller is told of `error`."""
    title = title_of(type(error), language)
    problems = _problems_of(error, language)
    return ProblemDetails(
        type=f"/docs#{error.code}",
        title=title,
        status=status or status_of(type(error)),
        detail=_detail(error, problems, language),
        code=error.code,
        job_id=about.job_id if about else None,
        failure_reason=about.failure_reason if about else None,
        retry_after_sec=None if error.retry_after_sec is None else ceil(error.retry_after_sec),
        errors=problems,
        slot_ids=error.slot_ids if isinstance(error, TemplateInUse) else (),
    )


def _detail(error: PhotoChangerError, problems: Sequence[Problem], language: Language) -> str:
    if problems:
        return "; ".join(f"{problem.field}: {problem.message}" for problem in problems)
    if error.message == error.title:
        return title_of(type(error), language)
    return sentence(error.message, language)


def _problems_of(error: PhotoChangerError, language: Language) -> Sequence[Problem]:
    if not isinstance(error, ValidationFailed):
        return ()
    return [replace(problem, message=sentence(problem.message, language)) for problem in error.problems]


def problem_response(
    scope: Scope,
    error: PhotoChangerError,
    *,
    status: int | None = None,
    headers: Mapping[str, str] | None = None,
    about: JobFailed | None = None,
) -> Response[bytes]:
    """Return `error` as an answer to the request of `scope`, in the caller's language."""
    language = preferred_language(first_header(scope, b"accept-language") or "")
    problem = describe(error, language, status=status, about=about)
    scope["state"]["problem_code"] = problem.code
    extra = {"Cache-Control": "no-store", "Content-Language": language.value, **(headers or {})}
    if problem.retry_after_sec is not None:
        extra["Retry-After"] = str(problem.retry_after_sec)
    return Response(
        msgspec.json.encode(problem), status_code=problem.status, media_type=PROBLEM_TYPE, headers=extra
    )


_CHALLENGE: Final = {"WWW-Authenticate": 'Bearer realm="photochanger"'}
"""Required with 401 (RFC 9110, 11.6.1), in the form of RFC 6750."""


def _on_domain_error(request: AnyRequest, error: PhotoChangerError) -> Response[bytes]:
    if isinstance(error, InternalError):
        return _on_unexpected(request, error)
    headers = _CHALLENGE if isinstance(error, NotAuthenticated) else None
    return problem_response(request.scope, error, headers=headers)


def _on_job_failed(request: AnyRequest, failed: JobFailed) -> Response[bytes]:
    return problem_response(request.scope, failed.error, about=failed)


def _on_client_gone(_request: AnyRequest, _gone: ClientGone) -> Response[None]:
    return Response(None, status_code=CLIENT_CLOSED_REQUEST)


def _on_framework_error(request: AnyRequest, error: HTTPException) -> Response[bytes]:
    match error.status_code:
        case HTTPStatus.NOT_FOUND:
            return problem_response(request.scope, RouteNotFound())
        case HTTPStatus.METHOD_NOT_ALLOWED:
            allowed = ", ".join(sorted((error.headers or {}).get("allow", "").split(", ")))
            return problem_response(request.scope, MethodNotAllowed(), headers={"Allow": allowed})
        case status if status < HTTPStatus.INTERNAL_SERVER_ERROR:
            return problem_response(request.scope, InvalidRequest(), status=status)
    return _on_unexpected(request, error)


def _on_unexpected(request: AnyRequest, error: Exception) -> Response[bytes]:
    """Log the error with its traceback, here and nowhere else, and tell the caller nothing of it."""
    _LOGGER.error("unexpected error", exc_info=error)
    return problem_response(request.scope, InternalError())


EXCEPTION_HANDLERS: Final[Mapping[int | type[Exception], Callable[[AnyRequest, Any], Response[Any]]]] = {
    PhotoChangerError: _on_domain_error,
    JobFailed: _on_job_failed,
    ClientGone: _on_client_gone,
    HTTPException: _on_framework_error,
    Exception: _on_unexpected,
}
"""For `Litestar(exception_handlers=…)`."""
