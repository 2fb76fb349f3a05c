"""What is known of every request: an id, one line in the log, a count in the metrics, a span.

Neither the path nor the query is logged: a path may hold a job's id, which is a secret, and a query the
ingest password. The route's template and the slot say where a request went.
"""

import re
import secrets
from collections.abc import Collection
from http import HTTPStatus
from typing import Final

import structlog
from litestar.types import ASGIApp, HTTPScope, Message, Receive, Scope, Send
from opentelemetry import context, trace
from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanKind, StatusCode, Tracer
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from photochanger.adapters.telemetry.metrics import OUTCOME_CANCELLED, OUTCOME_OK, Metrics
from photochanger.application.ports.clock import Clock
from photochanger.entrypoints.http.arrival import arrived_at
from photochanger.entrypoints.http.errors import CLIENT_CLOSED_REQUEST
from photochanger.entrypoints.http.heads import first_header, is_http

NO_ROUTE: Final = "none"

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)
_LOGGER = structlog.get_logger("photochanger.http.access")
_PROPAGATOR = TraceContextTextMapPropagator()


class Access:
    """Accompanies every request. `ingest_routes` are the templates whose answers count as a booth's."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        metrics: Metrics,
        tracer: Tracer,
        clock: Clock,
        ingest_routes: Collection[str],
    ) -> None:
        self._app = app
        self._tracer = tracer
        self._metrics = metrics
        self._clock = clock
        self._ingest_routes = frozenset(ingest_routes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and record how it was answered."""
        if not is_http(scope):
            await self._app(scope, receive, send)
            return
        answer = _Answer(send, _request_id(scope))
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=answer.request_id)
        span = self._tracer.start_span("HTTP", context=_trace_of(scope), kind=SpanKind.SERVER)
        token = context.attach(trace.set_span_in_context(span))
        try:
            await self._answer(scope, receive, answer)
            if span.is_recording():
                _describe(span, scope, answer.status)
            self._record(scope, answer.status)
        finally:
            context.detach(token)
            span.end()

    async def _answer(self, scope: HTTPScope, receive: Receive, answer: "_Answer") -> None:
        try:
            await self._app(scope, receive, answer.send)
        except Exception:
            # The answer has begun, so nothing can be said any more: the server closes the connection.
            _LOGGER.exception("the answer broke off")
            answer.broke_off()

    def _record(self, scope: HTTPScope, status: int) -> None:
        route = _route(scope)
        seconds = self._clock.monotonic() - arrived_at(scope)
        self._metrics.http_answered(route, scope["method"], status)
        if route in self._ingest_routes:
            self._metrics.ingest_answered(_outcome(scope, status), seconds)
        log = _LOGGER.warning if status >= 500 else _LOGGER.info
        log(
            "request",
            method=scope["method"],
            route=route,
            http_status=status,
            code=scope["state"].get("problem_code"),
            duration_ms=round(seconds * 1000, 1),
        )


class _Answer:
    """An answer on its way out: gets the request's id, and is remembered by its status."""

    def __init__(self, send: Send, request_id: str) -> None:
        self._send = send
        self.request_id = request_id
        self.status = CLIENT_CLOSED_REQUEST

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = int(message["status"])
            message["headers"] = [*message["headers"], (b"x-request-id", self.request_id.encode())]
        await self._send(message)

    def broke_off(self) -> None:
        self.status = max(self.status, HTTPStatus.INTERNAL_SERVER_ERROR)


def _request_id(scope: HTTPScope) -> str:
    given = first_header(scope, b"x-request-id")
    return given if given and _REQUEST_ID.fullmatch(given) else secrets.token_hex(8)


def _route(scope: HTTPScope) -> str:
    return scope.get("path_template") or NO_ROUTE


def _outcome(scope: HTTPScope, status: int) -> str:
    if status == CLIENT_CLOSED_REQUEST:
        return OUTCOME_CANCELLED
    return scope["state"].get("problem_code") or OUTCOME_OK


def _trace_of(scope: HTTPScope) -> Context:
    carrier = {name: value for name in _PROPAGATOR.fields if (value := first_header(scope, name.encode()))}
    return _PROPAGATOR.extract(carrier)


def _describe(span: Span, scope: HTTPScope, status: int) -> None:
    span.update_name(f"{scope['method']} {_route(scope)}")
    span.set_attribute("http.request.method", scope["method"])
    span.set_attribute("http.route", _route(scope))
    span.set_attribute("http.response.status_code", status)
    if status >= 500:
        span.set_status(StatusCode.ERROR)
