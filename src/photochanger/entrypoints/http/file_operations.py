"""What OpenAPI says of the endpoints that deliver a file: results, links, templates."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Final, TypeAlias

from litestar.openapi.spec import (
    OpenAPIHeader,
    OpenAPIMediaType,
    OpenAPIResponse,
    OpenAPIType,
    Parameter,
    Reference,
    Schema,
)
from litestar.openapi.spec.enums import OpenAPIFormat

from photochanger.domain.errors import (
    DatabaseUnavailable,
    InternalError,
    InvalidRequest,
    MediaExpired,
    MediaNotFound,
    ResultExpired,
    ResultNotFound,
    StorageUnavailable,
)
from photochanger.domain.image import ImageType
from photochanger.entrypoints.http.errors import RangeNotSatisfiable
from photochanger.entrypoints.http.operations import TEXT, Described, header, problems

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

RESULT_RESPONSES: Final = problems(RESULT_ERRORS)
LINK_RESPONSES: Final = problems(LINK_ERRORS)

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

_CONDITIONS: Final = (
    Parameter("Range", "header", TEXT, "One range of bytes; several, or nonsense, get the whole file"),
    Parameter("If-Range", "header", TEXT, "An entity tag or date: the range applies to that version only"),
    Parameter("If-None-Match", "header", TEXT, "Entity tags that the caller has"),
    Parameter("If-Modified-Since", "header", TEXT, "The date of what the caller has"),
)


def images() -> dict[str, OpenAPIMediaType]:
    """Return the contents of an answer that is an image, by their types."""
    binary = Schema(type=OpenAPIType.STRING, format=OpenAPIFormat.BINARY)
    return {image_type.value: OpenAPIMediaType(schema=binary) for image_type in ImageType}


class _FileOperation(Described):
    """`GET` and `HEAD` of a file."""

    file_headers: ClassVar[_Headers]

    def complete(self, responses: dict[str, OpenAPIResponse]) -> None:
        """Describe the conditions, and the answers that they lead to."""
        self.parameters = [*(self.parameters or []), *_CONDITIONS]
        content_range = {"Content-Range": header("Which bytes, of how many", example="bytes 0-1023/104857")}
        responses |= {
            "200": OpenAPIResponse("The file", headers=dict(self.file_headers), content=images()),
            "206": OpenAPIResponse(
                "The range that was asked for",
                headers={**self.file_headers, **content_range},
                content=images(),
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
