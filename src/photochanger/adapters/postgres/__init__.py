"""PostgreSQL ≥ 15: the records of PhotoChanger, the queue, and the signals between processes.

Rules of this package:

1. Every change is one statement in autocommit: one round trip, and no transaction that a stalled process
   could leave open.
2. A statement that changes a job first locks its row, then reads the clock, then judges by the state
   machine's own table, then writes: see `transitions`.
3. Nothing but `errors` decides what the rest of the program sees of a database error.
"""

from photochanger.adapters.postgres.audit import PostgresAuditLog
from photochanger.adapters.postgres.history import PostgresJobHistory
from photochanger.adapters.postgres.housekeeping import PostgresHousekeeping
from photochanger.adapters.postgres.ingest_gate import PostgresIngestGate
from photochanger.adapters.postgres.installation import PostgresInstallation
from photochanger.adapters.postgres.jobs import PostgresJobRepository
from photochanger.adapters.postgres.login_throttle import PostgresLoginThrottle
from photochanger.adapters.postgres.media import PostgresMediaRegistry
from photochanger.adapters.postgres.migrations import current_revision, is_current, migrate
from photochanger.adapters.postgres.pool import create_pool
from photochanger.adapters.postgres.sessions import PostgresSessionRepository
from photochanger.adapters.postgres.settings import PostgresSettingsRepository
from photochanger.adapters.postgres.signals import PostgresSignals
from photochanger.adapters.postgres.slots import PostgresSlotRepository
from photochanger.adapters.postgres.statistics import PostgresStatistics
from photochanger.adapters.postgres.templates import PostgresTemplateRepository
from photochanger.adapters.postgres.usage import PostgresProviderUsage

__all__ = [
    "PostgresAuditLog",
    "PostgresHousekeeping",
    "PostgresIngestGate",
    "PostgresInstallation",
    "PostgresJobHistory",
    "PostgresJobRepository",
    "PostgresLoginThrottle",
    "PostgresMediaRegistry",
    "PostgresProviderUsage",
    "PostgresSessionRepository",
    "PostgresSettingsRepository",
    "PostgresSignals",
    "PostgresSlotRepository",
    "PostgresStatistics",
    "PostgresTemplateRepository",
    "create_pool",
    "current_revision",
    "is_current",
    "migrate",
]
