"""What supervisors and monitors ask."""

from http import HTTPStatus
from typing import Final

from litestar import MediaType, get
from litestar.datastructures import CacheControlHeader
from litestar.di import NamedDependency
from litestar.openapi.datastructures import ResponseSpec
from litestar.response import Response

from photochanger import __version__
from photochanger.adapters.telemetry.metrics import Metrics
from photochanger.entrypoints.http.authorization import open_to_anybody
from photochanger.entrypoints.http.operations import Described
from photochanger.entrypoints.http.schemas import Health, HealthChecks, HealthReport
from photochanger.entrypoints.readiness import Readiness

_HEALTH_RESPONSES: Final = {
    HTTPStatus.SERVICE_UNAVAILABLE.value: ResponseSpec(
        HealthReport, generate_examples=False, description="The database or the media store fails"
    )
}
_READINESS_RESPONSES: Final = {
    HTTPStatus.SERVICE_UNAVAILABLE.value: ResponseSpec(
        Health, generate_examples=False, description="Not now, and why"
    )
}
_NO_STORE = CacheControlHeader(no_store=True)


@get(
    "/livez",
    cache_control=_NO_STORE,
    tags=["operations"],
    summary="Liveness",
    operation_class=Described,
    **open_to_anybody,
)
async def livez() -> Health:
    """Say that the process runs and its event loop turns."""
    return Health(status="ok")


@get(
    "/readyz",
    cache_control=_NO_STORE,
    tags=["operations"],
    summary="Readiness",
    operation_class=Described,
    **open_to_anybody,
    responses=_READINESS_RESPONSES,
)
async def readyz(readiness: NamedDependency[Readiness]) -> Response[Health]:
    """Say whether the process may be sent photos."""
    problems = await readiness.problems()
    health = Health(status="unavailable" if problems else "ok", problems=list(problems))
    return Response(health, status_code=503 if problems else 200)


@get(
    "/healthz",
    cache_control=_NO_STORE,
    tags=["operations"],
    summary="Health",
    operation_class=Described,
    **open_to_anybody,
    responses=_HEALTH_RESPONSES,
)
async def healthz(readiness: NamedDependency[Readiness]) -> Response[HealthReport]:
    """Say how each part is. A provider that is down is told, and does not make the service unhealthy."""
    problems = await readiness.problems()
    database, media = ("unavailable" if part in problems else "ok" for part in ("database", "media"))
    report = HealthReport(
        status="ok" if database == media == "ok" else "unavailable",
        checks=HealthChecks(database=database, media=media, providers=dict(readiness.providers())),
        version=__version__,
    )
    return Response(report, status_code=200 if report.status == "ok" else 503)


@get(
    "/metrics",
    cache_control=_NO_STORE,
    media_type=MediaType.TEXT,
    tags=["operations"],
    summary="Metrics",
    operation_class=Described,
    **open_to_anybody,
)
async def metrics(metrics_registry: NamedDependency[Metrics]) -> Response[bytes]:
    """Return the metrics in Prometheus' text format."""
    # The framework adds the charset to every text type once more.
    media_type = metrics_registry.content_type.removesuffix("; charset=utf-8")
    return Response(metrics_registry.exposition(), media_type=media_type)
