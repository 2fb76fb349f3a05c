"""The door for photos: they come in at the rate that is allowed, and if they can be done in time."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from math import inf
from typing import Generic, TypeVar

from photochanger.application.ports.admission import IngestGate
from photochanger.application.ports.clock import Clock
from photochanger.domain.errors import (
    DatabaseUnavailable,
    Overloaded,
    PhotoChangerError,
    RateLimited,
    SlotBusy,
)
from photochanger.domain.media import MediaId
from photochanger.domain.rate import Rate
from photochanger.domain.settings import Settings
from photochanger.domain.slot import Slot, SlotId
from photochanger.domain.waiting import (
    Capacity,
    Forecast,
    Line,
    Traffic,
    UseOfPlaces,
    forecast,
    has_free_places,
    promise_sec,
    use_of_places,
)

TRAFFIC_FRESH_SEC = 0.25
"""When what is known of the traffic is read anew, where somebody may be refused by it."""

PACES_FRESH_SEC = 1.0
"""When what is known of the slots' pace is read anew."""

PATIENCE_SEC = 2.5
"""How long a photo waits at the door for the database, all in all: for what is in force, and at the gate."""

_UNKNOWN_SEC = 5.0
"""When to come again where nothing tells how long it takes."""

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Admission:
    """A permission to send one photo; `arrived_at` and `deadline` are on the monotonic clock, in seconds.

    `capacity` is what all slots may do at once. A test is not held back by the rate. `waited_sec` is for how
    long the database was waited for until now.
    """

    slot: Slot
    settings: Settings
    capacity: Capacity
    arrived_at: float
    waited_sec: float = 0.0
    is_test: bool = False

    @property
    def deadline(self) -> float:
        """When the answer is due."""
        return self.arrived_at + self.settings.sync_response_timeout_sec(self.slot.configuration)

    @property
    def limit_bytes(self) -> int:
        """How large the photo may be."""
        return self.settings.upload_limit_bytes(self.slot.configuration)

    @property
    def rate(self) -> Rate | None:
        """The rate that the photo counts for."""
        return None if self.is_test else self.settings.ingest.rate


class Doorkeeper:
    """Refuses what cannot be served in time, at once, and as cheaply as it can.

    What the gate has said is remembered: until when the rate lets nobody in, and for a moment what is going
    on. So of a flood of photos nearly all are refused without a statement, before anything of their bodies is
    read. The memory refuses, and never lets in: that is the gate's alone.

    Photos of one process go through the gate one after the other, so that each is judged by those before it.
    At the row of the rate they would have to wait for each other anyway, with a connection each. Those that
    wait for their turn count for whoever looks: who would find no room behind them is not kept waiting.
    """

    def __init__(self, *, gate: IngestGate, clock: Clock) -> None:
        self._gate = gate
        self._clock = clock
        self._traffic = _Recent(gate.traffic, clock)
        self._paces = _Recent(gate.paces, clock)
        self._use = UseOfPlaces()
        self._turn = asyncio.Lock()
        self._in_line = Counter[SlotId]()
        self._failed_at = -inf
        self._closed: tuple[Rate, float] | None = None
        self._promised: dict[tuple[Line, str], float] = {}

    def check_rate(self, rate: Rate | None) -> None:
        """Raise `RateLimited` where it is known that nobody is let in by this rate now; None: no rate."""
        if rate is None or self._closed is None:
            return
        of_rate, until = self._closed
        if rate == of_rate and (wait_sec := until - self._clock.monotonic()) > 0:
            raise RateLimited(retry_after_sec=wait_sec)

    async def look(self, admission: Admission) -> None:
        """Raise what `let_in` would for want of places, as far as it is known; nothing is counted.

        Raises `DatabaseUnavailable` where it cannot be looked, for then nobody could be let in either.
        Only where no place was free when somebody last looked is it worth a look, for all that come at once.
        """
        traffic = self._traffic.value
        if traffic is None or _is_open(admission, traffic.with_others(self._in_line)):
            return
        traffic = await self._traffic.get(TRAFFIC_FRESH_SEC)
        await self._judge(admission, traffic.with_others(self._in_line))

    async def let_in(self, media_id: MediaId, admission: Admission, *, ttl: timedelta) -> None:
        """Let the photo in, and record that its file is about to be written; it has `ttl` for that.

        Raises `RateLimited`, `SlotBusy` (the slot cannot do it in time) or `Overloaded` (its provider or the
        workers cannot, or too many are waiting); they say when to come again. Then the photo does not count.
        """
        rate = admission.rate
        self.check_rate(rate)
        async with self._next_in_turn(admission.slot.slot_id, PATIENCE_SEC - admission.waited_sec):
            await self._judge_again(admission)
            passage = await self._gate.enter(media_id, slot_id=admission.slot.slot_id, ttl=ttl, rate=rate)
            if rate is not None:
                self._closed = rate, self._clock.monotonic() + passage.wait_sec
        if not passage.has_entered:
            raise RateLimited(retry_after_sec=passage.wait_sec)
        self._traffic.put(passage.traffic.with_another(admission.slot.slot_id))
        try:
            await self._judge(admission, passage.traffic)
        except PhotoChangerError:
            self._closed = None
            await self._gate.leave(media_id, rate=rate)
            raise

    async def _judge_again(self, admission: Admission) -> None:
        """Raise what those who were before at the gate have brought about; it costs no statement."""
        self.check_rate(admission.rate)
        if (traffic := self._traffic.no_older_than(TRAFFIC_FRESH_SEC)) is not None:
            await self._judge(admission, traffic)

    @asynccontextmanager
    async def _next_in_turn(self, slot_id: SlotId, patience_sec: float) -> AsyncIterator[None]:
        """Wait for the turn; who meanwhile sees another fail for want of the database fails with it."""
        came_at = self._clock.monotonic()
        with self._counted_in_line(slot_id):
            async with within(patience_sec):
                await self._turn.acquire()
        try:
            self._share_failure(since=came_at)
            # Whose patience ends at the gate has waited in line for others: that is no word of the database.
            async with within(came_at + patience_sec - self._clock.monotonic()):
                try:
                    yield
                except DatabaseUnavailable:
                    self._failed_at = self._clock.monotonic()
                    raise
        finally:
            self._turn.release()

    @contextmanager
    def _counted_in_line(self, slot_id: SlotId) -> Iterator[None]:
        self._in_line[slot_id] += 1
        try:
            yield
        finally:
            self._in_line[slot_id] -= 1

    def _share_failure(self, *, since: float) -> None:
        if self._failed_at >= since:
            raise DatabaseUnavailable

    async def _judge(self, admission: Admission, traffic: Traffic) -> None:
        """Raise where a photo after these cannot be done in time, or too many are waiting."""
        self._use.see(self._clock.monotonic(), use_of_places(traffic, admission.capacity))
        if _is_open(admission, traffic):
            return
        paces = await self._paces.get(PACES_FRESH_SEC)
        use = self._use.share
        found = forecast(admission.slot.slot_id, traffic, admission.capacity, paces, use=use)
        late_sec = found.late_by_sec(admission.deadline - self._clock.monotonic())
        if late_sec is not None:
            refusal = SlotBusy if found.line is Line.SLOT else Overloaded
            raise refusal(retry_after_sec=self._promise(admission, found, late_sec))
        if traffic.waiting >= admission.settings.limits.max_waiting:
            raise Overloaded(retry_after_sec=self._promise(admission, found, found.gap_sec))

    def _promise(self, admission: Admission, found: Forecast, wait_sec: float) -> float:
        """Return when to come again, in seconds, which nobody else was told."""
        if found.line is None:
            return _UNKNOWN_SEC
        whose = {
            Line.SLOT: admission.slot.slot_id,
            Line.PROVIDER: admission.slot.configuration.call.provider,
            Line.WORKERS: "",
        }[found.line]
        now = self._clock.monotonic()
        last_sec = self._promised.get((found.line, whose), now) - now
        promised_sec = promise_sec(wait_sec, last_sec=last_sec, gap_sec=found.gap_sec)
        self._promised[found.line, whose] = now + promised_sec
        return promised_sec


