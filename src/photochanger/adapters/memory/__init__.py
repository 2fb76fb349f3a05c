"""Everything in memory: for tests, for trying things out, and for programs that use the core as a library.

Held to the same contract suites as the adapters for production; only durability is missing.
"""

from photochanger.adapters.memory.accounts import MemoryAccountRepository
from photochanger.adapters.memory.audit import MemoryAuditLog
from photochanger.adapters.memory.clock import ManualClock
from photochanger.adapters.memory.configuration import MemorySettingsRepository, MemorySlotRepository
from photochanger.adapters.memory.history import MemoryJobHistory
from photochanger.adapters.memory.housekeeping import MemoryHousekeeping
from photochanger.adapters.memory.installation import MemoryInstallation
from photochanger.adapters.memory.jobs import MemoryJobRepository
from photochanger.adapters.memory.login_throttle import MemoryLoginThrottle
from photochanger.adapters.memory.media import MemoryMediaRegistry
from photochanger.adapters.memory.media_store import MemoryMediaStore
from photochanger.adapters.memory.password_hasher import FastPasswordHasherForTests
from photochanger.adapters.memory.records import MemoryRecords
from photochanger.adapters.memory.sessions import MemorySessionRepository
from photochanger.adapters.memory.statistics import MemoryStatistics
from photochanger.adapters.memory.storage import MemoryStorage
from photochanger.adapters.memory.templates import MemoryTemplateRepository
from photochanger.adapters.memory.usage import MemoryProviderUsage

__all__ = [
    "FastPasswordHasherForTests",
    "ManualClock",
    "MemoryAccountRepository",
    "MemoryAuditLog",
    "MemoryHousekeeping",
    "MemoryInstallation",
    "MemoryJobHistory",
    "MemoryJobRepository",
    "MemoryLoginThrottle",
    "MemoryMediaRegistry",
    "MemoryMediaStore",
    "MemoryProviderUsage",
    "MemoryRecords",
    "MemorySessionRepository",
    "MemorySettingsRepository",
    "MemorySlotRepository",
    "MemoryStatistics",
    "MemoryStorage",
    "MemoryTemplateRepository",
]
