"""Logging in and out."""

from typing import Annotated, Literal

from litestar import get, post
from litestar.di import NamedDependency
from msgspec import Meta, Struct

from photochanger.application.login import LogIn
from photochanger.application.sessions import CloseSessions, LogOut
from photochanger.domain.account import MAX_ACCOUNT_PASSWORD, Principal
from photochanger.domain.audit import Actor
from photochanger.domain.errors import InvalidCredentials, TooManyAttempts
from photochanger.entrypoints.documents.bounds import NO_NUL
from photochanger.entrypoints.documents.timestamps import Timestamp, rfc3339
from photochanger.entrypoints.http.authorization import ANY_ACCOUNT, ANYBODY
from photochanger.entrypoints.http.endpoints import endpoint


class Credentials(Struct, kw_only=True, forbid_unknown_fields=True):
    """Who wants to log in."""

    username: Annotated[
        str,
        Meta(max_length=MAX_ACCOUNT_PASSWORD, extra_json_schema={"pattern": NO_NUL, "examples": ["igor"]}),
    ]
    password: Annotated[
        str,
        Meta(max_length=MAX_ACCOUNT_PASSWORD, extra_json_schema={"pattern": NO_NUL, "format": "password"}),
    ]


class Login(Struct, kw_only=True):
    """A login: send `Authorization: Bearer <access_token>` with each request from now on."""

    access_token: str
    token_type: Literal["Bearer"]
    expires_in_sec: int
    permissions: list[str]


class Me(Struct, kw_only=True):
    """Who is logged in, what they may do, and until when."""

    username: str
    permissions: list[str]
    expires_at: Timestamp


class LogoutQuery(Struct, kw_only=True, forbid_unknown_fields=True):
    """Which sessions end."""

    everywhere: Annotated[bool, Meta(description="End all sessions of this account")] = False


@post(
    "/api/login",
    status_code=200,
    tags=["login"],
    summary="Log in",
    **endpoint(ANYBODY, InvalidCredentials, TooManyAttempts, document=Credentials),
)
async def post_login(
    document: NamedDependency[Credentials],
    log_in: NamedDependency[LogIn],
    client_address: NamedDependency[str],
) -> Login:
    """Log in with a user name and a password. After five failures neither is looked at for 15 minutes."""
    done = await log_in(document.username, document.password, address=client_address)
    return Login(
        access_token=done.token,
        token_type="Bearer",  # noqa: S106 - RFC 6750
        expires_in_sec=done.expires_in_sec,
        permissions=sorted(done.principal.permissions),
    )


@post(
    "/api/logout",
    status_code=204,
    tags=["login"],
    summary="Log out",
    **endpoint(ANY_ACCOUNT, query=LogoutQuery),
)
async def post_logout(
    wanted: NamedDependency[LogoutQuery],
    principal: NamedDependency[Principal],
    actor: NamedDependency[Actor],
    log_out: NamedDependency[LogOut],
    close_sessions: NamedDependency[CloseSessions],
) -> None:
    """End this session in every process at once; with `everywhere`, all sessions of the account."""
    if wanted.everywhere:
        await close_sessions(principal.username, actor=actor)
    else:
        await log_out(principal, address=actor.origin)


@get("/api/me", tags=["login"], summary="Who is logged in", **endpoint(ANY_ACCOUNT))
async def get_me(principal: NamedDependency[Principal]) -> Me:
    """Return whose token this is, what it permits, and when it ends."""
    return Me(
        username=principal.username,
        permissions=sorted(principal.permissions),
        expires_at=rfc3339(principal.expires_at),
    )
