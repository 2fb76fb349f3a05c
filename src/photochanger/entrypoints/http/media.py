"""Provider links: a photo or template on a public address, for the provider that works on it."""

from functools import partial
from typing import Final

from litestar import HttpMethod, route
from litestar.di import NamedDependency
from litestar.params import FromPath
from litestar.types import ASGIApp

from photochanger.application.provider_links import OpenLink
from photochanger.domain.errors import MediaExpired
from photochanger.entrypoints.http.conditions import Validators
from photochanger.entrypoints.http.delivery import Deliverable, delivered
from photochanger.entrypoints.http.heads import AnyRequest
from photochanger.entrypoints.http.operations import LINK_RESPONSES, LinkOperation

LINK_PATH: Final = "/public/media/{media_id:str}"


@route(
    LINK_PATH,
    http_method=[HttpMethod.GET, HttpMethod.HEAD],
    tags=["media"],
    summary="Get a file by its temporary link",
    operation_class=LinkOperation,
    responses=LINK_RESPONSES,
)
async def media(
    request: AnyRequest, media_id: FromPath[str], open_link: NamedDependency[OpenLink]
) -> ASGIApp:
    """Return the file, until its link ends. The id may carry the extension of the file's type."""
    opened = await open_link(media_id, is_fetched=request.method == HttpMethod.GET)
    file = Deliverable(
        image_type=opened.image_type,
        size_bytes=opened.file.size_bytes,
        validators=Validators(
            etag=f'"{opened.file.sha256}"', last_modified=opened.media.created_at.replace(microsecond=0)
        ),
        headers={"Cache-Control": "no-store"},
        read=partial(open_link.read, opened),
        gone=MediaExpired,
    )
    return await delivered(request, file)
