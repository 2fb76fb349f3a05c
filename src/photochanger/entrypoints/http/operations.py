"""What OpenAPI says of each operation: everything that the handlers' signatures do not."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from http import HTTPStatus
from itertools import groupby
from typing import Any, Final, cast

import msgspec
from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.spec import (
    Example,
    OpenAPIHeader,
    OpenAPIResponse,
    OpenAPIType,
    Operation,
    Parameter,
    Schema,
)

from photochanger.domain.errors import (
    DeadlineExceeded,
    JobFinalized,
    PayloadTooLarge,
    PhotoChangerError,
    Problem,
    ProviderError,
    ProviderMisconfigured,
    ProviderNoImage,
    ProviderQuotaExhausted,
    ProviderRefused,
    TemplateInUse,
    TooManyAttempts,
    Unavailable,
    ValidationFailed,
)
from photochanger.domain.job import JobId
from photochanger.entrypoints.http.errors import (
    PROBLEM_TYPE,
    JobFailed,
    ProblemDetails,
    describe,
    status_of,
)
from photochanger.entrypoints.http.messages import Language

EXAMPLE_JOB: Final = JobId("0f2d6a1f8c7b4e5aa9d3c1b2e4f60718")
_EXAMPLES: Final[Mapping[type[PhotoChangerError], PhotoChangerError]] = {
    PayloadTooLarge: PayloadTooLarge(50_000_000),
    TemplateInUse: TemplateInUse(["slot-001", "slot-007"]),
    TooManyAttempts: TooManyAttempts(retry_after_sec=871),
    ValidationFailed: ValidationFailed(
        [Problem(field="retry.max_attempts", code="out_of_range", message="must be between 0 and 5")]
    ),
}
"""Errors whose examples need more than their class."""

TEXT: Final = Schema(type=OpenAPIType.STRING)
_NUMBER: Final = Schema(type=OpenAPIType.INTEGER)

JOB_FAILURES: Final = (
    ProviderError,
    ProviderRefused,
    ProviderNoImage,
    ProviderMisconfigured,
    ProviderQuotaExhausted,
    DeadlineExceeded,
    JobFinalized,
)
"""What a job that brings no picture answers with; each names the job."""


def problems(errors: Sequence[type[PhotoChangerError]]) -> dict[int, ResponseSpec]:
    """Return the documentation of these errors, one response for each status, one example for each code."""
    by_status = groupby(sorted(errors, key=status_of), key=status_of)
    return {int(status): _problems_of_one_status(list(classes)) for status, classes in by_status}


def _problems_of_one_status(errors: Sequence[type[PhotoChangerError]]) -> ResponseSpec:
    return ResponseSpec(
        ProblemDetails,
        generate_examples=False,
        media_type=PROBLEM_TYPE,
        description="; ".join(f"`{error.code}`: {error.title}" for error in errors),
        examples=[_example(error) for error in errors],
    )


def _example(error_class: type[PhotoChangerError]) -> Example:
    error = _EXAMPLES[error_class] if error_class in _EXAMPLES else error_class()
    reason = "cancelled" if error_class is JobFinalized else error.code
    failed = JobFailed(error, EXAMPLE_JOB, reason) if error_class in JOB_FAILURES else None
    problem = describe(error, Language.EN, about=failed)
    return Example(id=error.code, summary=error.title, value=msgspec.to_builtins(problem))


def header(
    description: str, schema: Schema = TEXT, *, example: Any = None, always: bool = True
) -> OpenAPIHeader:
    """Return the documentation of a header that an answer has, always or sometimes."""
    return OpenAPIHeader(schema=schema, description=description, example=example, required=always)


_RETRY_AFTER: Final = {"Retry-After": header("Seconds until it is worth trying again", _NUMBER, example=5)}
_CHALLENGE: Final = {"WWW-Authenticate": header("`Bearer`", example='Bearer realm="photochanger"')}
_COMMON_HEADERS: Final = {
    "X-Request-Id": header("The request's id in our log: the one that was sent, or a new one"),
    "X-Content-Type-Options": header("`nosniff`"),
}


@dataclass
class Described(Operation):
    """An operation that completes its own documentation once the framework has done its part."""

    def __post_init__(self) -> None:
        responses = cast("dict[str, OpenAPIResponse]", self.responses or {})
        self.complete(responses)
        for status, response in responses.items():
            retry = _RETRY_AFTER if status in _RETRYABLE else {}
            challenge = _CHALLENGE if self.security and status == _UNAUTHORIZED else {}
            _forget_example_ids(response)
            response.headers = {**(response.headers or {}), **retry, **challenge, **_COMMON_HEADERS}

    def complete(self, responses: dict[str, OpenAPIResponse]) -> None:
        """Add what only this operation has; most have nothing."""


def _forget_example_ids(response: OpenAPIResponse) -> None:
    """Take out what the framework needs of an example and OpenAPI does not know."""
    for media_type in (response.content or {}).values():
        media_type.examples = {
            name: replace(example, id=None) if isinstance(example, Example) else example
            for name, example in (media_type.examples or {}).items()
        } or None


_UNAUTHORIZED: Final = str(int(HTTPStatus.UNAUTHORIZED))
_RETRYABLE: Final = {str(int(status_of(Unavailable))), str(int(status_of(TooManyAttempts)))}


_IF_MATCH: Final = Parameter("If-Match", "header", TEXT, "The version that the document is meant for")


@dataclass
class VersionedOperation(Described):
    """A versioned record: its version is its entity tag."""

    def complete(self, responses: dict[str, OpenAPIResponse]) -> None:
        """Describe the entity tag, and how it may be required."""
        success = responses["200"]
        success.headers = {"ETag": header("The version", example='"7"')}
        if "409" in responses:
            self.parameters = [*(self.parameters or []), _IF_MATCH]
