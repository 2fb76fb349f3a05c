"""Who may call what is declared with every endpoint, and holds."""

import json

import pytest
from litestar import Litestar, get
from litestar.handlers import HTTPRouteHandler
from litestar.routes import HTTPRoute
from litestar.testing import AsyncTestClient

from photochanger.domain.account import Principal
from photochanger.domain.permissions import Permission
from photochanger.entrypoints.http.app import create_app
from photochanger.entrypoints.http.authorization import ACCESS, ANY_ACCOUNT, ANYBODY, BEARER, CheckPermission
from photochanger.entrypoints.http.errors import EXCEPTION_HANDLERS
from tests.system.http_server import System

PUBLIC = (
    "/api/ingest/{slot_id}",
    "/api/jobs/{job_id}",
    "/api/login",
    "/docs",
    "/healthz",
    "/ingest/{slot_id}",
    "/livez",
    "/metrics",
    "/openapi.json",
    "/public/media/{media_id}",
    "/public/results/{job_id}",
    "/public/results/{job_id}/preview",
    "/public/slots/{slot_id}",
    "/readyz",
)


def _handlers() -> list[tuple[str, HTTPRouteHandler]]:
    app = create_app(System().container)
    assert {type(route) for route in app.routes} == {HTTPRoute}
    return [
        (route.path_format, handler)
        for route in app.routes
        if isinstance(route, HTTPRoute)
        for handler in route.route_handlers
    ]


def test_every_route_declares_who_may_call_it() -> None:
    handlers = _handlers()
    assert len(handlers) > 50
    for path, handler in handlers:
        declared = handler.opt.get(ACCESS)
        assert declared in {ANYBODY, ANY_ACCOUNT, *Permission}, f"{path}: {handler.handler_name}"


def test_what_is_open_to_everybody_is_named_here() -> None:
    found = {
        path
        for path, handler in _handlers()
        if handler.opt[ACCESS] == ANYBODY and handler.http_methods != {"OPTIONS"}
    }
    assert found == set(PUBLIC)


def test_security_in_the_contract_is_what_is_declared() -> None:
    for path, handler in _handlers():
        if handler.include_in_schema is not False:
            assert bool(handler.security) == (handler.opt[ACCESS] != ANYBODY), path
            needed = handler.opt[ACCESS]
            named = [needed.value] if isinstance(needed, Permission) else []
            assert not handler.security or [*handler.security] == [{BEARER: named}], path


@pytest.mark.anyio
async def test_a_route_that_declares_nothing_is_refused_to_everybody_as_a_defect() -> None:
    @get("/forgotten")
    async def forgotten() -> str:
        raise AssertionError

    async def authenticate(token: str) -> Principal:
        raise AssertionError

    app = Litestar(
        [forgotten],
        guards=[CheckPermission(lambda: authenticate)],
        exception_handlers=dict(EXCEPTION_HANDLERS),
        openapi_config=None,
        logging_config=None,
    )
    async with AsyncTestClient(app) as client:
        answer = await client.get("/forgotten", headers={"Authorization": "Bearer anything"})
    assert (answer.status_code, json.loads(answer.content)["code"]) == (500, "internal_error")
