"""Booths that go on sending photos, whatever happens, and what they saw."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

from photochanger.entrypoints.cli.processes import ServeProcess
from tests.resilience.trouble import Seen, photo_to
from tests.system.installation import SLOT

_PAUSE_AFTER_REFUSAL_SEC: Final = 0.05


@dataclass(kw_only=True)
class Load:
    """Photos that were sent, all by now."""

    seen: list[Seen] = field(default_factory=list)

    def outcomes(self) -> Counter[str]:
        """Return how often which status came, with its code."""
        return Counter(f"{each.status} {each.code}".strip() for each in self.seen)

    def delivered(self) -> list[Seen]:
        """Return those that were answered with a picture."""
        return [each for each in self.seen if each.status == 200]

    def back_sec(self, since: float) -> float:
        """Return how long after the moment `since` the first picture came of a photo sent then or later."""
        return min(each.at + each.seconds for each in self.delivered() if each.at >= since) - since


@asynccontextmanager
async def photos_sent_to(
    server: ServeProcess, *, booths: int = 4, slot_id: str = SLOT
) -> AsyncIterator[Load]:
    """Have booths send one photo after the other during the context, each waiting for its answer."""
    load, is_over = Load(), asyncio.Event()

    async def booth() -> None:
        while not is_over.is_set():
            seen = await photo_to(server, slot_id)
            load.seen.append(seen)
            if seen.status == 503:
                await asyncio.sleep(_PAUSE_AFTER_REFUSAL_SEC)

    async with asyncio.TaskGroup() as group:
        for _ in range(booths):
            group.create_task(booth())
        yield load
        is_over.set()


async def delivered_since(load: Load, since: float, count: int = 10) -> None:
    """Wait until so many photos that were sent after `since` have been delivered."""
    async with asyncio.timeout(60):
        while sum(each.at > since for each in load.delivered()) < count:  # noqa: ASYNC110 - no signal
            await asyncio.sleep(0.02)


def now() -> float:
    """Return the time on the clock of `Seen.at`."""
    return time.monotonic()
