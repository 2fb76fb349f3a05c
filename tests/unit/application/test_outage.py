"""A provider that is down for ten minutes while photos keep coming, in virtual time.

The job that probes pays for finding out: little where the provider fails at once, much where it hangs. With
two photos a second that is one job in forty.
"""

import asyncio
import itertools
import statistics
from dataclasses import dataclass, field
from typing import BinaryIO

import pytest

from photochanger.application.ports import TransformRequest
from photochanger.domain.errors import ProviderError
from photochanger.domain.job import ResultSource
from photochanger.domain.slot import ProviderCall
from tests.unit.application.house import House, ObedientProvider, paint
from tests.unit.application.virtual_time import VirtualClock, run

DOWN_FROM, DOWN_UNTIL, END = 120.0, 720.0, 900.0
CALL_SEC = 12.0
PHOTOS = 1800


@dataclass
class Outage:
    """Two photos a second; the provider takes 12 s, and so does its fallback, except while it is down."""

    hangs: bool
    house: House = field(default_factory=lambda: House(VirtualClock()))
    delivered: list[tuple[float, float, ResultSource | None]] = field(default_factory=list)
    asked_while_down: list[float] = field(default_factory=list)

    async def play(self) -> "Outage":
        self.house.provider = ObedientProvider(least_useful_sec=10, models=("best", "next", "last"))
        self.house.provider.behaviour = self.transform
        self.house.other_provider = ObedientProvider("sculptor", least_useful_sec=CALL_SEC + 1)
        self.house.other_provider.behaviour = self.take_time
        await self.house.set_up(fallback=ProviderCall(provider="sculptor", operation="paint"))
        async with asyncio.TaskGroup() as booths:
            for _ in range(PHOTOS):
                booths.create_task(self.one_photo())
                await asyncio.sleep(END / PHOTOS)
        return self

    @property
    def now(self) -> float:
        return self.house.clock.monotonic()

    async def transform(self, request: TransformRequest, into: BinaryIO) -> None:
        if not DOWN_FROM <= self.now < DOWN_UNTIL:
            return await self.take_time(request, into)
        self.asked_while_down.append(self.now)
        await asyncio.sleep(3600 if self.hangs else 0.3)
        raise ProviderError

    async def take_time(self, request: TransformRequest, into: BinaryIO) -> None:
        await asyncio.sleep(CALL_SEC)
        await paint(request, into)

    async def one_photo(self) -> None:
        began = self.now
        submitted = await self.house.submit()
        await self.house.process_job(await self.house.claim())
        job = (await self.house.state_of(submitted)).job
        self.delivered.append((began, self.now - began, job.result.source if job.result else None))

    def p95(self, start: float, stop: float) -> float:
        times = [took for began, took, _ in self.delivered if start <= began < stop]
        return statistics.quantiles(times, n=20)[-1]


@pytest.fixture(scope="module", params=[False, True], ids=["fails", "hangs"])
def outage(request: pytest.FixtureRequest) -> Outage:
    return run(Outage(hangs=request.param).play())


def opened_at(outage: Outage) -> float:
    """When every model had failed three times: soon, or after each in turn had been given all its time."""
    return DOWN_FROM + (3 * 48 + 6 if outage.hangs else 15)


def test_every_guest_gets_a_picture(outage: Outage) -> None:
    assert len(outage.delivered) == PHOTOS
    assert all(source is not None for _, _, source in outage.delivered)


def test_once_the_breaker_is_open_the_outage_is_not_felt(outage: Outage) -> None:
    before, during = outage.p95(0, DOWN_FROM), outage.p95(opened_at(outage), DOWN_UNTIL)
    assert during <= 1.1 * before


def test_only_probes_reach_the_provider_meanwhile(outage: Outage) -> None:
    probes = [at for at in outage.asked_while_down if at > opened_at(outage)]
    pauses = [later - earlier for earlier, later in itertools.pairwise(probes)]
    assert len(probes) <= (DOWN_UNTIL - DOWN_FROM) / 5
    assert min(pauses) >= 4.9
    assert statistics.median(pauses) >= 24


def test_the_provider_is_in_use_again_soon_after(outage: Outage) -> None:
    first = min(
        began + took
        for began, took, source in outage.delivered
        if began > DOWN_UNTIL - 48 and source is ResultSource.PROVIDER and began + took > DOWN_UNTIL
    )
    assert first - CALL_SEC <= DOWN_UNTIL + 30, "the call that brought it back began within half a minute"
    calls_after = [at for at, _, source in outage.delivered if at > first and source is ResultSource.PROVIDER]
    assert len(calls_after) > 0.9 * 2 * (END - first - 1)


def test_there_is_no_herd_when_it_is_back(outage: Outage) -> None:
    begun = sorted(
        began
        for began, _, source in outage.delivered
        if source is ResultSource.PROVIDER and began > DOWN_UNTIL
    )
    assert begun[1] - begun[0] >= CALL_SEC - 1, "the others waited for the probe"
