"""What the contract says of the routes beyond what the framework finds in their signatures.

Everything comes from what the endpoints themselves are declared with, and from the structs that bodies and
queries are read as (`endpoints.endpoint`).
"""

from collections.abc import Iterable, Iterator, Mapping
from enum import Enum
from http import HTTPStatus
from typing import Any, Final, get_args

import msgspec
from litestar import HttpMethod, Litestar
from litestar.handlers import HTTPRouteHandler
from litestar.routes import HTTPRoute

from photochanger.domain.errors import InternalError, InvalidRequest, PhotoChangerError
from photochanger.entrypoints.documents.jobs import SLOT_ID_PATTERN
from photochanger.entrypoints.http.endpoints import DOCUMENT, FORM, MENTIONED, QUERY
from photochanger.entrypoints.http.errors import PROBLEM_TYPE, ProblemDetails, describe
from photochanger.entrypoints.http.examples import BODIES
from photochanger.entrypoints.http.messages import Language

_REFERENCE: Final = "#/components/schemas/{name}"
_ID: Final = {"type": "string", "pattern": "^[0-9a-f]{32}$", "examples": ["0f2d6a1f8c7b4e5aa9d3c1b2e4f60718"]}

_PATH_PARAMETERS: Final[Mapping[str, tuple[Mapping[str, Any], str]]] = {
    "slot_id": (
        {"type": "string", "pattern": SLOT_ID_PATTERN, "examples": ["slot-001"]},
        "`slot-001` … `slot-015`; anything else is `slot_not_found`",
    ),
    "job_id": (_ID, "The job: 32 hexadecimal digits"),
    "template_id": (_ID, "The template: 32 hexadecimal digits"),
    "media_id": (
        {**_ID, "pattern": r"^[0-9a-f]{32}(\.(jpg|png|webp))?$"},
        "The link: 32 hexadecimal digits, and perhaps the extension of the file's type",
    ),
}

_OF_EVERY_REQUEST: Final[Mapping[int, tuple[str, PhotoChangerError]]] = {
    HTTPStatus.BAD_REQUEST: ("BadRequest", InvalidRequest()),
    HTTPStatus.REQUEST_URI_TOO_LONG: ("UriTooLong", InvalidRequest("The URL is too long")),
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE: (
        "HeadersTooLarge",
        InvalidRequest("The request has too many header fields, or too large ones"),
    ),
    HTTPStatus.INTERNAL_SERVER_ERROR: ("InternalError", InternalError()),
}
"""Answers that any request may get, by status."""


def _described_routes(app: Litestar) -> Iterator[tuple[str, HTTPRouteHandler]]:
    """Yield the path, as the contract writes it, and the handler of every endpoint that the contract has."""
    for route in app.routes:
        if isinstance(route, HTTPRoute):
            for handler in route.route_handlers:
                if handler.include_in_schema is not False:
                    yield route.path_format, handler


def complete(schema: dict[str, Any], app: Litestar) -> None:
    """Complete the framework's description of `app`, in place."""
    components = schema["components"]
    components["responses"] = {
        name: _common_response(status, error) for status, (name, error) in _OF_EVERY_REQUEST.items()
    }
    routes = [*_described_routes(app)]
    structs = {struct for _, handler in routes for struct in _structs_of(handler)}
    components["schemas"] = dict(sorted(_schemas_of(*structs).items()))
    for path, handler in routes:
        operations: dict[str, Any] = schema["paths"][path]
        for method in handler.http_methods:
            _complete_operation(operations[method.lower()], handler.opt)
        if HttpMethod.HEAD in handler.http_methods:
            _without_ranges(operations["head"])


def _complete_operation(operation: dict[str, Any], declared: Mapping[str, Any]) -> None:
    if DOCUMENT in declared:
        struct = declared[DOCUMENT]
        content = {"schema": {"$ref": _REFERENCE.format(name=struct.__name__)}, "examples": _examples(struct)}
        operation["requestBody"] = {"required": True, "content": {"application/json": content}}
    if FORM in declared:
        form = {"multipart/form-data": {"schema": dict(declared[FORM])}}
        operation["requestBody"] = {"required": True, "content": form}
    for parameter in operation.get("parameters", []):
        if parameter["in"] == "path":
            known, parameter["description"] = _PATH_PARAMETERS[parameter["name"]]
            parameter["schema"] = dict(known)
    if QUERY in declared:
        operation.setdefault("parameters", []).extend(_query_parameters(declared[QUERY]))
    responses = operation["responses"]
    for status, (name, _) in _OF_EVERY_REQUEST.items():
        responses.setdefault(str(int(status)), {"$ref": f"#/components/responses/{name}"})
    operation["responses"] = dict(sorted(responses.items()))


def _without_ranges(operation: dict[str, Any]) -> None:
    """Take out what only concerns a body (RFC 9110, 14.2: a range is for GET alone)."""
    for status in (HTTPStatus.PARTIAL_CONTENT, HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE):
        del operation["responses"][str(int(status))]
    operation["parameters"] = [
        parameter for parameter in operation["parameters"] if parameter["name"] not in {"Range", "If-Range"}
    ]


def _examples(struct: type[msgspec.Struct]) -> dict[str, Any]:
    return {name: {"value": msgspec.to_builtins(body)} for name, body in BODIES[struct].items()}


def _query_parameters(struct: type[msgspec.Struct]) -> Iterator[dict[str, Any]]:
    for name, schema in _schemas_of(struct)[struct.__name__]["properties"].items():
        yield {
            "name": name,
            "in": "query",
            "required": False,
            "description": schema.pop("description"),
            "schema": _without_null(schema),
        }


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a parameter that may be left out, and that no text makes null."""
    options = [option for option in schema.pop("anyOf", ()) if option != {"type": "null"}]
    if schema.get("default", ...) is None:
        del schema["default"]
    for option in options:
        schema |= option
    return schema


def _structs_of(handler: HTTPRouteHandler) -> Iterator[type[msgspec.Struct]]:
    """Yield what the handler reads, answers and mentions."""
    answered = [handler.parsed_fn_signature.return_type.annotation]
    answered += [response.data_container for response in (handler.responses or {}).values()]
    yield from _structs_in(answered)
    yield from _structs_in([handler.opt.get(DOCUMENT), *handler.opt.get(MENTIONED, ())])
    if QUERY in handler.opt:
        fields = msgspec.structs.fields(handler.opt[QUERY])
        yield from _structs_in(field.type for field in fields)


def _structs_in(annotations: Iterable[Any]) -> Iterator[Any]:
    """Yield the structs and enums that these annotations are made of."""
    for annotation in annotations:
        if isinstance(annotation, type) and issubclass(annotation, (msgspec.Struct, Enum)):
            yield annotation
        else:
            yield from _structs_in(get_args(annotation))


def _schemas_of(*types: Any) -> dict[str, Any]:
    _, schemas = msgspec.json.schema_components(types, ref_template=_REFERENCE)
    return dict(schemas)


def _common_response(status: int, error: PhotoChangerError) -> dict[str, Any]:
    problem = msgspec.to_builtins(describe(error, Language.EN, status=status))
    content = {
        "schema": {"$ref": _REFERENCE.format(name=ProblemDetails.__name__)},
        "examples": {error.code: {"summary": error.message, "value": problem}},
    }
    return {"description": f"`{error.code}`: {error.message}", "content": {PROBLEM_TYPE: content}}
