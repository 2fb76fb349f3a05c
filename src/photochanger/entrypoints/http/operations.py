"""What OpenAPI says of each operation: everything that the handlers' signatures do not."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from http import HTTPStatus
from itertools import groupby
from typing import Any, ClassVar, Final, TypeAlias, cast

import msgspec
from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.spec import (
    Example,
    OpenAPIHeader,
    OpenAPIMediaType,
    OpenAPIResponse,
    OpenAPIType,
    Operation,
    Parameter,
    Reference,
    RequestBody,
    Schema,
)
from litestar.openapi.spec.enums import OpenAPIFormat

from photochanger.domain.errors import (
    DatabaseUnavailable,
    DeadlineExceeded,
    IdempotencyKeyReused,
    InternalError,
    InvalidImage,
    InvalidPassword,
    InvalidRequest,
    JobFinalized,
    MediaExpired,
    MediaNotFound,
    Overloaded,
    PayloadTooLarge,
    PhotoChangerError,
    Problem,
    ProviderError,
    ProviderMisconfigured,
    ProviderNoImage,
    ProviderQuotaExhausted,
    ProviderRefused,
    ResultExpired,
    ResultNotFound,
    ShuttingDown,
    SlotDisabled,
    SlotNotFound,
    StorageUnavailable,
    TemplateInUse,
    TooManyAttempts,
    Unavailable,
    UnsupportedMediaType,
    ValidationFailed,
)
from photochanger.domain.image import ImageType
from photochanger.domain.job import JobId
from photochanger.entrypoints.http.errors import (
    PROBLEM_TYPE,
    JobFailed,
    ProblemDetails,
    RangeNotSatisfiable,
    describe,
    status_of,
)
from photochanger.entrypoints.http.messages import Language
from photochanger.entrypoints.http.multipart import MAX_FIELD_BYTES, MAX_FIELDS
from photochanger.entrypoints.http.schemas import Health, HealthReport, PhotoOutcome

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

_BINARY: Final = Schema(type=OpenAPIType.STRING, format=OpenAPIFormat.BINARY)
_TEXT: Final = Schema(type=OpenAPIType.STRING)
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
INGEST_ERRORS: Final = (
    InvalidRequest,
    InvalidPassword,
    SlotNotFound,
    SlotDisabled,
    ResultExpired,
    PayloadTooLarge,
    UnsupportedMediaType,
    InvalidImage,
    IdempotencyKeyReused,
    InternalError,
    Overloaded,
    StorageUnavailable,
    DatabaseUnavailable,
    ShuttingDown,
    *JOB_FAILURES,
)
RESULT_ERRORS: Final = (
    InvalidRequest,
    ResultNotFound,
    ResultExpired,
    RangeNotSatisfiable,
    InternalError,
    StorageUnavailable,
    DatabaseUnavailable,
)
LINK_ERRORS: Final = (
    InvalidRequest,
    MediaNotFound,
    MediaExpired,
    RangeNotSatisfiable,
    InternalError,
    StorageUnavailable,
    DatabaseUnavailable,
)


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
    description: str, schema: Schema = _TEXT, *, example: Any = None, always: bool = True
) -> OpenAPIHeader:
    """Return the documentation of a header that an answer has, always or sometimes."""
    return OpenAPIHeader(schema=schema, description=description, example=example, required=always)


_PICTURE_HEADERS: Final = {
    "Cache-Control": header("`no-store`"),
    "Content-Location": header("The picture's own path", example=f"/public/results/{EXAMPLE_JOB}"),
    "X-Job-Id": header("The job", example=EXAMPLE_JOB),
    "X-Result-Url": header("The picture's public address, absolute"),
    "X-Result-Expires-At": header("When the link ends", example="2026-01-17T09:30:00.123Z"),
    "X-Result-Source": header("`provider`, `fallback` or `original`", example="provider"),
    "Idempotent-Replayed": header(
        "`true` where the job was not new; else absent", Schema(const="true"), always=False
    ),
}
_Headers: TypeAlias = Mapping[str, OpenAPIHeader | Reference]

_FILE_HEADERS: Final[_Headers] = {
    "ETag": header("The SHA-256 of the bytes", example=f'"{"0" * 64}"'),
    "Accept-Ranges": header("`bytes`"),
    "Content-Security-Policy": header("`default-src 'none'; sandbox`"),
}
_RESULT_HEADERS: Final[_Headers] = {
    **_FILE_HEADERS,
    "Last-Modified": header("When the picture was finished"),
    "Cache-Control": header("`private, max-age` of the time that is left"),
    "Content-Disposition": header("`inline`, or `attachment` with `?download=1`; with a file name"),
}
_LINK_HEADERS: Final[_Headers] = {
    **_FILE_HEADERS,
    "Last-Modified": header("When the link was made"),
    "Cache-Control": header("`no-store`"),
}
_TEMPLATE_HEADERS: Final[_Headers] = {
    **_FILE_HEADERS,
    "Last-Modified": header("When the template was added"),
    "Cache-Control": header("`private, no-cache`"),
}
_RETRY_AFTER: Final = {"Retry-After": header("Seconds until it is worth trying again", _NUMBER, example=5)}
_CHALLENGE: Final = {"WWW-Authenticate": header("`Bearer`", example='Bearer realm="photochanger"')}
_COMMON_HEADERS: Final = {
    "X-Request-Id": header("The request's id in our log: the one that was sent, or a new one"),
    "X-Content-Type-Options": header("`nosniff`"),
}


@dataclass
class _Described(Operation):
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
        """Add what only this operation has."""


def _forget_example_ids(response: OpenAPIResponse) -> None:
    """Take out what the framework needs of an example and OpenAPI does not know."""
    for media_type in (response.content or {}).values():
        media_type.examples = {
            name: replace(example, id=None) if isinstance(example, Example) else example
            for name, example in (media_type.examples or {}).items()
        } or None


_UNAUTHORIZED: Final = str(int(HTTPStatus.UNAUTHORIZED))
_RETRYABLE: Final = {str(int(status_of(Unavailable))), str(int(status_of(TooManyAttempts)))}


@dataclass
class Described(_Described):
    """An operation with nothing of its own to add."""


@dataclass
class SlotOperation(_Described):
    """A versioned record: its version is its entity tag."""

    def complete(self, responses: dict[str, OpenAPIResponse]) -> None:
        """Describe the entity tag, and how it may be required."""
        success = responses["200"]
        success.headers = {"ETag": header("The version", example='"7"')}
        if "409" in responses:
            self.parameters = [*(self.parameters or []), _IF_MATCH]


@dataclass
class TestRunOperation(_Described):
    """`POST /api/slots/{slot_id}/test-run`."""

    __test__ = False

    def complete(self, responses: dict[str, OpenAPIResponse]) -> None:
        """Describe the choice of what is inlined, and the answer."""
        self.parameters = [*(self.parameters or []), _INLINE]
        success = responses["200"]
        success.headers = dict(_PICTURE_HEADERS)


@dataclass
class IngestOperation(_Described):
    """`POST /ingest/{slot_id}`."""

    def complete(self, responses: dict[str, OpenAPIResponse]) -> None:
        """Describe the form, the head, and both shapes of success."""
        self.request_body = _FORM
        self.parameters = [*(self.parameters or []), *_INGEST_PARAMETERS]
        success = responses["200"]
        success.headers = dict(_PICTURE_HEADERS)
        success.content = {**_images(), **(success.content or {})}


class _FileOperation(_Described):
    """`GET` and `HEAD` of a file."""

    file_headers: ClassVar[_Headers]

    def complete(self, responses: dict[str, OpenAPIResponse]) -> None:
        """Describe the conditions, and the answers that they lead to."""
        self.parameters = [*(self.parameters or []), *_CONDITIONS]
        content_range = {"Content-Range": header("Which bytes, of how many", example="bytes 0-1023/104857")}
        responses |= {
            "200": OpenAPIResponse("The file", headers=dict(self.file_headers), content=_images()),
            "206": OpenAPIResponse(
                "The range that was asked for",
                headers={**self.file_headers, **content_range},
                content=_images(),
            ),
            "304": OpenAPIResponse("The caller has this version already", headers=dict(self.file_headers)),
        }
        unsatisfiable = responses["416"]
        unsatisfiable.headers = {
            "Content-Range": header("How many bytes there are", example="bytes */104857")
        }
        self.responses = dict(sorted(responses.items()))


@dataclass
class ResultOperation(_FileOperation):
    """`GET` and `HEAD` of a result or its preview."""

    file_headers = _RESULT_HEADERS


@dataclass
class LinkOperation(_FileOperation):
    """`GET` and `HEAD` of a provider link."""

    file_headers = _LINK_HEADERS


@dataclass
class TemplateFileOperation(_FileOperation):
    """`GET` of a template's bytes."""

    file_headers = _TEMPLATE_HEADERS


