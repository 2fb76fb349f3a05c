"""The API, described by itself: OpenAPI, a page that shows it, and the files in `contracts/`."""

import json
from base64 import b64encode
from functools import cache
from hashlib import sha256
from importlib.resources import files
from pathlib import Path
from typing import Any, Final, cast

import msgspec
import yaml
from litestar import HttpMethod, Litestar, MediaType, get
from litestar.config.app import AppConfig
from litestar.handlers import HTTPRouteHandler
from litestar.openapi.config import OpenAPIConfig
from litestar.openapi.spec import Contact, Server
from litestar.plugins import InitPlugin
from litestar.response import Response
from litestar.types import Method
from litestar.types.internal_types import PathParameterDefinition

from photochanger import __version__
from photochanger.domain.errors import PhotoChangerError, error_classes
from photochanger.entrypoints.http.authorization import BEARER, open_to_anybody
from photochanger.entrypoints.http.descriptions import complete
from photochanger.entrypoints.http.errors import status_of
from photochanger.entrypoints.http.heads import AnyRequest

_DESCRIPTION: Final = (
    "A photo in, the finished picture out, before the deadline.\n\n"
    "Every error is `application/problem+json` (RFC 9457). Its `code` is stable; `title` and `detail` follow "
    "`Accept-Language` (`en`, `ru`). Times are RFC 3339 in UTC."
)


@get("/openapi.json", include_in_schema=False, sync_to_thread=True, **open_to_anybody)
def openapi_json(request: AnyRequest) -> Response[bytes]:
    """Return the API's description. It is made once, off the event loop: it takes a tenth of a second."""
    state = request.app.state
    if "openapi" not in state:
        state.openapi = msgspec.json.encode(openapi_document(request.app))
    return Response(state.openapi, media_type=MediaType.JSON)


@get("/docs", include_in_schema=False, media_type=MediaType.HTML, sync_to_thread=False, **open_to_anybody)
def documentation() -> Response[str]:
    """Return a page that shows the description; it needs nothing from anywhere else."""
    page, policy = _page()
    return Response(page, headers={"Content-Security-Policy": policy})


def document(app: Litestar) -> None:
    """Let the framework describe the routes, without the pages of its own that need a CDN."""
    config = OpenAPIConfig(
        title="PhotoChanger",
        version=__version__,
        description=_DESCRIPTION,
        contact=Contact(name="PhotoChanger"),
        servers=[Server(url="/")],
        use_handler_docstrings=True,
        operation_id_creator=_operation_id,
    )
    # The routes that the plugin would add go into a configuration that nobody uses.
    cast("InitPlugin", app.plugins.get("OpenAPIPlugin")).on_app_init(AppConfig(openapi_config=config))


def _operation_id(
    handler: HTTPRouteHandler, method: Method, path: list[str | PathParameterDefinition]
) -> str:
    """Return the handler's name: what a generated client will call the operation."""
    head = "" if method != HttpMethod.HEAD else "head_"
    twin = "" if path[:2] != ["api", "ingest"] else "api_"
    return f"{head}{twin}{handler.handler_name.rpartition('.')[2]}"


def openapi_document(app: Litestar) -> dict[str, Any]:
    """Return the API's description; the same one each time, although the framework's order varies."""
    schema = app.openapi_schema.to_schema()
    complete(schema, app)
    schema["components"]["securitySchemes"] = {
        BEARER: {
            "type": "http",
            "scheme": "bearer",
            "bearerFormat": "JWT",
            "description": "From `POST /api/login`",
        }
    }
    schema["paths"] = dict(sorted(schema["paths"].items()))
    return schema


def openapi_yaml(app: Litestar) -> str:
    """Return `contracts/openapi.yaml`."""
    return yaml.dump(
        openapi_document(app), Dumper=_WithoutAnchors, sort_keys=False, allow_unicode=True, width=110
    )


class _WithoutAnchors(yaml.SafeDumper):
    """Writes what is used twice twice: not everything that reads OpenAPI understands anchors."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 -- PyYAML's
        return True


def write_contracts(app: Litestar, folder: Path) -> None:
    """Write what others rely on; the tests compare it with what the program serves."""
    (folder / "openapi.yaml").write_text(openapi_yaml(app), encoding="utf-8")
    (folder / "errors.md").write_text(errors_markdown(), encoding="utf-8")
    (folder / "VERSION.json").write_text(json.dumps({"version": __version__}) + "\n", encoding="utf-8")


def errors_markdown() -> str:
    """Return `contracts/errors.md`."""
    known = {cls.code: cls for cls in error_classes() if "code" in cls.__dict__}
    rows = "".join(_error_row(known[code]) for code in sorted(known))
    return _ERRORS_PREFACE + rows


def _error_row(error: type[PhotoChangerError]) -> str:
    return f"| `{error.code}` | {int(status_of(error))} | {error.title} |\n"


_ERRORS_PREFACE: Final = """# Errors

Every error answer is `application/problem+json` (RFC 9457) with one of these codes. A code never changes its
meaning; statuses are those of HTTP. The same words are a failed job's `failure_reason`.

Besides 400, `invalid_request` comes with 414 (the URL is too long) and 431 (too many or too large header
fields). A body that pauses for ten seconds is 400 `invalid_request`; one that is still arriving at the
deadline is 504 `timeout`. A client that hangs up gets no answer and is counted as 499.

| code | status | meaning |
|---|---|---|
"""


@cache
def _page() -> tuple[str, str]:
    page = files(__package__).joinpath("docs.html").read_text(encoding="utf-8")
    policy = (
        f"default-src 'none'; connect-src 'self'; script-src '{_hash_of(page, 'script')}'; "
        f"style-src '{_hash_of(page, 'style')}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return page, policy


def _hash_of(page: str, tag: str) -> str:
    content = page.partition(f"<{tag}>")[2].partition(f"</{tag}>")[0]
    return f"sha256-{b64encode(sha256(content.encode()).digest()).decode()}"
