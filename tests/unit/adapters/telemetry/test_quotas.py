"""The quotas in the metrics."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from photochanger.adapters.memory import ManualClock, MemoryStorage
from photochanger.adapters.telemetry.metrics import Metrics
from photochanger.adapters.telemetry.quotas import ShowQuotas
from photochanger.application.configuration import CurrentConfiguration
from photochanger.domain.quota import Quota
from photochanger.domain.settings import LimitSettings
from photochanger.testing.harness import an_entry

pytestmark = pytest.mark.anyio

Shown = Callable[[str, str, str], float | None]


@pytest.fixture
def shown(value: Callable[..., float | None]) -> Shown:
    """Returns what is shown of a provider's window."""
    return lambda what, provider, window: value(
        f"photochanger_provider_quota_{what}", provider=provider, window=window
    )


async def test_what_is_counted_and_allowed_is_shown_for_every_provider(
    metrics: Metrics, shown: Shown
) -> None:
    clock = ManualClock()
    storage = MemoryStorage(clock)
    limits = LimitSettings(quota_per_minute={"gemini": 60}, quota_per_day={"gemini": 900})
    settings = await storage.settings.get()
    await storage.settings.save(replace(settings, limits=limits), entry=an_entry("test"))
    configuration = CurrentConfiguration(
        slots=storage.slots, settings=storage.settings, signals=storage.signals, clock=clock
    )
    show = ShowQuotas(
        usage=storage.usage, configuration=configuration, providers=["gemini", "dream"], metrics=metrics
    )
    for provider in ("gemini", "gemini", "uninstalled"):
        await storage.usage.take(provider, Quota())

    await show()
    assert [shown("used", "gemini", window) for window in ("minute", "day")] == [2, 2]
    assert [shown("limit", "gemini", window) for window in ("minute", "day")] == [60, 900]
    assert [shown("used", "dream", window) for window in ("minute", "day")] == [0, 0]
    assert shown("limit", "dream", "day") == float("inf")
    assert shown("used", "other", "day") is None

    clock.advance(timedelta(minutes=1))
    await show()
    assert [shown("used", "gemini", window) for window in ("minute", "day")] == [0, 2]
    clock.advance(timedelta(days=1))
    await show()
    assert [shown("used", "gemini", window) for window in ("minute", "day")] == [0, 0]