@asynccontextmanager
async def within(seconds: float) -> AsyncIterator[None]:
    """Take a database that needs longer for one that does not answer: raises `DatabaseUnavailable`."""
    limit = asyncio.timeout(max(0.0, seconds))
    try:
        async with limit:
            yield
    except TimeoutError:
        if limit.expired():
            raise DatabaseUnavailable from None
        raise


def _is_open(admission: Admission, traffic: Traffic) -> bool:
    """Say whether a photo after these need not wait for anybody."""
    if traffic.waiting >= admission.settings.limits.max_waiting:
        return False
    return has_free_places(admission.slot.slot_id, traffic, admission.capacity)


class _Recent(Generic[_T]):
    """What was last read, and how old that is.

    Where it is too old, who asks first waits until it has been read anew. For those who ask meanwhile it will
    do for as long again; after that they share the reading.
    """

    def __init__(self, read: Callable[[], Awaitable[_T]], clock: Clock) -> None:
        self._read = read
        self._clock = clock
        self._read_at = 0.0
        self._reading: asyncio.Future[_T] | None = None
        self.value: _T | None = None

    def put(self, value: _T) -> None:
        """Take what was just read otherwise."""
        self.value, self._read_at = value, self._clock.monotonic()

    def no_older_than(self, max_age_sec: float) -> _T | None:
        """Return it as far as it is known; None where that is older."""
        is_fresh = self._clock.monotonic() - self._read_at < max_age_sec
        return self.value if is_fresh else None

    async def get(self, max_age_sec: float) -> _T:
        """Return it; read it where it is older than that."""
        if (value := self.no_older_than(max_age_sec)) is not None:
            return value
        if self._reading is None:
            self._reading = asyncio.ensure_future(self._read_anew())
            self._reading.add_done_callback(self._done)
        elif (value := self.no_older_than(2 * max_age_sec)) is not None:
            return value
        return await asyncio.shield(self._reading)

    async def _read_anew(self) -> _T:
        value = await self._read()
        self.put(value)
        return value

    def _done(self, reading: asyncio.Future[_T]) -> None:
        self._reading = None
        if not reading.cancelled():
            reading.exception()  # those who asked may all have gone
