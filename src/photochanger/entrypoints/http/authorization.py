"""Who may call which endpoint: declared with each endpoint, and checked before anything else happens.

An endpoint that declares nothing is refused to everybody, as a defect.
"""

from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeAlias

from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler

from photochanger.domain.account import Principal
from photochanger.domain.errors import Forbidden, InternalError, NotAuthenticated
from photochanger.domain.permissions import Permission
from photochanger.entrypoints.http.heads import header_values

ACCESS: Final = "access"
"""The key of an endpoint's declaration in its `opt`."""

ANYBODY: Final = "anybody"
"""The declaration of an endpoint that needs no login."""

ANY_ACCOUNT: Final = "any account"
"""The declaration of an endpoint that needs a login, and no permission."""

BEARER: Final = "bearer"
"""The security scheme's name in OpenAPI."""

open_to_anybody: Final[dict[str, Any]] = {"opt": {ACCESS: ANYBODY}}
"""What a public endpoint declares."""

Authenticating: TypeAlias = Callable[[str], Awaitable[Principal]]
AnyConnection: TypeAlias = ASGIConnection[Any, Any, Any, Any]


class CheckPermission:
    """The application's guard: lets a request through to its endpoint, or raises why not."""

    def __init__(self, authenticate: Callable[[], Authenticating]) -> None:
        self._authenticate = authenticate

    async def __call__(self, connection: AnyConnection, handler: BaseRouteHandler) -> None:
        """Raise `NotAuthenticated`, `TokenExpired` or `Forbidden`; the principal goes into the scope."""
        declared = handler.opt.get(ACCESS)
        if declared == ANYBODY:
            return
        if declared != ANY_ACCOUNT and not isinstance(declared, Permission):
            raise InternalError(f"The endpoint {handler.handler_name} declares no permission")
        principal = await self._authenticate()(_token_in(connection))
        if isinstance(declared, Permission) and declared not in principal.permissions:
            raise Forbidden(f"The permission {declared.value} is needed")
        connection.scope["state"]["principal"] = principal


def _token_in(connection: AnyConnection) -> str:
    match header_values(connection.scope, b"authorization"):
        case [value]:
            scheme, _, token = value.decode("latin-1").partition(" ")
            if scheme.lower() == "bearer" and token:
                return token.strip()
    raise NotAuthenticated
