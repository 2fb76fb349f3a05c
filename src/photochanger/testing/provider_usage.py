"""The contract of `ProviderUsage`.

Windows begin by the store's clock, which may be a real one. So what has to happen inside one window is done
again, for another provider, where a window has ended meanwhile; and nothing waits for one to end.
"""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import TypeVar

import pytest

from photochanger.domain.media import MediaId, MediaKind
from photochanger.domain.quota import ProviderUsed, Quota, QuotaWindow
from photochanger.testing.harness import MINUTE, Records, RecordsContract, announced, new_id

_T = TypeVar("_T")
_DAY = timedelta(days=1)
_NO_LIMIT = Quota()


async def _now(records: Records) -> datetime:
    image = await announced(records, MediaKind.PREVIEW)
    return await _read_clock(records, image.media_id)


async def _read_clock(records: Records, media_id: MediaId) -> datetime:
    reading = await records.media.peek(media_id)
    assert reading is not None
    return reading.now


async def inside(
    window: QuotaWindow, records: Records, do: Callable[[str], Awaitable[_T]], *, after: timedelta = _DAY * 0
) -> _T:
    """Return what `do` returns for a provider of its own, all of it within one window.

    `after` is how long the window must have lasted, where `do` lets that much time pass.
    """
    while True:
        begun = await _now(records)
        if begun - after < window.start(begun):
            pytest.skip(f"in a {window.value} that is younger than {after}")
        outcome = await do(f"provider-{new_id()}")
        if await _now(records) < window.end(begun):
            return outcome


async def _used(records: Records, provider: str) -> tuple[int, int]:
    found = [used for used in await records.usage.used() if used.provider == provider]
    return (found[0].this_minute, found[0].today) if found else (0, 0)


class ProviderUsageContract(RecordsContract):
    """Every sentence of `ProviderUsage`; override the fixture `records`."""

    async def test_a_call_within_the_quota_is_counted_in_both_windows(self, records: Records) -> None:
        async def take(provider: str) -> ProviderUsed:
            for _ in range(3):
                assert await records.usage.take(provider, Quota(per_minute=3, per_day=3)) is None
            [used] = [used for used in await records.usage.used() if used.provider == provider]
            return used

        used = await inside(QuotaWindow.MINUTE, records, take)
        assert (used.this_minute, used.today) == (3, 3)

    @pytest.mark.parametrize(
        ("quota", "window"),
        [
            (Quota(per_minute=2), QuotaWindow.MINUTE),
            (Quota(per_minute=2, per_day=3), QuotaWindow.MINUTE),
            (Quota(per_day=2), QuotaWindow.DAY),
            (Quota(per_minute=3, per_day=2), QuotaWindow.DAY),
            (Quota(per_minute=2, per_day=2), QuotaWindow.DAY),
        ],
    )
    async def test_where_a_window_is_full_the_wait_is_until_its_end(
        self, records: Records, quota: Quota, window: QuotaWindow
    ) -> None:
        async def take(provider: str) -> tuple[float, float, float]:
            for _ in range(2):
                assert await records.usage.take(provider, quota) is None
            before = await _now(records)
            wait_sec = await records.usage.take(provider, quota)
            after = await _now(records)
            assert wait_sec is not None
            longest, shortest = ((window.end(before) - now).total_seconds() for now in (before, after))
            return shortest, wait_sec, longest

        shortest, wait_sec, longest = await inside(QuotaWindow.MINUTE, records, take)
        assert shortest <= wait_sec <= longest

    @pytest.mark.parametrize("quota", [Quota(per_minute=1), Quota(per_day=1)])
    async def test_what_is_refused_is_not_counted(self, records: Records, quota: Quota) -> None:
        async def take(provider: str) -> tuple[int, int]:
            for _ in range(3):
                await records.usage.take(provider, quota)
            return await _used(records, provider)

        assert await inside(QuotaWindow.MINUTE, records, take) == (1, 1)

    @pytest.mark.parametrize("quota", [Quota(per_minute=0), Quota(per_day=0)])
    async def test_a_quota_of_nought_lets_nobody_in(self, records: Records, quota: Quota) -> None:
        for _ in range(3):
            assert await records.usage.take("nobody", quota) is not None
        assert await records.usage.used() == []

    async def test_without_a_limit_calls_are_counted_without_bound(self, records: Records) -> None:
        async def take(provider: str) -> tuple[int, int]:
            for _ in range(20):
                assert await records.usage.take(provider, _NO_LIMIT) is None
            return await _used(records, provider)

        assert await inside(QuotaWindow.MINUTE, records, take) == (20, 20)

    async def test_a_changed_quota_is_judged_by_what_was_counted_before(self, records: Records) -> None:
        async def take(provider: str) -> list[bool]:
            quotas = [_NO_LIMIT, _NO_LIMIT, Quota(per_minute=2), Quota(per_minute=1), Quota(per_minute=3)]
            return [await records.usage.take(provider, quota) is None for quota in quotas]

        assert await inside(QuotaWindow.MINUTE, records, take) == [True, True, False, False, True]

    async def test_a_new_minute_begins_at_nought(self, records: Records) -> None:
        assert await records.usage.take("p", Quota(per_minute=1)) is None
        await records.time_passes(MINUTE)
        assert await records.usage.take("p", Quota(per_minute=1)) is None

    async def test_a_day_outlasts_its_minutes(self, records: Records) -> None:
        async def take(provider: str) -> tuple[bool, tuple[int, int]]:
            quota = Quota(per_minute=1, per_day=1)
            await records.usage.take(provider, quota)
            await records.time_passes(MINUTE)
            refused = await records.usage.take(provider, quota) is not None
            return refused, await _used(records, provider)

        assert await inside(QuotaWindow.DAY, records, take, after=MINUTE) == (True, (0, 1))

    async def test_a_new_day_begins_at_nought(self, records: Records) -> None:
        for _ in range(2):
            assert await records.usage.take("p", Quota(per_day=1)) is None
            await records.time_passes(_DAY)
        assert await records.usage.used() == []

    async def test_a_refused_call_makes_no_window_longer(self, records: Records) -> None:
        quota = Quota(per_minute=1, per_day=1)
        await records.usage.take("p", quota)
        await records.usage.take("p", quota)
        await records.time_passes(_DAY)
        assert await records.usage.take("p", quota) is None

    async def test_providers_are_counted_each_by_itself(self, records: Records) -> None:
        for provider in ("b", "a"):
            assert await records.usage.take(provider, Quota(per_minute=1)) is None
        assert await records.usage.take("c", Quota(per_day=0)) is not None
        assert [used.provider for used in await records.usage.used()] == ["a", "b"]

    async def test_nothing_is_used_at_first(self, records: Records) -> None:
        assert await records.usage.used() == []

    @pytest.mark.parametrize("quota", [Quota(per_minute=7), Quota(per_day=7), Quota(per_minute=7, per_day=9)])
    async def test_no_number_of_concurrent_callers_gets_beyond_the_quota(
        self, records: Records, quota: Quota
    ) -> None:
        async def take(provider: str) -> tuple[int, tuple[int, int]]:
            waits = await asyncio.gather(*(records.usage.take(provider, quota) for _ in range(40)))
            return waits.count(None), await _used(records, provider)

        assert await inside(QuotaWindow.MINUTE, records, take) == (7, (7, 7))