def _images() -> dict[str, OpenAPIMediaType]:
    return {image_type.value: OpenAPIMediaType(schema=_BINARY) for image_type in ImageType}


def _field(description: str, schema_type: OpenAPIType = OpenAPIType.STRING, **more: Any) -> Schema:
    return Schema(type=schema_type, description=description, **more)


_FORM: Final = RequestBody(
    required=True,
    description=(
        "The photo, and whatever else the booth sends. The photo is one part named `fileToUpload` (or `file`,"
        " `image`, `photo`); its file name and declared type are ignored: its bytes decide. At most "
        f"{MAX_FIELDS} other fields of at most {MAX_FIELD_BYTES} bytes are accepted and need not be there."
    ),
    content={
        "multipart/form-data": OpenAPIMediaType(
            schema=Schema(
                type=OpenAPIType.OBJECT,
                required=["fileToUpload"],
                properties={
                    "fileToUpload": _field("JPEG, PNG or WebP", format=OpenAPIFormat.BINARY),
                    "password": _field(
                        "The ingest password, unless the head has it",
                        format=cast("OpenAPIFormat", "password"),
                    ),
                    "inline": _field(
                        "What the JSON answer holds in `result_inline_base64`; the query wins",
                        enum=["true", "preview", "false"],
                    ),
                },
                property_names=Schema(min_length=1),
                additional_properties=Schema(type=OpenAPIType.STRING, max_length=MAX_FIELD_BYTES),
            )
        )
    },
)

