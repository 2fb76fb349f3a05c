"""When a request arrived: the moment its deadline counts from."""

from typing import Final

from litestar.types import ASGIApp, Receive, Scope, Send

from photochanger.application.ports.clock import Clock

_KEY: Final = "arrived_at"


class ArrivalTime:
    """Notes the time before anything else happens to a request; the outermost layer."""

    def __init__(self, app: ASGIApp, clock: Clock) -> None:
        self._app = app
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, with its time of arrival."""
        scope.setdefault("state", {})[_KEY] = self._clock.monotonic()
        await self._app(scope, receive, send)


def arrived_at(scope: Scope) -> float:
    """Return when the head of this request had arrived, on the monotonic clock."""
    moment: float = scope["state"][_KEY]
    return moment
