"""Template images: for administrators only, never on a public link."""

from typing import Annotated, Any, Final

from litestar import delete, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath
from litestar.types import ASGIApp
from msgspec import Meta, Struct

from photochanger.application.templates import MAX_TEMPLATE_BYTES, Templates
from photochanger.domain.audit import Actor
from photochanger.domain.errors import (
    InvalidImage,
    TemplateInUse,
    TemplateNotFound,
    ValidationFailed,
)
from photochanger.domain.media import MediaKind, StoredImage
from photochanger.domain.permissions import Permission
from photochanger.domain.template import Template
from photochanger.entrypoints.documents.templates import TemplateView, TemplateWithUsers
from photochanger.entrypoints.http.conditions import Validators
from photochanger.entrypoints.http.delivery import Deliverable, delivered
from photochanger.entrypoints.http.endpoints import endpoint
from photochanger.entrypoints.http.errors import RangeNotSatisfiable
from photochanger.entrypoints.http.file_operations import TemplateFileOperation
from photochanger.entrypoints.http.forms import received_form, required_field
from photochanger.entrypoints.http.heads import AnyRequest

UPLOAD_FORM: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["file", "name"],
    "properties": {
        "file": {"type": "string", "format": "binary", "description": "JPEG, PNG or WebP"},
        "name": {"type": "string", "minLength": 1, "maxLength": 120, "description": "What it is called"},
    },
}


class RemovalQuery(Struct, kw_only=True, forbid_unknown_fields=True):
    """How a template is removed."""

    force: Annotated[bool, Meta(description="Take it out of the slots that use it")] = False


@post(
    "/api/template-media/register",
    status_code=201,
    tags=["templates"],
    summary="Add a template",
    **endpoint(Permission.TEMPLATES_WRITE, InvalidImage, ValidationFailed, form=UPLOAD_FORM),
)
async def register_template(
    request: AnyRequest, templates: NamedDependency[Templates], actor: NamedDependency[Actor]
) -> TemplateView:
    """Add an image that slots can use. It is checked as a photo is."""
    with templates.receiving() as received:
        fields = await received_form(
            request, received, limit_bytes=MAX_TEMPLATE_BYTES, single_fields={"name"}
        )
        template = await templates.add(received, name=required_field(fields, "name"), actor=actor)
    return TemplateView.of(template)


@get(
    "/api/template-media", tags=["templates"], summary="List the templates", **endpoint(Permission.SLOTS_READ)
)
async def list_templates(templates: NamedDependency[Templates]) -> list[TemplateView]:
    """Return all templates, the newest first."""
    return [TemplateView.of(template) for template in await templates.list()]


@get(
    "/api/template-media/{template_id:str}",
    tags=["templates"],
    summary="Get a template",
    **endpoint(Permission.SLOTS_READ, TemplateNotFound),
)
async def get_template(
    template_id: FromPath[str], templates: NamedDependency[Templates]
) -> TemplateWithUsers:
    """Return the template, and the slots that use it."""
    found = await templates.get(template_id)
    return TemplateWithUsers.used_by(await templates.users(found), found)


@get(
    "/api/template-media/{template_id:str}/content",
    tags=["templates"],
    summary="Get a template's bytes",
    **endpoint(
        Permission.SLOTS_READ, TemplateNotFound, RangeNotSatisfiable, operation_class=TemplateFileOperation
    ),
)
async def get_template_content(
    request: AnyRequest, template_id: FromPath[str], templates: NamedDependency[Templates]
) -> ASGIApp:
    """Return the image as it was added."""
    found = await templates.get(template_id)
    return await delivered(request, _deliverable(templates, found, found.image, MediaKind.TEMPLATE))


@get(
    "/api/template-media/{template_id:str}/preview",
    tags=["templates"],
    summary="Get a template's preview",
    **endpoint(
        Permission.SLOTS_READ, TemplateNotFound, RangeNotSatisfiable, operation_class=TemplateFileOperation
    ),
)
async def get_template_preview(
    request: AnyRequest, template_id: FromPath[str], templates: NamedDependency[Templates]
) -> ASGIApp:
    """Return a small JPEG of the image, of at most 512 pixels on its longer side."""
    found = await templates.get(template_id)
    return await delivered(request, _deliverable(templates, found, found.preview, MediaKind.PREVIEW))


@delete(
    "/api/template-media/{template_id:str}",
    status_code=204,
    tags=["templates"],
    summary="Remove a template",
    **endpoint(Permission.TEMPLATES_WRITE, TemplateNotFound, TemplateInUse, query=RemovalQuery),
)
async def remove_template(
    template_id: FromPath[str],
    wanted: NamedDependency[RemovalQuery],
    templates: NamedDependency[Templates],
    actor: NamedDependency[Actor],
) -> None:
    """Remove the template. While a slot uses it, only with `force`, which takes it out of the slot."""
    await templates.remove(template_id, force=wanted.force, actor=actor)


def _deliverable(
    templates: Templates, template: Template, image: StoredImage, kind: MediaKind
) -> Deliverable:
    return Deliverable(
        image_type=image.info.image_type,
        size_bytes=image.file.size_bytes,
        validators=Validators(
            etag=f'"{image.file.sha256}"', last_modified=template.created_at.replace(microsecond=0)
        ),
        headers={"Cache-Control": "private, no-cache"},
        content=templates.content(image, kind),
        gone=TemplateNotFound,
    )
