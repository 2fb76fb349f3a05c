"""Public results: a finished picture and its preview, for whoever knows the job's id."""

from typing import Annotated, Final, TypeAlias

from litestar import HttpMethod, route
from litestar.di import NamedDependency
from litestar.params import FromPath, QueryParameter
from litestar.types import ASGIApp

from photochanger.application.results import OpenedResult, OpenResult
from photochanger.domain.errors import ResultExpired
from photochanger.domain.media import MediaKind
from photochanger.entrypoints.http.authorization import open_to_anybody
from photochanger.entrypoints.http.conditions import Validators
from photochanger.entrypoints.http.delivery import Deliverable, delivered
from photochanger.entrypoints.http.file_operations import RESULT_RESPONSES, ResultOperation
from photochanger.entrypoints.http.heads import AnyRequest

RESULT_PATH: Final = "/public/results/{job_id:str}"
PREVIEW_PATH: Final = "/public/results/{job_id:str}/preview"

Download: TypeAlias = Annotated[bool, QueryParameter(description="As an attachment, with a file name")]

_READ: Final = [HttpMethod.GET, HttpMethod.HEAD]


@route(
    RESULT_PATH,
    http_method=_READ,
    tags=["results"],
    summary="Get a result",
    operation_class=ResultOperation,
    responses=RESULT_RESPONSES,
    **open_to_anybody,
)
async def get_result(
    request: AnyRequest,
    job_id: FromPath[str],
    open_result: NamedDependency[OpenResult],
    download: Download = False,
) -> ASGIApp:
    """Return the picture."""
    opened = await open_result(job_id)
    return await delivered(request, _deliverable(open_result, opened, attachment=download))


@route(
    PREVIEW_PATH,
    http_method=_READ,
    tags=["results"],
    summary="Get the preview of a result",
    operation_class=ResultOperation,
    responses=RESULT_RESPONSES,
    **open_to_anybody,
)
async def get_preview(
    request: AnyRequest,
    job_id: FromPath[str],
    open_result: NamedDependency[OpenResult],
    download: Download = False,
) -> ASGIApp:
    """Return the picture's preview: a JPEG of at most 512 pixels on its longer side."""
    opened = await open_result(job_id, MediaKind.PREVIEW)
    return await delivered(request, _deliverable(open_result, opened, attachment=download))


def _deliverable(open_result: OpenResult, opened: OpenedResult, *, attachment: bool) -> Deliverable:
    disposition = "attachment" if attachment else "inline"
    return Deliverable(
        image_type=opened.image.info.image_type,
        size_bytes=opened.image.file.size_bytes,
        validators=Validators(
            etag=f'"{opened.image.file.sha256}"', last_modified=opened.stored_at.replace(microsecond=0)
        ),
        headers={
            "Cache-Control": f"private, max-age={int(opened.time_left.total_seconds())}",
            "Content-Disposition": f'{disposition}; filename="{_file_name(opened)}"',
        },
        content=open_result.content(opened),
        gone=ResultExpired,
    )


def _file_name(opened: OpenedResult) -> str:
    suffix = "-preview" if opened.kind is MediaKind.PREVIEW else ""
    return f"photochanger-{opened.job_id[:8]}{suffix}{opened.image.info.image_type.extension}"
