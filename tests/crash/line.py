"""The line to the server: a request and its answer, judged by what any client may expect."""

import asyncio
import json
import time
from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

import aiohttp

from tests.crash.ledger import Ledger
from tests.crash.victim import Victim

DEADLINE_SEC: Final = 10.0
"""The time-out of every slot: the shortest that there is."""

SETTLING_SEC: Final = 0.25
"""How long after its deadline an answer may come."""

PATIENCE_SEC: Final = 25.0
"""When a client has waited in vain, whatever it asked."""

DOCUMENTED: Final = frozenset({502, 503, 504})
"""The statuses from 500 on that the contract has."""

_TRY_AGAIN_SEC: Final = 0.1

_BOUNDARY: Final = "-" * 12 + "090306000104030805010400"

FORM_TYPE: Final = f"multipart/form-data; boundary={_BOUNDARY}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """An answer that came whole; times are monotonic, in seconds."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    sent_at: float
    head_at: float

    @property
    def document(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


class LagMeter:
    """How late this very process is: what it measures of others may be its own lateness."""

    _STEP_SEC = 0.02

    def __init__(self) -> None:
        self._lags: deque[tuple[float, float]] = deque(maxlen=int(2 * PATIENCE_SEC / self._STEP_SEC))

    async def run(self) -> None:
        """Measure until cancelled."""
        while True:
            due = time.monotonic() + self._STEP_SEC
            await asyncio.sleep(self._STEP_SEC)
            self._lags.append((due, time.monotonic() - due))

    def worst_since(self, moment: float) -> float:
        """Return the worst lag since `moment`, in seconds."""
        return max((lag for due, lag in self._lags if due >= moment - self._STEP_SEC), default=0.0)


class Line:
    """Asks whatever process serves now. Each request has a connection of its own, as a booth's has."""

    def __init__(self, session: aiohttp.ClientSession, victim: Victim, ledger: Ledger, lag: LagMeter) -> None:
        self._session = session
        self._victim = victim
        self._ledger = ledger
        self._lag = lag
        self.latest_sec = 0.0
        """By how much the latest answer to a held request was later than its deadline."""

    async def ask(
        self,
        method: str,
        path: str,
        *,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        held: bool = False,
        kind: str = "requests",
        hang_up_after_sec: float | None = None,
    ) -> Heard | None:
        """Return the answer; None where the connection was cut, by a kill or by our own hanging up.

        Who does not reach the server tries again until it does.

        Notes as broken promises: a cut while nobody was killed, no answer, a late one, and one that is not
        documented. `held` requests have a deadline; `kind` is what they are counted as.
        """
        request = _Request(method=method, path=path, body=body, headers=headers or {}, held=held, kind=kind)
        while True:
            try:
                return await self._ask(request, hang_up_after_sec)
            except aiohttp.ClientConnectorError:
                self._ledger.counts["connections refused"] += 1
                await asyncio.sleep(_TRY_AGAIN_SEC)

    async def _ask(self, request: "_Request", hang_up_after_sec: float | None) -> Heard | None:
        sent_at = time.monotonic()
        hanging_up = asyncio.timeout(hang_up_after_sec)
        try:
            async with hanging_up:
                heard = await self._exchange(request, sent_at)
        except TimeoutError:
            if not hanging_up.expired():
                self._ledger.violated(f"{request} had no answer within {PATIENCE_SEC:g} s")
            self._ledger.counts[f"{request.kind} given up"] += 1
            return None
        except aiohttp.ClientConnectorError:
            self._see_kill(sent_at, f"{request} was refused")
            raise
        except (aiohttp.ClientError, ConnectionError) as error:
            self._ledger.counts[f"{request.kind} cut off"] += 1
            self._see_kill(sent_at, f"{request} was cut off ({error!r})")
            return None
        self._ledger.counts[f"{request.kind} answered {heard.status}"] += 1
        self._judge(heard, request)
        return heard

    async def _exchange(self, request: "_Request", sent_at: float) -> Heard:
        async with self._session.request(
            request.method,
            self._victim.base_url + request.path,
            data=request.body,
            headers=request.headers,
            allow_redirects=False,
        ) as answer:
            head_at = time.monotonic()
            body = await answer.read()
            return Heard(
                status=answer.status, headers=answer.headers, body=body, sent_at=sent_at, head_at=head_at
            )

    def _see_kill(self, sent_at: float, what: str) -> None:
        if not self._victim.was_down(sent_at, time.monotonic()):
            self._ledger.violated(f"{what} without a kill")

    def _judge(self, heard: Heard, request: "_Request") -> None:
        if heard.status >= 500 and heard.status not in DOCUMENTED:
            self._ledger.violated(f"{request} was answered {heard.status}: {heard.body[:300]!r}")
        served_from = self._victim.served_from(heard.sent_at)
        if not request.held or served_from is None:
            return
        late_sec = heard.head_at - served_from - DEADLINE_SEC
        self.latest_sec = max(self.latest_sec, late_sec)
        if late_sec > SETTLING_SEC + self._lag.worst_since(heard.sent_at):
            self._ledger.violated(f"{request} was answered {late_sec:.3f} s after its deadline")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Request:
    method: str
    path: str
    body: Any
    headers: Mapping[str, str]
    held: bool
    kind: str

    def __str__(self) -> str:
        return f"{self.method} {self.path.partition('?')[0]}"


@asynccontextmanager
async def opened_line(victim: Victim, ledger: Ledger) -> AsyncIterator[Line]:
    """Open a line for any number of clients."""
    lag = LagMeter()
    measuring = asyncio.create_task(lag.run())
    connector = aiohttp.TCPConnector(limit=0, force_close=True)
    timeout = aiohttp.ClientTimeout(total=PATIENCE_SEC)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
        # Else a PUT that was cut off is sent again behind our back, and its success looks like a conflict.
        session._retry_connection = False
        yield Line(session, victim, ledger, lag)
    measuring.cancel()


def form(*fields: tuple[str, str], file: tuple[str, bytes]) -> bytes:
    """Return a form of these fields and a file, in this order."""
    opening = f"--{_BOUNDARY}\r\nContent-Disposition: form-data; name="
    text = "".join(f'{opening}"{name}"\r\n\r\n{value}\r\n' for name, value in fields)
    name, content = file
    head = f'{text}{opening}"{name}"; filename="IMG_0001.JPG"\r\nContent-Type: image/jpeg\r\n\r\n'
    return head.encode() + content + f"\r\n--{_BOUNDARY}--\r\n".encode()
