"""Public results: a finished picture and its preview, for whoever knows the job's id."""

from typing import Final

from litestar import HttpMethod, route
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery
from litestar.types import ASGIApp

from photochanger.application.results import OpenedResult, OpenResult
from photochanger.domain.media import MediaKind
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
from photochanger.entrypoints.http.operations import RESULT_RESPONSES, ResultOperation
from photochanger.entrypoints.http.streaming import StreamedResponse, from_first_chunk
from photochanger.entrypoints.http.timestamps import http_date

RESULT_PATH: Final = "/public/results/{job_id:str}"
PREVIEW_PATH: Final = "/public/results/{job_id:str}/preview"

_READ: Final = [HttpMethod.GET, HttpMethod.HEAD]


@route(
    RESULT_PATH,
    http_method=_READ,
    tags=["results"],
    summary="Get a result",
    operation_class=ResultOperation,
    responses=RESULT_RESPONSES,
)
async def result(
    request: AnyRequest,
    job_id: FromPath[str],
    open_result: NamedDependency[OpenResult],
    download: FromQuery[bool] = False,
) -> ASGIApp:
    """Return the picture."""
    opened = await open_result(job_id)
    return await _delivered(request, open_result, opened, attachment=download)


@route(
    PREVIEW_PATH,
    http_method=_READ,
    tags=["results"],
    summary="Get the preview of a result",
    operation_class=ResultOperation,
    responses=RESULT_RESPONSES,
)
async def preview(
    request: AnyRequest,
    job_id: FromPath[str],
    open_result: NamedDependency[OpenResult],
    download: FromQuery[bool] = False,
) -> ASGIApp:
    """Return the picture's preview: a JPEG of at most 512 pixels on its longer side."""
    opened = await open_result(job_id, MediaKind.PREVIEW)
    return await _delivered(request, open_result, opened, attachment=download)


async def _delivered(
    request: AnyRequest, open_result: OpenResult, opened: OpenedResult, *, attachment: bool
) -> ASGIApp:
    """Return the file as the request's conditions want it: 200, 206, 304 or 416."""
    validators = Validators(
        etag=f'"{opened.image.file.sha256}"', last_modified=opened.stored_at.replace(microsecond=0)
    )
    headers = _headers(opened, validators, attachment=attachment)
    if _not_modified(request, validators):
        return StreamedResponse(headers, status=304)
    try:
        part = _part(request, validators, opened.image.file.size_bytes)
    except RangeNotSatisfiable as error:
        return _unsatisfiable(request, error, opened.image.file.size_bytes)
    start, stop, status = 0, opened.image.file.size_bytes, 200
    if part is not None:
        start, stop, status = part.start, part.stop, 206
        headers["Content-Range"] = part.content_range
    headers |= {"Content-Length": str(stop - start), "Content-Type": opened.image.info.image_type.value}
    if request.method == HttpMethod.HEAD:
        return StreamedResponse(headers, status=status)
    chunks = await from_first_chunk(open_result.read(opened, start, stop))
    return StreamedResponse(headers, chunks, status=status)


def _headers(opened: OpenedResult, validators: Validators, *, attachment: bool) -> dict[str, str]:
    disposition = "attachment" if attachment else "inline"
    return {
        "ETag": validators.etag,
        "Last-Modified": http_date(validators.last_modified),
        "Accept-Ranges": "bytes",
        "Cache-Control": f"private, max-age={int(opened.time_left.total_seconds())}",
        "Content-Disposition": f'{disposition}; filename="{_file_name(opened)}"',
        "Content-Security-Policy": "default-src 'none'; sandbox",
    }


def _file_name(opened: OpenedResult) -> str:
    suffix = "-preview" if opened.kind is MediaKind.PREVIEW else ""
    return f"photochanger-{opened.job.job_id[:8]}{suffix}{opened.image.info.image_type.extension}"


def _not_modified(request: AnyRequest, validators: Validators) -> bool:
    return is_not_modified(
        validators,
        if_none_match=first_header(request.scope, b"if-none-match"),
        if_modified_since=first_header(request.scope, b"if-modified-since"),
    )


def _part(request: AnyRequest, validators: Validators, size: int) -> ByteRange | None:
    if request.method != HttpMethod.GET:
        return None
    if not range_applies(validators, first_header(request.scope, b"if-range")):
        return None
    return requested_range(first_header(request.scope, b"range"), size)


def _unsatisfiable(request: AnyRequest, error: RangeNotSatisfiable, size: int) -> ASGIApp:
    response = problem_response(request.scope, error, headers={"Content-Range": NO_RANGE.format(size=size)})
    return response.to_asgi_response(app=None, request=request)
