"""What supervisors and monitors ask."""

from litestar import MediaType, get
from litestar.datastructures import CacheControlHeader
from litestar.di import NamedDependency
from litestar.response import Response

from photochanger.adapters.telemetry.metrics import Metrics
from photochanger.entrypoints.http.operations import READINESS_RESPONSES, Described
from photochanger.entrypoints.http.schemas import Health
from photochanger.entrypoints.readiness import Readiness

_NO_STORE = CacheControlHeader(no_store=True)


@get("/livez", cache_control=_NO_STORE, tags=["operations"], summary="Liveness", operation_class=Described)
async def livez() -> Health:
    """Say that the process runs and its event loop turns."""
    return Health(status="ok")


@get(
    "/readyz",
    cache_control=_NO_STORE,
    tags=["operations"],
    summary="Readiness",
    operation_class=Described,
    responses=READINESS_RESPONSES,
)
async def readyz(readiness: NamedDependency[Readiness]) -> Response[Health]:
    """Say whether the process may be sent photos."""
    problems = await readiness.problems()
    health = Health(status="unavailable" if problems else "ok", problems=list(problems))
    return Response(health, status_code=503 if problems else 200)


@get(
    "/metrics",
    cache_control=_NO_STORE,
    media_type=MediaType.TEXT,
    tags=["operations"],
    summary="Metrics",
    operation_class=Described,
)
async def metrics(metrics_registry: NamedDependency[Metrics]) -> Response[bytes]:
    """Return the metrics in Prometheus' text format."""
    # The framework adds the charset to every text type once more.
    media_type = metrics_registry.content_type.removesuffix("; charset=utf-8")
    return Response(metrics_registry.exposition(), media_type=media_type)
