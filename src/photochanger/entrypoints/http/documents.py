"""Reading what a request brings as JSON or as a query."""

from typing import Final, TypeVar

import msgspec
from litestar.di import Provide

from photochanger.domain.errors import InvalidRequest, PayloadTooLarge, UnsupportedMediaType
from photochanger.entrypoints.documents.reading import read_document, read_query
from photochanger.entrypoints.http.bodies import chunks_of
from photochanger.entrypoints.http.heads import AnyRequest, first_header, has_body

MAX_DOCUMENT_BYTES: Final = 1_000_000

_T = TypeVar("_T", bound=msgspec.Struct)


def reads_document(of: type[_T]) -> Provide:
    """Return the dependency that reads the request's body as JSON of this struct."""

    async def document(request: AnyRequest) -> _T:
        return read_document(await _json_body(request), of)

    return Provide(document)


def reads_query(of: type[_T]) -> Provide:
    """Return the dependency that reads the request's query as this struct."""

    def wanted(request: AnyRequest) -> _T:
        return read_query(request.scope["query_string"], of)

    return Provide(wanted, sync_to_thread=False)


async def _json_body(request: AnyRequest) -> bytes:
    scope = request.scope
    kind = (first_header(scope, b"content-type") or "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise UnsupportedMediaType("The body must be application/json")
    if not has_body(scope):
        raise InvalidRequest("The body is not valid JSON")
    body = bytearray()
    async for chunk in chunks_of(request.receive):
        body += chunk
        if len(body) > MAX_DOCUMENT_BYTES:
            raise PayloadTooLarge(MAX_DOCUMENT_BYTES)
    return bytes(body)
