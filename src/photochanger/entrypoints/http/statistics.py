"""Statistics, of the installation and of each slot."""

from litestar import get
from litestar.di import NamedDependency

from photochanger.application.statistics import ReadStatistics
from photochanger.domain.permissions import Permission
from photochanger.entrypoints.documents.links import ResultLinks
from photochanger.entrypoints.documents.statistics import (
    AllSlotsStatisticsView,
    StatisticsQuery,
    SystemStatisticsView,
)
from photochanger.entrypoints.http.endpoints import endpoint


@get(
    "/api/stats/system",
    tags=["statistics"],
    summary="Get the statistics of the installation",
    **endpoint(Permission.STATS_READ, query=StatisticsQuery),
)
async def get_system_statistics(
    wanted: NamedDependency[StatisticsQuery],
    read_statistics: NamedDependency[ReadStatistics],
    result_links: NamedDependency[ResultLinks],
) -> SystemStatisticsView:
    """Return how jobs ended and how long they took, what is going on now, and the last jobs."""
    return SystemStatisticsView.of(await read_statistics.system(**wanted.period()), result_links)


@get(
    "/api/stats/slots",
    tags=["statistics"],
    summary="Get the statistics of the slots",
    **endpoint(Permission.STATS_READ, query=StatisticsQuery),
)
async def get_slot_statistics(
    wanted: NamedDependency[StatisticsQuery],
    read_statistics: NamedDependency[ReadStatistics],
    result_links: NamedDependency[ResultLinks],
) -> AllSlotsStatisticsView:
    """Return the same for each slot, with its last job and its last failure."""
    return AllSlotsStatisticsView.of(await read_statistics.slots(**wanted.period()), result_links)
