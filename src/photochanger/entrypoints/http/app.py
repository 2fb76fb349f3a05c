"""The HTTP application, put together."""

from collections.abc import Callable
from typing import Final, Protocol

from litestar import Litestar
from litestar.di import NamedDependency, Provide
from litestar.types import ASGIApp

from photochanger.adapters.telemetry.metrics import Metrics
from photochanger.adapters.telemetry.tracing import Tracing
from photochanger.application.await_outcome import AwaitOutcome
from photochanger.application.ingest_password import CheckIngestPassword
from photochanger.application.ports import Clock
from photochanger.application.provider_links import OpenLink
from photochanger.application.results import OpenResult, ReadJob
from photochanger.application.submit_photo import SubmitPhoto
from photochanger.entrypoints.documents.links import ResultLinks
from photochanger.entrypoints.http.access import Access
from photochanger.entrypoints.http.administration import (
    HANDLERS,
    Administration,
    dependencies,
    from_container,
)
from photochanger.entrypoints.http.answer import BoothAnswer
from photochanger.entrypoints.http.arrival import ArrivalTime
from photochanger.entrypoints.http.authorization import CheckPermission
from photochanger.entrypoints.http.documentation import document, documentation, openapi_json
from photochanger.entrypoints.http.errors import EXCEPTION_HANDLERS
from photochanger.entrypoints.http.gallery import get_gallery
from photochanger.entrypoints.http.guard import Guard
from photochanger.entrypoints.http.heads import AnyRequest
from photochanger.entrypoints.http.health import healthz, livez, metrics, readyz
from photochanger.entrypoints.http.ingest import INGEST_TEMPLATES, ingest
from photochanger.entrypoints.http.intake import PhotoIntake
from photochanger.entrypoints.http.jobs import get_job
from photochanger.entrypoints.http.lingering import LingeringClose
from photochanger.entrypoints.http.links import links_for
from photochanger.entrypoints.http.media import get_media
from photochanger.entrypoints.http.options import options_handlers
from photochanger.entrypoints.http.results import get_preview, get_result
from photochanger.entrypoints.readiness import Readiness

_ROUTES: Final = (
    ingest,
    get_result,
    get_preview,
    get_media,
    get_job,
    get_gallery,
    *HANDLERS,
    livez,
    readyz,
    healthz,
    metrics,
    openapi_json,
    documentation,
)


class Providers(Administration, Protocol):
    """What the HTTP door takes from the container: a provider for each."""

    @property
    def clock(self) -> Callable[[], Clock]: ...
    @property
    def submit_photo(self) -> Callable[[], SubmitPhoto]: ...
    @property
    def check_ingest_password(self) -> Callable[[], CheckIngestPassword]: ...
    @property
    def await_outcome(self) -> Callable[[], AwaitOutcome]: ...
    @property
    def open_result(self) -> Callable[[], OpenResult]: ...
    @property
    def open_link(self) -> Callable[[], OpenLink]: ...
    @property
    def read_job(self) -> Callable[[], ReadJob]: ...
    @property
    def readiness(self) -> Callable[[], Readiness]: ...
    @property
    def metrics(self) -> Callable[[], Metrics]: ...
    @property
    def tracing(self) -> Callable[[], Tracing]: ...
    @property
    def public_base_url(self) -> Callable[[], str | None]: ...


def create_app(container: Providers) -> Litestar:
    """Return the application, with everything that it needs taken from the container."""
    app = Litestar(
        route_handlers=[*options_handlers(_ROUTES), *_ROUTES],  # first, or the framework adds its own
        dependencies={**_dependencies(container), **dependencies(container)},
        guards=[CheckPermission(container.authenticate)],
        exception_handlers=dict(EXCEPTION_HANDLERS),
        openapi_config=None,
        logging_config=None,
    )
    document(app)
    app.asgi_handler = _edge(app, container)
    return app


def _dependencies(container: Providers) -> dict[str, Provide]:
    def photo_intake() -> PhotoIntake:
        return PhotoIntake(
            submit_photo=container.submit_photo(), check_password=container.check_ingest_password()
        )

    def result_links(request: AnyRequest) -> ResultLinks:
        return links_for(request, container.public_base_url())

    def booth_answer(result_links: NamedDependency[ResultLinks]) -> BoothAnswer:
        return BoothAnswer(
            await_outcome=container.await_outcome(), open_result=container.open_result(), links=result_links
        )

    return {
        "submit_photo": from_container(container.submit_photo),
        "photo_intake": from_container(photo_intake),
        "booth_answer": Provide(booth_answer, sync_to_thread=False),
        "open_result": from_container(container.open_result),
        "open_link": from_container(container.open_link),
        "read_job": from_container(container.read_job),
        "readiness": from_container(container.readiness),
        "metrics_registry": from_container(container.metrics),
        "result_links": Provide(result_links, sync_to_thread=False),
    }


def _edge(app: Litestar, container: Providers) -> ASGIApp:
    """Wrap the router, not a route: what is refused before routing is recorded too."""
    clock, registry = container.clock(), container.metrics()
    registry.know_routes([route.path_format for route in app.routes])
    access = Access(
        Guard(app.asgi_handler),
        metrics=registry,
        tracer=container.tracing().tracer,
        clock=clock,
        ingest_routes=INGEST_TEMPLATES,
    )
    return ArrivalTime(LingeringClose(access), clock)
