"""What OpenAPI says of the endpoints that take a photo: the booth's, and the test run."""

from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final, cast

from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.spec import (
    OpenAPIMediaType,
    OpenAPIResponse,
    OpenAPIType,
    Parameter,
    RequestBody,
    Schema,
)
from litestar.openapi.spec.enums import OpenAPIFormat

from photochanger.domain.errors import (
    DatabaseUnavailable,
    IdempotencyKeyReused,
    InternalError,
    InvalidImage,
    InvalidPassword,
    InvalidRequest,
    Overloaded,
    PayloadTooLarge,
    RateLimited,
    ResultExpired,
    ShuttingDown,
    SlotBusy,
    SlotDisabled,
    SlotNotFound,
    StorageUnavailable,
    UnsupportedMediaType,
)
from photochanger.entrypoints.http.file_operations import images
from photochanger.entrypoints.http.multipart import MAX_FIELD_BYTES, MAX_FIELDS
from photochanger.entrypoints.http.operations import (
    EXAMPLE_JOB,
    JOB_FAILURES,
    TEXT,
    Described,
    header,
    problems,
)
from photochanger.entrypoints.http.schemas import PhotoOutcome

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
    RateLimited,
    SlotBusy,
    Overloaded,
    StorageUnavailable,
    DatabaseUnavailable,
    ShuttingDown,
    *JOB_FAILURES,
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
_INGEST_PARAMETERS: Final = (
    Parameter("key", "query", TEXT, "The ingest password, for clients that cannot send a field"),
    _INLINE,
    Parameter("X-Ingest-Password", "header", TEXT, "The ingest password; wins over `key` and the field"),
    Parameter(
        "Idempotency-Key",
        "header",
        Schema(type=OpenAPIType.STRING, min_length=1, max_length=255, pattern=r"^[ -~]+$"),
        "The same key with the same photo is the same job: a repetition gets its outcome, as long as the job"
        " can be read. Without a key, the same photo for the same configuration of the slot gets the job that"
        " is under way, or completed, unless `ingest.deduplicate` is off",
    ),
    Parameter(
        "Cache-Control",
        "header",
        TEXT,
        "`no-cache`: make the picture anew, even if the same photo has been done",
    ),
)


@dataclass
class IngestOperation(Described):
    """`POST /ingest/{slot_id}`."""

    def complete(self, responses: dict[str, OpenAPIResponse]) -> None:
        """Describe the form, the head, and both shapes of success."""
        self.request_body = _FORM
        self.parameters = [*(self.parameters or []), *_INGEST_PARAMETERS]
        success = responses["200"]
        success.headers = dict(_PICTURE_HEADERS)
        success.content = {**images(), **(success.content or {})}


@dataclass
class TrySlotOperation(Described):
    """`POST /api/slots/{slot_id}/test-run`."""

    def complete(self, responses: dict[str, OpenAPIResponse]) -> None:
        """Describe the choice of what is inlined, and the answer."""
        self.parameters = [*(self.parameters or []), _INLINE]
        success = responses["200"]
        success.headers = dict(_PICTURE_HEADERS)
