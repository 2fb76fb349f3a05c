"""Reading the head of a request, as it came."""

from collections.abc import Sequence
from typing import Any, TypeAlias, TypeGuard
from urllib.parse import parse_qsl

from litestar import Request
from litestar.enums import ScopeType
from litestar.types import HTTPScope, LifeSpanScope, Scope

from photochanger.domain.errors import InvalidRequest

AnyRequest: TypeAlias = Request[Any, Any, Any]
"""A request; whom it authenticates is not our concern here."""


def is_http(scope: Scope | LifeSpanScope) -> TypeGuard[HTTPScope]:
    """Say whether this is a request, and not a WebSocket."""
    return scope["type"] == ScopeType.HTTP


def header_values(scope: Scope, name: bytes) -> Sequence[bytes]:
    """Return every value of the header `name` (in lower case), in order."""
    return [value for key, value in scope["headers"] if key == name]


def first_header(scope: Scope, name: bytes) -> str | None:
    """Return the first value of the header `name`, or None."""
    return next((value.decode("latin-1") for value in header_values(scope, name)), None)


def only_header(scope: Scope, name: bytes) -> bytes | None:
    """Return the value of a header that may come once, or None; raises `InvalidRequest` for two."""
    values = header_values(scope, name)
    if len(values) > 1:
        raise InvalidRequest(f"{name.decode().title()} must be given at most once")
    return values[0] if values else None


def only_query(scope: Scope, name: str) -> bytes | None:
    """Return the value of a query parameter, or None; raises `InvalidRequest` for two."""
    # Given bytes, parse_qsl fails on any that are not ASCII; Latin-1 takes them there and back.
    query = scope["query_string"].decode("latin-1")
    pairs = parse_qsl(query, keep_blank_values=True, encoding="latin-1")
    values = [value.encode("latin-1") for key, value in pairs if key == name]
    if len(values) > 1:
        raise InvalidRequest(f"{name} must be given at most once")
    return values[0] if values else None


def has_body(scope: Scope) -> bool:
    """Say whether the head announces a body."""
    length = first_header(scope, b"content-length")
    return bool(header_values(scope, b"transfer-encoding")) or length not in (None, "0")
