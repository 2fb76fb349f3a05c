"""The PostgreSQL repositories over one pool, as the suites for records want them."""

from photochanger.adapters.postgres import (
    PostgresAuditLog,
    PostgresHousekeeping,
    PostgresJobHistory,
    PostgresJobRepository,
    PostgresLoginThrottle,
    PostgresMediaRegistry,
    PostgresProviderUsage,
    PostgresSessionRepository,
    PostgresSettingsRepository,
    PostgresSlotRepository,
    PostgresStatistics,
    PostgresTemplateRepository,
)
from photochanger.adapters.postgres.pool import Pool
from photochanger.application.signal_hub import SignalHub


class PostgresRecords:
    """Everything that is stored, announced in this process through `hub`."""

    def __init__(self, pool: Pool, hub: SignalHub) -> None:
        self.signals = hub
        self.jobs = PostgresJobRepository(pool, hub)
        self.media = PostgresMediaRegistry(pool)
        self.slots = PostgresSlotRepository(pool, hub)
        self.settings = PostgresSettingsRepository(pool, hub)
        self.templates = PostgresTemplateRepository(pool)
        self.usage = PostgresProviderUsage(pool)
        self.audit = PostgresAuditLog(pool)
        self.history = PostgresJobHistory(pool)
        self.statistics = PostgresStatistics(pool)
        self.sessions = PostgresSessionRepository(pool)
        self.housekeeping = PostgresHousekeeping(pool)
        self.throttle = PostgresLoginThrottle(pool)
