from litestar import get

from photochanger.domain.permissions import Permission
from photochanger.entrypoints.http.endpoints import endpoint


@get("/api/stats/system", **endpoint(Permission.STATS_READ))
async def get_system_statistics() -> None: ...
@get("/api/stats/slots", **endpoint(Permission.STATS_READ))
async def get_slot_statistics() -> None: ...
