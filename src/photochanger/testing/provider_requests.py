"""Requests to a provider, for its tests: a photo, parameters that are allowed, templates, links."""

import asyncio
from collections.abc import Callable, Mapping
from io import BytesIO
from typing import TypeAlias

from photochanger.application.ports.images import PreparedImage
from photochanger.application.ports.providers import ImageProvider, TemplateImage, TransformRequest
from photochanger.domain.image import ImageInfo, ImageType
from photochanger.domain.operation import Operation, Parameter, ParameterValue
from photochanger.testing import photos

Link: TypeAlias = Callable[[PreparedImage], str | None]
"""Makes the public link of an image; None where there are none."""


def no_link(_image: PreparedImage) -> None:
    """Make no link."""


def a_photo(width: int = 600, height: int = 400) -> PreparedImage:
    """Return a photo as the editor prepares it."""
    data = photos.plain_jpeg(width, height)
    return PreparedImage(
        file=BytesIO(data),
        info=ImageInfo(image_type=ImageType.JPEG, width=width, height=height),
        size_bytes=len(data),
    )


def a_request(
    operation: Operation,
    params: Mapping[str, ParameterValue] | None = None,
    *,
    photo: PreparedImage | None = None,
    seconds: float = 30,
    link: Link = no_link,
) -> TransformRequest:
    """Return a request for `operation`, with its defaults, that may take `seconds`.

    A required parameter without a default gets some value that it allows, a required role some template.
    """
    given = {
        parameter.name: _some_value(parameter) for parameter in operation.parameters if parameter.required
    }
    photo = photo or a_photo()
    return TransformRequest(
        photo=photo,
        operation=operation.name,
        params=operation.with_defaults(given | dict(params or {})),
        deadline=asyncio.get_running_loop().time() + seconds,
        photo_url=link(photo),
        templates=[
            TemplateImage(role=role.role, image=template, url=link(template))
            for role in operation.template_roles
            if role.required
            for template in [a_photo(300, 200)]
        ],
    )


def _some_value(parameter: Parameter) -> ParameterValue:
    text = next(iter(parameter.choices or parameter.suggestions), "a portrait as a comic")
    of_kind: Mapping[type[ParameterValue], ParameterValue] = {str: text, bool: True, tuple: (text,)}
    return of_kind.get(parameter.kind, max(1, int(parameter.minimum or 0)))


async def answer(provider: ImageProvider, request: TransformRequest) -> bytes:
    """Return the picture that the provider writes."""
    into = BytesIO()
    await provider.transform(request, into)
    return into.getvalue()
