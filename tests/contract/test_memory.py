"""The in-memory adapters, held to the contracts."""

from collections.abc import Callable

import pytest

from photochanger.adapters.memory import (
    FastPasswordHasherForTests,
    ManualClock,
    MemoryAccountRepository,
    MemoryMediaStore,
    MemoryStorage,
)
from photochanger.adapters.system_clock import SystemClock
from photochanger.application.ports import (
    AccountRepository,
    AuditFilter,
    Clock,
    Installation,
    MediaStore,
    PasswordHasher,
    Signals,
    Topic,
)
from photochanger.application.signal_hub import SignalHub
from photochanger.testing.accounts import AccountRepositoryContract
from photochanger.testing.audit_log import AuditLogContract
from photochanger.testing.auth import PasswordHasherContract
from photochanger.testing.clock import ClockContract
from photochanger.testing.harness import HOUR, Records, an_entry
from photochanger.testing.history import JobHistoryContract
from photochanger.testing.housekeeping import HousekeepingContract
from photochanger.testing.ingest_gate import IngestGateContract
from photochanger.testing.installation import InstallationContract
from photochanger.testing.jobs import JobRepositoryContract
from photochanger.testing.login_throttle import LoginThrottleContract
from photochanger.testing.media_registry import MediaRegistryContract
from photochanger.testing.media_store import MediaStoreContract
from photochanger.testing.provider_usage import ProviderUsageContract
from photochanger.testing.sessions import SessionRepositoryContract
from photochanger.testing.signals import Announce, SignalsContract
from photochanger.testing.slots import SettingsRepositoryContract, SlotRepositoryContract
from photochanger.testing.statistics import StatisticsContract
from photochanger.testing.templates import TemplateRepositoryContract


class _OnTheSystemsClock(MemoryStorage):
    def __init__(self) -> None:
        super().__init__(SystemClock())

    async def time_passes(self, by: object) -> None:
        raise NotImplementedError


class TestMemoryJobs(JobRepositoryContract):
    @pytest.fixture
    def records(self, memory_records: Records) -> Records:
        return memory_records

    @pytest.fixture
    def racing_records(self) -> Records:
        return _OnTheSystemsClock()


class TestMemoryMedia(MediaRegistryContract):
    @pytest.fixture
    def records(self, memory_records: Records) -> Records:
        return memory_records


class TestMemorySlots(SlotRepositoryContract):
    @pytest.fixture
    def records(self, memory_records: Records) -> Records:
        return memory_records


class TestMemoryTemplates(TemplateRepositoryContract):
    @pytest.fixture
    def records(self, memory_records: Records) -> Records:
        return memory_records


class TestMemoryUsage(ProviderUsageContract):
    @pytest.fixture
    def records(self, memory_records: Records) -> Records:
        return memory_records


class TestMemoryGate(IngestGateContract):
    @pytest.fixture
    def records(self, memory_records: Records) -> Records:
        return memory_records


class TestMemoryAudit(AuditLogContract):
    @pytest.fixture
    def records(self, memory_records: Records) -> Records:
        return memory_records

    async def test_the_order_is_that_of_the_ids_though_the_clock_goes_back(self) -> None:
        clock = ManualClock()
        storage = MemoryStorage(clock)
        for subject in "abc":
            await storage.audit.add(an_entry(subject=subject))
            clock.set_now(clock.now() - HOUR)
        events = await storage.audit.page(AuditFilter(), limit=10)
        assert [event.entry.subject for event in events] == ["c", "b", "a"]
        assert events[0].at < events[1].at < events[2].at


class TestMemoryHistory(JobHistoryContract):
    @pytest.fixture
    def records(self, memory_records: Records) -> Records:
        return memory_records


class TestMemoryHousekeeping(HousekeepingContract):
    @pytest.fixture
    def records(self, memory_records: Records) -> Records:
        return memory_records


class TestMemorySessions(SessionRepositoryContract):
    @pytest.fixture
    def records(self, memory_records: Records) -> Records:
        return memory_records


class TestMemoryStatistics(StatisticsContract):
    @pytest.fixture
    def records(self, memory_records: Records) -> Records:
        return memory_records


class TestMemoryLoginThrottle(LoginThrottleContract):
    @pytest.fixture
    def records(self, memory_records: Records) -> Records:
        return memory_records


class TestMemorySettings(SettingsRepositoryContract):
    @pytest.fixture
    def records(self, memory_records: Records) -> Records:
        return memory_records


class TestMemoryInstallation(InstallationContract):
    @pytest.fixture
    def installation(self) -> Installation:
        return MemoryStorage().installation

    @pytest.fixture
    def another_installation(self) -> Installation:
        return MemoryStorage().installation


class TestMemoryMediaStore(MediaStoreContract):
    @pytest.fixture
    def store(self) -> MemoryMediaStore:
        return MemoryMediaStore()

    @pytest.fixture
    def get_stuck(self, store: MemoryMediaStore) -> Callable[[str], None]:
        return store.stuck.add

    @pytest.fixture
    def full_store(self) -> MediaStore:
        return MemoryMediaStore(capacity_bytes=1_000_000)

    @pytest.fixture
    def unreachable_store(self) -> MediaStore:
        store = MemoryMediaStore()
        store.is_down = True
        return store


class TestSignalHub(SignalsContract):
    @pytest.fixture
    def signals(self) -> SignalHub:
        return SignalHub()

    @pytest.fixture
    def announce(self, signals: Signals) -> Announce:
        assert isinstance(signals, SignalHub)
        hub = signals

        async def announce(topic: Topic, subject: str) -> None:
            hub.announce(topic, subject)

        return announce


class TestMemoryAccounts(AccountRepositoryContract):
    @pytest.fixture
    def accounts(self) -> AccountRepository:
        return MemoryAccountRepository()

    @pytest.fixture
    def elsewhere(self, accounts: AccountRepository) -> AccountRepository:
        return accounts


class TestFastPasswordHasher(PasswordHasherContract):
    @pytest.fixture
    def hasher(self) -> PasswordHasher:
        return FastPasswordHasherForTests()


class TestManualClock(ClockContract):
    follows_event_loop = False

    @pytest.fixture
    def clock(self) -> Clock:
        return ManualClock()


class TestSystemClock(ClockContract):
    @pytest.fixture
    def clock(self) -> Clock:
        return SystemClock()
