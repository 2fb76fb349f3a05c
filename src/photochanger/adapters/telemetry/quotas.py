"""Shows the providers' quotas in the metrics."""

from collections.abc import Collection

from photochanger.adapters.telemetry.metrics import Metrics
from photochanger.application.configuration import CurrentConfiguration
from photochanger.application.ports import ProviderUsage
from photochanger.domain.quota import ProviderUsed, QuotaWindow


class ShowQuotas:
    """Reads what has been counted and what is allowed, for every provider of this installation.

    Raises `DatabaseUnavailable` where it cannot; the metrics then show what was so before.
    """

    def __init__(
        self,
        *,
        usage: ProviderUsage,
        configuration: CurrentConfiguration,
        providers: Collection[str],
        metrics: Metrics,
    ) -> None:
        self._usage = usage
        self._configuration = configuration
        self._providers = providers
        self._metrics = metrics

    async def __call__(self) -> None:
        """Bring the metrics up to date."""
        limits = (await self._configuration.get()).settings.limits
        counted = {used.provider: used for used in await self._usage.used()}
        for provider in self._providers:
            used = counted.get(provider, ProviderUsed(provider=provider, this_minute=0, today=0))
            quota = limits.quota(provider)
            self._metrics.quota_seen(provider, QuotaWindow.MINUTE, used.this_minute, quota.per_minute)
            self._metrics.quota_seen(provider, QuotaWindow.DAY, used.today, quota.per_day)
