"""The count of provider calls in memory."""

from collections.abc import Sequence
from datetime import datetime

from photochanger.adapters.memory.records import MemoryRecords, Usage
from photochanger.application.ports.providers import ProviderUsage
from photochanger.domain.quota import ProviderUsed, Quota, QuotaWindow


class MemoryProviderUsage(ProviderUsage):
    """One count for each provider, in a dictionary."""

    def __init__(self, records: MemoryRecords) -> None:
        self._records = records

    async def take(self, provider: str, quota: Quota) -> float | None:
        """Count one call, or return the seconds until there is room."""
        now = self._records.clock.now()
        used = self._used(provider, now)
        if quota.per_day is not None and used.today >= quota.per_day:
            return (QuotaWindow.DAY.end(now) - now).total_seconds()
        if quota.per_minute is not None and used.this_minute >= quota.per_minute:
            return (QuotaWindow.MINUTE.end(now) - now).total_seconds()
        self._records.usage[provider] = Usage(
            counted_at=now, in_minute=used.this_minute + 1, on_day=used.today + 1
        )
        return None

    async def used(self) -> Sequence[ProviderUsed]:
        """Return what was counted for every provider with a call on the present day."""
        now = self._records.clock.now()
        all_of_them = [self._used(provider, now) for provider in sorted(self._records.usage)]
        return [used for used in all_of_them if used.today]

    def _used(self, provider: str, now: datetime) -> ProviderUsed:
        usage = self._records.usage.get(provider, Usage(counted_at=now, in_minute=0, on_day=0))
        same_minute, same_day = (
            window.start(usage.counted_at) == window.start(now)
            for window in (QuotaWindow.MINUTE, QuotaWindow.DAY)
        )
        return ProviderUsed(
            provider=provider,
            this_minute=usage.in_minute if same_minute else 0,
            today=usage.on_day if same_day else 0,
        )
