"""What is going on, as the metrics show it."""

import math
from collections.abc import Callable
from datetime import timedelta

import pytest

from photochanger.adapters.memory import ManualClock, MemoryStorage
from photochanger.adapters.telemetry.metrics import Level, Metrics
from photochanger.adapters.telemetry.present import ShowPresent
from photochanger.domain.errors import DatabaseUnavailable
from photochanger.domain.job import JobState
from photochanger.testing.harness import a_job_in

pytestmark = pytest.mark.anyio

Value = Callable[..., float | None]


class _Storage(MemoryStorage):
    def __init__(self) -> None:
        self.clock = ManualClock()
        super().__init__(self.clock)

    async def time_passes(self, by: timedelta) -> None:
        self.clock.advance(by)


def _shown(value: Value) -> list[float]:
    levels = [value(level.value) for level in (Level.QUEUE_DEPTH, Level.QUEUE_OLDEST_WAIT, Level.MEDIA_BYTES)]
    return [level for level in levels if level is not None]


async def test_levels_are_shown_as_they_were_last_read(metrics: Metrics, value: Value) -> None:
    storage = _Storage()
    show = ShowPresent(statistics=storage.statistics, metrics=metrics)
    assert [math.isnan(level) for level in _shown(value)] == [True, True, True]
    await show()
    assert _shown(value) == [0, 0, 0]
    job = (await a_job_in(storage, JobState.PENDING)).job
    await storage.time_passes(timedelta(seconds=90))
    assert _shown(value) == [0, 0, 0]
    await show()
    payload = await storage.media.get(job.payload_id)
    assert payload is not None
    assert _shown(value) == [1, 90, payload.size_bytes]


async def test_what_cannot_be_read_is_shown_as_it_was(
    metrics: Metrics, value: Value, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = _Storage()
    show = ShowPresent(statistics=storage.statistics, metrics=metrics)
    await a_job_in(storage, JobState.PENDING)
    await show()
    before = _shown(value)

    async def away() -> None:
        raise DatabaseUnavailable

    monkeypatch.setattr(storage.statistics, "present", away)
    with pytest.raises(DatabaseUnavailable):
        await show()
    assert _shown(value) == before
    assert before[0] == 1
