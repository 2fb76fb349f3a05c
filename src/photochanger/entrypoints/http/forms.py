"""Reading multipart forms from a request, as their bytes arrive."""

from collections.abc import AsyncIterator, Collection

from litestar.types import Scope

from photochanger.application.receive_image import ReceivedImage
from photochanger.domain.errors import (
    InvalidRequest,
    PayloadTooLarge,
    Problem,
    UnsupportedMediaType,
    ValidationFailed,
)
from photochanger.entrypoints.http.bodies import chunks_of
from photochanger.entrypoints.http.heads import AnyRequest, first_header, header_values, only_header
from photochanger.entrypoints.http.multipart import (
    FORM_OVERHEAD_BYTES,
    MAX_FIELD_BYTES,
    SINGLE_FIELDS,
    Field,
    FormEvent,
    PhotoBegins,
    PhotoForm,
    boundary_of,
)


async def form_events(
    request: AnyRequest,
    *,
    limit_bytes: int,
    single_fields: Collection[str] = SINGLE_FIELDS,
    max_field_bytes: int = MAX_FIELD_BYTES,
) -> AsyncIterator[FormEvent]:
    """Yield what the form consists of; the last event has come only when the form was whole.

    A body that says of itself that it is longer than a file of `limit_bytes` and its fields is refused
    before it is read (`PayloadTooLarge`); otherwise the file's size is the consumer's concern.
    """
    form = PhotoForm(
        _boundary_in(request.scope), single_fields=single_fields, max_field_bytes=max_field_bytes
    )
    _check_length(request.scope, limit_bytes)
    async for chunk in chunks_of(request.receive):
        for event in form.feed(chunk):
            yield event
    form.close()


async def received_form(
    request: AnyRequest, received: ReceivedImage, *, limit_bytes: int, single_fields: set[str]
) -> dict[str, str]:
    """Take the file of a form in, and return its fields; raises `InvalidRequest` where there is no file."""
    fields: dict[str, str] = {}
    has_file = False
    async for event in form_events(request, limit_bytes=limit_bytes, single_fields=single_fields):
        match event:
            case PhotoBegins():
                has_file = True
            case Field():
                fields[event.name] = _text(event)
            case _:
                received.write(event)
    if not has_file:
        raise InvalidRequest("The form has no file: send it as file")
    return fields


def required_field(fields: dict[str, str], name: str) -> str:
    """Return a field of the form. Raises `ValidationFailed` where it was not given."""
    if name not in fields:
        raise ValidationFailed([Problem(field=name, code="required", message="must be given")])
    return fields[name]


def _text(field: Field) -> str:
    try:
        return field.value.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidRequest("A field of the form is not valid UTF-8") from error


def _boundary_in(scope: Scope) -> str:
    if any(value.lower() != b"identity" for value in header_values(scope, b"content-encoding")):
        raise UnsupportedMediaType("The body must not be encoded")
    return boundary_of((only_header(scope, b"content-type") or b"").decode("latin-1"))


def _check_length(scope: Scope, limit_bytes: int) -> None:
    """Refuse at once what says of itself that it is too long."""
    length = first_header(scope, b"content-length")
    if length is not None and int(length) > limit_bytes + FORM_OVERHEAD_BYTES:
        raise PayloadTooLarge(limit_bytes)
