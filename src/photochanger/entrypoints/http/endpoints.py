"""How administrators' endpoints are declared: the permission, what they read, and how they may refuse."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final, TypeAlias, TypeVar

import msgspec
from litestar.datastructures import CacheControlHeader
from litestar.di import Dependency
from litestar.openapi.spec import Operation
from litestar.params import SkipValidationMarker

from photochanger.domain.errors import (
    DatabaseUnavailable,
    Forbidden,
    InternalError,
    InvalidRequest,
    NotAuthenticated,
    PayloadTooLarge,
    PhotoChangerError,
    StorageUnavailable,
    TokenExpired,
    UnsupportedMediaType,
    ValidationFailed,
)
from photochanger.domain.permissions import Permission
from photochanger.entrypoints.http.authorization import ACCESS, ANY_ACCOUNT, ANYBODY, BEARER
from photochanger.entrypoints.http.documents import reads_document, reads_query
from photochanger.entrypoints.http.operations import Described, problems

DOCUMENT: Final = "document"
QUERY: Final = "query"
FORM: Final = "form"
MENTIONED: Final = "mentioned"
"""Keys in an endpoint's `opt`: the structs of its body and its query, the schema of its form, and the structs
that this schema mentions."""

_T = TypeVar("_T")

Port: TypeAlias = Annotated[_T, Dependency(kind="named"), SkipValidationMarker()]
"""A dependency that is a port: a protocol, which the framework must not try to check."""

NO_STORE: Final = CacheControlHeader(no_store=True)

_ALWAYS: Final = (InvalidRequest, InternalError, DatabaseUnavailable)
_LOGGED_IN: Final = (NotAuthenticated, TokenExpired, StorageUnavailable)


def endpoint(
    access: Permission | str,
    *errors: type[PhotoChangerError],
    document: type[msgspec.Struct] | None = None,
    query: type[msgspec.Struct] | None = None,
    form: Mapping[str, Any] | None = None,
    mentioned: Sequence[type[msgspec.Struct]] | None = None,
    operation_class: type[Operation] = Described,
    more: Mapping[int, Any] | None = None,
) -> dict[str, Any]:
    """Return the arguments of a route for administrators.

    `access` is the permission, `ANY_ACCOUNT` or `ANYBODY`. A body of the struct `document` and a query of
    the struct `query` become the dependencies `document` and `wanted`. `errors` are those of the endpoint
    itself; those that come with all of this are added, but for a form's `ValidationFailed`. `more` are
    further responses, by status.
    """
    declared = {ACCESS: access, DOCUMENT: document, QUERY: query, FORM: form, MENTIONED: mentioned}
    dependencies: dict[str, Any] = {}
    if document is not None:
        dependencies["document"] = reads_document(document)
    if query is not None:
        dependencies["wanted"] = reads_query(query)
    refusals = [*_refusals(access, reads_body=document is not None or form is not None), *errors]
    if document is not None or query is not None:
        refusals.append(ValidationFailed)
    return {
        "opt": {name: value for name, value in declared.items() if value is not None},
        "dependencies": dependencies,
        "responses": {**problems(list(dict.fromkeys(refusals))), **(more or {})},
        "operation_class": operation_class,
        "cache_control": NO_STORE,
        **({} if access == ANYBODY else {"security": [{BEARER: _roles(access)}]}),
    }


def _roles(access: Permission | str) -> list[str]:
    """Return the permissions that the contract names; OpenAPI calls them roles (3.1, 4.8.30)."""
    return [access.value] if isinstance(access, Permission) else []


def _refusals(access: Permission | str, *, reads_body: bool) -> list[type[PhotoChangerError]]:
    refusals: list[type[PhotoChangerError]] = [*_ALWAYS]
    if access != ANYBODY:
        refusals += _LOGGED_IN
    if access not in {ANYBODY, ANY_ACCOUNT}:
        refusals.append(Forbidden)
    if reads_body:
        refusals += [PayloadTooLarge, UnsupportedMediaType]
    return refusals
