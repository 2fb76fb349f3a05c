"""The line to whichever server is there: what a balancer does that sends a request to one that listens."""

import asyncio
import json
import random
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

import aiohttp

from tests.chaos.history import History, Kind
from tests.chaos.processes import Fleet, Place

PATIENCE_SEC: Final = 40.0
"""When a client has waited in vain, whatever it asked."""

_LOOK_AGAIN_SEC: Final = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """A request, and what the history is to say of it."""

    who: str
    what: str
    method: str
    path: str
    body: bytes | None = None
    headers: Mapping[str, str] | None = None
    facts: Mapping[str, Any]
    hang_up_after_sec: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """An answer that came whole. `operation` is to be completed in the history by whoever reads it."""

    operation: int
    server: str
    status: int
    headers: Mapping[str, str]
    body: bytes
    took_sec: float
    """From the request to the head of the answer."""

    @property
    def document(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


class Line:
    """Sends requests to servers, each on a connection of its own, and notes that they were sent."""

    def __init__(
        self, session: aiohttp.ClientSession, fleet: Fleet, history: History, chance: random.Random
    ) -> None:
        self._session = session
        self._fleet = fleet
        self._history = history
        self._chance = chance

    async def ask(self, asking: Asking) -> Answer | None:
        """Return the answer, or None where there is none, which the history then says.

        Whoever does not reach a server tries another: nothing was sent, and nothing is noted.
        """
        while True:
            place = await self._server()
            server, base_url = place.incarnation, place.base_url
            facts = {**asking.facts, "server": server}
            operation = self._history.invoke(asking.who, asking.what, **facts)
            try:
                return await self._exchange(asking, operation, server, base_url)
            except aiohttp.ClientConnectorError:
                self._end(asking, operation, Kind.FAIL, server, reason="refused")
                await asyncio.sleep(_LOOK_AGAIN_SEC)
            except TimeoutError as error:
                reason = "hung up" if isinstance(error, _HungUp) else "no answer"
                self._end(asking, operation, Kind.UNKNOWN, server, reason=reason)
                return None
            except (aiohttp.ClientError, ConnectionError) as error:
                self._end(asking, operation, Kind.UNKNOWN, server, reason="cut", error=type(error).__name__)
                return None

    def complete(self, asking: Asking, answer: Answer, kind: Kind, **facts: Any) -> None:
        """Note in the history what an answer said."""
        facts = {"status": answer.status, "took_sec": round(answer.took_sec, 4), **facts}
        self._end(asking, answer.operation, kind, answer.server, **facts)

    def _end(self, asking: Asking, operation: int, kind: Kind, server: str, **facts: Any) -> None:
        facts = {**asking.facts, "server": server, **facts}
        self._history.complete(operation, asking.who, asking.what, kind, **facts)

    async def _server(self) -> Place:
        while True:
            if servers := self._fleet.servers:
                return self._chance.choice(servers)
            await asyncio.sleep(_LOOK_AGAIN_SEC)

    async def _exchange(self, asking: Asking, operation: int, server: str, base_url: str) -> Answer:
        sent_at = self._history.now
        hanging_up = asyncio.timeout(asking.hang_up_after_sec)
        try:
            async with (
                hanging_up,
                self._session.request(
                    asking.method,
                    base_url + asking.path,
                    data=asking.body,
                    headers=asking.headers,
                    allow_redirects=False,
                ) as answer,
            ):
                took_sec = self._history.now - sent_at
                return Answer(
                    operation=operation,
                    server=server,
                    status=answer.status,
                    headers=answer.headers,
                    body=await answer.read(),
                    took_sec=took_sec,
                )
        except TimeoutError:
            if hanging_up.expired():
                raise _HungUp from None
            raise


class _HungUp(TimeoutError):
    """The client itself has left."""


@asynccontextmanager
async def opened_line(fleet: Fleet, history: History, chance: random.Random) -> AsyncIterator[Line]:
    """Open a line for any number of clients."""
    connector = aiohttp.TCPConnector(limit=0, force_close=True)
    timeout = aiohttp.ClientTimeout(total=PATIENCE_SEC)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
        # Else a request that was cut off is sent again behind our back.
        session._retry_connection = False
        yield Line(session, fleet, history, chance)