_INLINE: Final = Parameter(
    "inline",
    "query",
    Schema(type=OpenAPIType.STRING, enum=["true", "preview", "false"], default="true"),
    "What the JSON answer holds in `result_inline_base64`: the picture, its preview, or nothing",
)
_IF_MATCH: Final = Parameter("If-Match", "header", _TEXT, "The version that the document is meant for")

_INGEST_PARAMETERS: Final = (
    Parameter("key", "query", _TEXT, "The ingest password, for clients that cannot send a field"),
    _INLINE,
    Parameter("X-Ingest-Password", "header", _TEXT, "The ingest password; wins over `key` and the field"),
    Parameter(
        "Idempotency-Key",
        "header",
        Schema(type=OpenAPIType.STRING, min_length=1, max_length=255, pattern=r"^[ -~]+$"),
        "The same key with the same photo is the same job: a repetition gets its outcome",
    ),
)

_CONDITIONS: Final = (
    Parameter("Range", "header", _TEXT, "One range of bytes; several, or nonsense, get the whole file"),
    Parameter("If-Range", "header", _TEXT, "An entity tag or date: the range applies to that version only"),
    Parameter("If-None-Match", "header", _TEXT, "Entity tags that the caller has"),
    Parameter("If-Modified-Since", "header", _TEXT, "The date of what the caller has"),
)

INGEST_RESPONSES: Final[Mapping[int, ResponseSpec]] = {
    HTTPStatus.OK: ResponseSpec(
        PhotoOutcome,
        generate_examples=False,
        description="The picture; or, where `Accept` prefers `application/json`, the same as JSON",
    ),
    **problems(INGEST_ERRORS),
}
TEST_RUN_RESPONSES: Final[Mapping[int, ResponseSpec]] = {
    HTTPStatus.OK: ResponseSpec(PhotoOutcome, generate_examples=False, description="The outcome")
}
RESULT_RESPONSES: Final = problems(RESULT_ERRORS)
LINK_RESPONSES: Final = problems(LINK_ERRORS)
HEALTH_RESPONSES: Final = {
    HTTPStatus.SERVICE_UNAVAILABLE.value: ResponseSpec(
        HealthReport, generate_examples=False, description="The database or the media store fails"
    )
}
READINESS_RESPONSES: Final = {
    HTTPStatus.SERVICE_UNAVAILABLE.value: ResponseSpec(
        Health, generate_examples=False, description="Not now, and why"
    )
}
