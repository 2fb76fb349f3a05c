"""Readiness tells the truth about the media store, without asking it too often or waiting too long."""

import asyncio
from datetime import timedelta

import pytest

from photochanger.adapters.memory import ManualClock, MemoryMediaStore, MemoryStorage
from photochanger.domain.errors import StorageUnavailable
from photochanger.entrypoints import readiness as module
from photochanger.entrypoints.readiness import MEDIA_KNOWN_FOR_SEC, Readiness

pytestmark = pytest.mark.anyio


class Store(MemoryMediaStore):
    """A store that is there or not, and counts how often it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0
        self.was_asked = asyncio.Event()
        self.is_there = True
        self.answers = asyncio.Event()
        self.answers.set()

    async def ping(self) -> None:
        self.asked += 1
        self.was_asked.set()
        await self.answers.wait()
        if not self.is_there:
            raise StorageUnavailable


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def readiness(clock: ManualClock, store: Store) -> Readiness:
    return Readiness(
        settings=MemoryStorage(clock).settings, store=store, clock=clock, catalogue={}, paused=lambda: ()
    )


async def test_the_media_store_is_asked_now_and_then(
    readiness: Readiness, store: Store, clock: ManualClock
) -> None:
    assert await readiness.problems() == []
    store.is_there = False
    assert await readiness.problems() == []
    clock.advance(timedelta(seconds=MEDIA_KNOWN_FOR_SEC))
    assert await readiness.problems() == ["media"]
    store.is_there = True
    assert await readiness.problems() == ["media"]
    clock.advance(timedelta(seconds=MEDIA_KNOWN_FOR_SEC))
    assert await readiness.problems() == []
    assert store.asked == 3


async def test_many_questions_at_once_are_one(readiness: Readiness, store: Store) -> None:
    answers = await asyncio.gather(*(readiness.problems() for _ in range(10)))
    assert answers == [[]] * 10
    assert store.asked == 1


async def test_a_store_that_does_not_answer_is_not_there(
    readiness: Readiness, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PATIENCE_SEC", 0.02)
    store.answers.clear()
    assert await readiness.problems() == ["media"]


async def test_who_hangs_up_does_not_keep_the_others_from_asking(readiness: Readiness, store: Store) -> None:
    store.answers.clear()
    asking = asyncio.create_task(readiness.problems())
    await store.was_asked.wait()
    asking.cancel()
    await asyncio.wait({asking})
    store.answers.set()
    assert await readiness.problems() == []
