"""Refusing heads that the server's parser lets through and that nothing behind should have to think about."""

import re
from collections.abc import Callable
from http import HTTPStatus
from typing import Final, NamedTuple

from litestar import Request
from litestar.types import ASGIApp, HTTPScope, Message, Receive, Scope, Send

from photochanger.domain.errors import InvalidRequest, PhotoChangerError
from photochanger.entrypoints.http.errors import MethodNotAllowed, problem_response
from photochanger.entrypoints.http.heads import header_values, is_http

MAX_HEADERS: Final = 100
MAX_HEAD_BYTES: Final = 32 * 1024
MAX_URL_BYTES: Final = 8 * 1024

_METHODS: Final = ("DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT")

_HOST = re.compile(rb"(?:[a-z0-9._-]+|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?", re.IGNORECASE)
"""It becomes part of the links in our answers, so nothing else may be in it."""

SECURITY_HEADERS: Final = [(b"x-content-type-options", b"nosniff")]


class _Refusal(NamedTuple):
    error: PhotoChangerError
    status: HTTPStatus
    headers: dict[str, str] | None = None


class Guard:
    """Passes on what is fit to be answered, and puts the security headers on every answer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse the request, or pass it on."""
        if not is_http(scope):
            await _close_websocket(receive, send)
            return
        send = _with_security_headers(send)
        refusal = _refusal(scope)
        if refusal is None:
            await self._app(scope, receive, send)
        else:
            await _answer(refusal, scope, receive, send)


def _refusal(scope: HTTPScope) -> _Refusal | None:
    for check in _CHECKS:
        if refusal := check(scope):
            return refusal
    return None


def _size(scope: HTTPScope) -> _Refusal | None:
    if len(scope["raw_path"]) + len(scope["query_string"]) > MAX_URL_BYTES:
        return _Refusal(InvalidRequest("The URL is too long"), HTTPStatus.REQUEST_URI_TOO_LONG)
    sizes = [len(name) + len(value) for name, value in scope["headers"]]
    if len(sizes) > MAX_HEADERS or sum(sizes) > MAX_HEAD_BYTES:
        return _Refusal(
            InvalidRequest("The request has too many header fields, or too large ones"),
            HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
        )
    return None


def _method(scope: HTTPScope) -> _Refusal | None:
    if scope["method"] in _METHODS:
        return None
    return _Refusal(MethodNotAllowed(), HTTPStatus.METHOD_NOT_ALLOWED, {"Allow": ", ".join(_METHODS)})


def _host(scope: HTTPScope) -> _Refusal | None:
    match header_values(scope, b"host"):
        case [host] if _HOST.fullmatch(host):
            return None
        case [] if scope["http_version"] == "1.0":
            return None
    return _Refusal(InvalidRequest("Exactly one valid Host header is required"), HTTPStatus.BAD_REQUEST)


def _framing(scope: HTTPScope) -> _Refusal | None:
    if not (header_values(scope, b"transfer-encoding") and header_values(scope, b"content-length")):
        return None
    return _Refusal(
        InvalidRequest("Content-Length and Transfer-Encoding exclude each other"), HTTPStatus.BAD_REQUEST
    )


_CHECKS: Final[tuple[Callable[[HTTPScope], _Refusal | None], ...]] = (_size, _method, _host, _framing)


async def _answer(refusal: _Refusal, scope: HTTPScope, receive: Receive, send: Send) -> None:
    response = problem_response(scope, refusal.error, status=refusal.status, headers=refusal.headers)
    asgi = response.to_asgi_response(app=None, request=Request(scope, receive, send))
    await asgi(scope, receive, send)


def _with_security_headers(send: Send) -> Send:
    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message["headers"], *SECURITY_HEADERS]
        await send(message)

    return send_with_headers


async def _close_websocket(receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "websocket.close", "code": 1008, "reason": "WebSockets are not served here"})
