"""The PostgreSQL adapters, held to the contracts."""

from collections.abc import AsyncIterator, Callable

import psycopg
import pytest

from photochanger.adapters.postgres import PostgresInstallation, PostgresSignals, create_pool, migrate
from photochanger.adapters.postgres.pool import Pool
from photochanger.application.ports import Signals, Topic
from photochanger.testing.audit_log import AuditLogContract
from photochanger.testing.harness import Records
from photochanger.testing.history import JobHistoryContract
from photochanger.testing.housekeeping import HousekeepingContract
from photochanger.testing.ingest_gate import IngestGateContract
from photochanger.testing.installation import InstallationContract
from photochanger.testing.jobs import JobRepositoryContract
from photochanger.testing.login_throttle import LoginThrottleContract
from photochanger.testing.media_registry import MediaRegistryContract
from photochanger.testing.provider_usage import ProviderUsageContract
from photochanger.testing.sessions import SessionRepositoryContract
from photochanger.testing.signals import Announce, SignalsContract
from photochanger.testing.slots import SettingsRepositoryContract, SlotRepositoryContract
from photochanger.testing.statistics import StatisticsContract
from photochanger.testing.templates import TemplateRepositoryContract


class TestPostgresJobs(JobRepositoryContract):
    @pytest.fixture
    def records(self, postgres_records: Records) -> Records:
        return postgres_records


class TestPostgresMedia(MediaRegistryContract):
    @pytest.fixture
    def records(self, postgres_records: Records) -> Records:
        return postgres_records


class TestPostgresSlots(SlotRepositoryContract):
    @pytest.fixture
    def records(self, postgres_records: Records) -> Records:
        return postgres_records


class TestPostgresTemplates(TemplateRepositoryContract):
    @pytest.fixture
    def records(self, postgres_records: Records) -> Records:
        return postgres_records


class TestPostgresInstallation(InstallationContract):
    @pytest.fixture
    def installation(self, postgres_pool: Pool) -> PostgresInstallation:
        return PostgresInstallation(postgres_pool)

    @pytest.fixture
    async def another_installation(
        self, new_database: Callable[..., str]
    ) -> AsyncIterator[PostgresInstallation]:
        dsn = new_database(migrated=False)
        migrate(dsn)
        async with create_pool(dsn, min_size=1, max_size=1, timeout_sec=30) as pool:
            yield PostgresInstallation(pool)


class TestPostgresUsage(ProviderUsageContract):
    @pytest.fixture
    def records(self, postgres_records: Records) -> Records:
        return postgres_records


class TestPostgresGate(IngestGateContract):
    @pytest.fixture
    def records(self, postgres_records: Records) -> Records:
        return postgres_records


class TestPostgresAudit(AuditLogContract):
    @pytest.fixture
    def records(self, postgres_records: Records) -> Records:
        return postgres_records


class TestPostgresHistory(JobHistoryContract):
    @pytest.fixture
    def records(self, postgres_records: Records) -> Records:
        return postgres_records


class TestPostgresHousekeeping(HousekeepingContract):
    @pytest.fixture
    def records(self, postgres_records: Records) -> Records:
        return postgres_records


class TestPostgresSessions(SessionRepositoryContract):
    @pytest.fixture
    def records(self, postgres_records: Records) -> Records:
        return postgres_records


class TestPostgresStatistics(StatisticsContract):
    @pytest.fixture
    def records(self, postgres_records: Records) -> Records:
        return postgres_records


class TestPostgresLoginThrottle(LoginThrottleContract):
    @pytest.fixture
    def records(self, postgres_records: Records) -> Records:
        return postgres_records


class TestPostgresSettings(SettingsRepositoryContract):
    @pytest.fixture
    def records(self, postgres_records: Records) -> Records:
        return postgres_records


class TestPostgresSignals(SignalsContract):
    """Signals of another process: they come by NOTIFY alone."""

    @pytest.fixture
    async def signals(self, postgres_signals: PostgresSignals) -> Signals:
        return postgres_signals

    @pytest.fixture
    def announce(self, worker_database: str) -> Announce:
        async def announce(topic: Topic, subject: str) -> None:
            async with await psycopg.AsyncConnection.connect(worker_database, autocommit=True) as other:
                await other.execute("SELECT pg_notify('photochanger', %s)", [f"{topic.value}:{subject}"])

        return announce


class TestLocalAnnouncements(SignalsContract):
    """Signals of the same process: they do not wait for the database."""

    @pytest.fixture
    async def signals(self, postgres_signals: PostgresSignals) -> Signals:
        return postgres_signals

    @pytest.fixture
    def announce(self, signals: Signals) -> Announce:
        assert isinstance(signals, PostgresSignals)
        here = signals

        async def announce(topic: Topic, subject: str) -> None:
            here.announce_locally(topic, subject)

        return announce
