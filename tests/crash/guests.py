"""Guests, who look at results, previews, galleries and jobs; and the passing of time, that ends results."""

import asyncio
from typing import Final

from tests.crash.ledger import Fate, Result
from tests.crash.line import Heard
from tests.crash.scenery import SLOTS, Scenery
from tests.crash.store import end_result

AGED_ONE_IN: Final = 4
"""So many results there are for each whose time is let pass."""


async def look(scenery: Scenery, result: Result, *, preview: bool = False) -> None:
    """Download a result or its preview, and judge what comes by what its client was told."""
    expected = result.fate
    heard = await scenery.line.ask("GET", result.path + ("/preview" if preview else ""))
    if heard is None:
        return
    ledger, what = scenery.ledger, f"the {'preview' if preview else 'result'} of job {result.job_id}"
    match heard.status:
        case 200:
            ledger.counts["results downloaded and compared"] += 1
            if expected is Fate.ENDED:
                ledger.violated(f"{what} is there after its end")
            (ledger.compare_preview if preview else ledger.compare)(result, heard.body)
            result.seen(gone=False, asked_at=heard.sent_at)
        case 410:
            ledger.counts["results seen to have ended"] += 1
            if result.fate is Fate.LIVE:
                ledger.violated(f"{what} is gone before its time")
            result.seen(gone=True, asked_at=heard.sent_at)
        case status:
            ledger.violated(f"{what} was answered {status}: {heard.body[:200]!r}")


class Guest:
    """Looks at results, previews, galleries and jobs."""

    def __init__(self, scenery: Scenery, number: int) -> None:
        self._scenery = scenery
        self._choices = scenery.choices(f"guest {number}")

    async def run(self) -> None:
        """Look around until the load is over."""
        while await self._scenery.goes_on():
            results = list(self._scenery.ledger.results.values())
            if results:
                await self._choices.choice([self._result, self._preview, self._part, self._job])(
                    self._choices.choice(results[-60:])
                )
            await self._gallery(self._choices.choice(list(SLOTS)))
            await asyncio.sleep(self._choices.uniform(0, 0.2))

    async def _result(self, result: Result) -> None:
        await look(self._scenery, result)

    async def _preview(self, result: Result) -> None:
        await look(self._scenery, result, preview=True)

    async def _part(self, result: Result) -> None:
        expected = result.fate
        heard = await self._scenery.line.ask("GET", result.path, headers={"Range": "bytes=10-99"})
        self._judge(result, expected, heard, whole=(206, 410))

    async def _job(self, result: Result) -> None:
        expected = result.fate
        heard = await self._scenery.line.ask("GET", f"/api/jobs/{result.job_id}")
        self._judge(result, expected, heard, whole=(200, 404))

    def _judge(self, result: Result, expected: Fate, heard: Heard | None, *, whole: tuple[int, int]) -> None:
        if heard is None or result.fate is not expected:
            return
        there, gone = whole
        allowed = {Fate.LIVE: {there}, Fate.ENDED: {gone}, Fate.EITHER: {there, gone}}[expected]
        if heard.status not in allowed:
            self._scenery.ledger.violated(
                f"job {result.job_id}, whose result is {expected}, was answered {heard.status}"
            )

    async def _gallery(self, slot_id: str) -> None:
        ledger = self._scenery.ledger
        ended = {job_id for job_id, result in ledger.results.items() if result.ended}
        heard = await self._scenery.line.ask("GET", f"/public/slots/{slot_id}")
        if heard is None:
            return
        ledger.counts["galleries"] += 1
        if heard.status != 200:
            ledger.violated(f"a gallery was answered {heard.status}")
            return
        for item in heard.document["items"]:
            if item["job_id"] in ended:
                ledger.violated(f"the gallery shows the result of job {item['job_id']} after its end")


class TimeMachine:
    """Lets the time to live of a result be over now and then."""

    def __init__(self, scenery: Scenery) -> None:
        self._scenery = scenery
        self._choices = scenery.choices("time machine")

    async def run(self) -> None:
        """Age results until the load is over."""
        ledger = self._scenery.ledger
        while await self._scenery.goes_on():
            live = [result for result in ledger.results.values() if result.fate is Fate.LIVE]
            if len(live) > 5 and ledger.counts["results aged"] < len(ledger.results) / AGED_ONE_IN:
                result = self._choices.choice(live)
                ending = ledger.ending(result.slot_id, only=result)
                await end_result(self._scenery.container, result.job_id)
                ledger.ended(ending, acknowledged=True)
                ledger.counts["results aged"] += 1
            await asyncio.sleep(self._choices.uniform(0.5, 3))
