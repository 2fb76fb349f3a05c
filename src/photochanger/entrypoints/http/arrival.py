"""When a request arrived: the moment its deadline counts from."""

from typing import Final

from litestar.types import ASGIApp, Receive, Scope, Send

from photochanger.application.ports.clock import Clock

ARRIVED_AT: Final = "arrived_at"
"""The key of the time of arrival in a request's state."""


class ArrivalTime:
    """Notes the time before anything else happens to a request; the outermost layer.

    Where the server has noted it already, at the last byte of the head, that time counts: when many requests
    come at once, the first of them keep the application from the last for a while.
    """

    def __init__(self, app: ASGIApp, clock: Clock) -> None:
        self._app = app
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, with its time of arrival."""
        scope.setdefault("state", {}).setdefault(ARRIVED_AT, self._clock.monotonic())
        await self._app(scope, receive, send)


def arrived_at(scope: Scope) -> float:
    """Return when the head of this request had arrived, on the monotonic clock."""
    moment: float = scope["state"][ARRIVED_AT]
    return moment
