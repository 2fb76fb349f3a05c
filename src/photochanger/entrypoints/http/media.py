"""Temporary links: an image on a public address, for a provider that works on it."""

from typing import Any, Final

from litestar import HttpMethod, post, route
from litestar.di import NamedDependency
from litestar.params import FromPath
from litestar.types import ASGIApp
from msgspec import Struct

from photochanger.application.provider_links import OpenLink
from photochanger.application.register_media import RegisterMedia
from photochanger.domain.audit import Actor
from photochanger.domain.errors import InvalidImage, JobFinalized, JobNotFound, MediaExpired
from photochanger.domain.permissions import Permission
from photochanger.entrypoints.documents.links import ResultLinks
from photochanger.entrypoints.documents.timestamps import Timestamp, rfc3339
from photochanger.entrypoints.http.authorization import open_to_anybody
from photochanger.entrypoints.http.conditions import Validators
from photochanger.entrypoints.http.delivery import Deliverable, delivered
from photochanger.entrypoints.http.endpoints import endpoint
from photochanger.entrypoints.http.file_operations import LINK_RESPONSES, LinkOperation
from photochanger.entrypoints.http.forms import received_form
from photochanger.entrypoints.http.heads import AnyRequest

MEDIA_FORM: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["file"],
    "properties": {
        "file": {"type": "string", "format": "binary", "description": "JPEG, PNG or WebP"},
        "job_id": {
            "type": "string",
            "description": "The job that needs it; the link then lives as its photo",
        },
    },
}


class RegisteredView(Struct, kw_only=True):
    """A temporary link, and when it ends."""

    media_id: str
    public_url: str
    expires_at: Timestamp


LINK_PATH: Final = "/public/media/{media_id:str}"


@route(
    LINK_PATH,
    http_method=[HttpMethod.GET, HttpMethod.HEAD],
    tags=["media"],
    summary="Get a file by its temporary link",
    operation_class=LinkOperation,
    responses=LINK_RESPONSES,
    **open_to_anybody,
)
async def get_media(
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
        content=open_link.content(opened),
        gone=MediaExpired,
    )
    return await delivered(request, file)


@post(
    "/api/media/register",
    status_code=201,
    tags=["media"],
    summary="Make a temporary link",
    **endpoint(Permission.MEDIA_REGISTER, JobNotFound, JobFinalized, InvalidImage, form=MEDIA_FORM),
)
async def register_media_file(
    request: AnyRequest,
    actor: NamedDependency[Actor],
    register_media: NamedDependency[RegisterMedia],
    result_links: NamedDependency[ResultLinks],
) -> RegisteredView:
    """Put an image, upright and without metadata, on a public link. Nothing makes the link live longer."""
    limit_bytes = await register_media.limit_bytes()
    with register_media.receiving(limit_bytes) as received:
        fields = await received_form(request, received, limit_bytes=limit_bytes, single_fields={"job_id"})
        registered = await register_media(received, job_id=fields.get("job_id") or None, actor=actor)
    return RegisteredView(
        media_id=registered.media_id,
        public_url=result_links.at(registered.path),
        expires_at=rfc3339(registered.expires_at),
    )
