import asyncio
import time

import pytest

from photochanger.adapters.telemetry.event_loop import watch_event_loop

pytestmark = pytest.mark.anyio


async def test_a_blocked_loop_is_noticed() -> None:
    lags: list[float] = []
    task = asyncio.create_task(watch_event_loop(lags.append, interval_sec=0.01))
    await asyncio.sleep(0.035)
    quiet = len(lags)
    time.sleep(0.1)  # noqa: ASYNC251 -- blocking is what is tested
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert quiet >= 1
    assert max(lags) > 0.07
    assert min(lags) >= 0
