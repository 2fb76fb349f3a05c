"""The PostgreSQL repositories over one pool, as the suites for records want them."""

from datetime import timedelta
from typing import Final

from photochanger.adapters.postgres import (
    PostgresAuditLog,
    PostgresHousekeeping,
    PostgresIngestGate,
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

OVER_THE_TRIGGERS: Final = "SET LOCAL session_replication_role = replica"
"""Lets a transaction change the audit log, which no program may."""

_TIME_PASSES: Final = (
    """UPDATE job SET created_at = created_at - %(by)s, deadline = deadline - %(by)s,
        lease_expires_at = lease_expires_at - %(by)s, started_at = started_at - %(by)s,
        finalized_at = finalized_at - %(by)s""",
    """UPDATE media_object SET created_at = created_at - %(by)s, expires_at = expires_at - %(by)s,
        offer_at = offer_at - %(by)s, fetched_at = fetched_at - %(by)s""",
    "UPDATE session SET created_at = created_at - %(by)s, expires_at = expires_at - %(by)s",
    "UPDATE login_throttle SET ends_at = ends_at - %(by)s",
    "UPDATE audit_event SET at = at - %(by)s",
    """UPDATE sweeper SET lease_expires_at = lease_expires_at - %(by)s, swept_at = swept_at - %(by)s,
        compared_at = compared_at - %(by)s""",
    "UPDATE template SET created_at = created_at - %(by)s",
    "UPDATE provider_usage SET counted_at = counted_at - %(by)s, full_until = full_until - %(by)s",
    "UPDATE ingest_rate SET tat = tat - %(by)s",
    "UPDATE worker_process SET expires_at = expires_at - %(by)s",
    # What was added up belongs to hours that are others now; it is added up again when that is asked for.
    "DELETE FROM job_tally",
    "UPDATE job_tally_progress SET until = DEFAULT",
)


class PostgresRecords:
    """Everything that is stored, announced in this process through `hub`."""

    def __init__(self, pool: Pool, hub: SignalHub) -> None:
        self.signals = hub
        self._pool = pool
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
        self.gate = PostgresIngestGate(pool)
        self.throttle = PostgresLoginThrottle(pool)

    async def time_passes(self, by: timedelta) -> None:
        """Set every stored moment back."""
        async with self._pool.connection() as connection, connection.transaction():
            await connection.execute(OVER_THE_TRIGGERS)
            for statement in _TIME_PASSES:
                await connection.execute(statement, {"by": by})
