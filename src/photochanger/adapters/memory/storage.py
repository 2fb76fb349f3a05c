"""All of the storage in memory, wired together."""

from photochanger.adapters.memory.audit import MemoryAuditLog
from photochanger.adapters.memory.clock import ManualClock
from photochanger.adapters.memory.configuration import MemorySettingsRepository, MemorySlotRepository
from photochanger.adapters.memory.history import MemoryJobHistory
from photochanger.adapters.memory.housekeeping import MemoryHousekeeping
from photochanger.adapters.memory.ingest_gate import MemoryIngestGate
from photochanger.adapters.memory.installation import MemoryInstallation
from photochanger.adapters.memory.jobs import MemoryJobRepository
from photochanger.adapters.memory.login_throttle import MemoryLoginThrottle
from photochanger.adapters.memory.media import MemoryMediaRegistry
from photochanger.adapters.memory.media_store import MemoryMediaStore
from photochanger.adapters.memory.records import MemoryRecords
from photochanger.adapters.memory.sessions import MemorySessionRepository
from photochanger.adapters.memory.statistics import MemoryStatistics
from photochanger.adapters.memory.templates import MemoryTemplateRepository
from photochanger.adapters.memory.usage import MemoryProviderUsage
from photochanger.application.ports.clock import Clock
from photochanger.application.signal_hub import SignalHub


class MemoryStorage:
    """Repositories over one set of records, a media store, and the signals between them.

    `clock` is the store's clock, by which deadlines and leases are judged; by default one that stands still.
    """

    def __init__(self, clock: Clock | None = None) -> None:
        self.signals = SignalHub()
        self.records = MemoryRecords(clock=clock or ManualClock(), hub=self.signals)
        self.jobs = MemoryJobRepository(self.records)
        self.media = MemoryMediaRegistry(self.records)
        self.slots = MemorySlotRepository(self.records)
        self.settings = MemorySettingsRepository(self.records)
        self.templates = MemoryTemplateRepository(self.records)
        self.usage = MemoryProviderUsage(self.records)
        self.audit = MemoryAuditLog(self.records)
        self.history = MemoryJobHistory(self.records)
        self.statistics = MemoryStatistics(self.records)
        self.sessions = MemorySessionRepository(self.records)
        self.housekeeping = MemoryHousekeeping(self.records)
        self.throttle = MemoryLoginThrottle(self.records)
        self.gate = MemoryIngestGate(self.records)
        self.installation = MemoryInstallation()
        self.files = MemoryMediaStore()
