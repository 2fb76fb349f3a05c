"""`OPTIONS` on every path: which methods it has.

The framework's own answer knows only those of the first handler of a path.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable
from typing import Any

from litestar import HttpMethod, route
from litestar.handlers import HTTPRouteHandler
from litestar.response import Response

from photochanger.entrypoints.http.authorization import open_to_anybody


def options_handlers(handlers: Iterable[HTTPRouteHandler]) -> list[HTTPRouteHandler]:
    """Return a handler for each path of `handlers`; it answers 204 with `Allow` to anybody."""
    methods: dict[str, set[str]] = defaultdict(set)
    for handler in handlers:
        for path in handler.paths:
            methods[path] |= {str(method) for method in handler.http_methods}
    return [_handler(path, found) for path, found in methods.items()]


def _handler(path: str, methods: Collection[str]) -> HTTPRouteHandler:
    allowed = ", ".join(sorted({*methods, HttpMethod.OPTIONS.value}))

    def options() -> Response[None]:
        return Response(None, status_code=204, headers={"Allow": allowed})

    declared: dict[str, Any] = open_to_anybody
    return route(
        path, http_method=HttpMethod.OPTIONS, include_in_schema=False, sync_to_thread=False, **declared
    )(options)
