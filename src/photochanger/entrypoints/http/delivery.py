"""Delivering a file as the request's conditions want it: whole, in part, or not again."""

from collections.abc import Mapping
from dataclasses import dataclass

from litestar import HttpMethod
from litestar.types import ASGIApp

from photochanger.application.content import Content
from photochanger.domain.errors import PhotoChangerError
from photochanger.domain.image import ImageType
from photochanger.entrypoints.http.conditions import (
    NO_RANGE,
    ByteRange,
    Validators,
    is_not_modified,
    range_applies,
    requested_range,
)
from photochanger.entrypoints.http.errors import RangeNotSatisfiable, problem_response
from photochanger.entrypoints.http.heads import AnyRequest, first_header
from photochanger.entrypoints.http.streaming import StreamedResponse, stored_body
from photochanger.entrypoints.http.timestamps import http_date


@dataclass(frozen=True, slots=True, kw_only=True)
class Deliverable:
    """An image to be delivered; `gone` is what its caller is told where its file is not there."""

    image_type: ImageType
    size_bytes: int
    validators: Validators
    headers: Mapping[str, str]
    content: Content
    gone: type[PhotoChangerError]


async def delivered(request: AnyRequest, file: Deliverable) -> ASGIApp:
    """Return the file as the request's conditions want it: 200, 206, 304 or 416."""
    headers = {
        "ETag": file.validators.etag,
        "Last-Modified": http_date(file.validators.last_modified),
        "Accept-Ranges": "bytes",
        "Content-Security-Policy": "default-src 'none'; sandbox",
        **file.headers,
    }
    if _not_modified(request, file.validators):
        return StreamedResponse(headers, status=304)
    try:
        part = _part(request, file)
    except RangeNotSatisfiable as error:
        return _unsatisfiable(request, error, file.size_bytes)
    start, stop, status = 0, file.size_bytes, 200
    if part is not None:
        start, stop, status = part.start, part.stop, 206
        headers["Content-Range"] = part.content_range
    headers |= {"Content-Length": str(stop - start), "Content-Type": file.image_type.value}
    if request.method == HttpMethod.HEAD:
        return StreamedResponse(headers, status=status)
    body = await stored_body(request.scope, file.content, start, stop, gone=file.gone)
    return StreamedResponse(headers, body, status=status)


def _not_modified(request: AnyRequest, validators: Validators) -> bool:
    return is_not_modified(
        validators,
        if_none_match=first_header(request.scope, b"if-none-match"),
        if_modified_since=first_header(request.scope, b"if-modified-since"),
    )


def _part(request: AnyRequest, file: Deliverable) -> ByteRange | None:
    if request.method != HttpMethod.GET:
        return None
    if not range_applies(file.validators, first_header(request.scope, b"if-range")):
        return None
    return requested_range(first_header(request.scope, b"range"), file.size_bytes)


def _unsatisfiable(request: AnyRequest, error: RangeNotSatisfiable, size: int) -> ASGIApp:
    response = problem_response(request.scope, error, headers={"Content-Range": NO_RANGE.format(size=size)})
    return response.to_asgi_response(app=None, request=request)
