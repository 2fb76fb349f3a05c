"""The composition root: the only place that knows every port and every adapter."""

import random
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import structlog
from dependency_injector import containers, providers
from opentelemetry.sdk.trace.export import SpanExporter

from photochanger import __version__
from photochanger.adapters.argon2_hasher import Argon2PasswordHasher
from photochanger.adapters.credentials_file import CredentialsFile
from photochanger.adapters.filesystem import FilesystemMediaStore
from photochanger.adapters.images import PillowImageEditor
from photochanger.adapters.jwt_tokens import JwtAccessTokens
from photochanger.adapters.object_store.bucket import Bucket
from photochanger.adapters.postgres.audit import PostgresAuditLog
from photochanger.adapters.postgres.history import PostgresJobHistory
from photochanger.adapters.postgres.housekeeping import PostgresHousekeeping
from photochanger.adapters.postgres.ingest_gate import PostgresIngestGate
from photochanger.adapters.postgres.installation import PostgresInstallation
from photochanger.adapters.postgres.jobs import PostgresJobRepository
from photochanger.adapters.postgres.login_throttle import PostgresLoginThrottle
from photochanger.adapters.postgres.media import PostgresMediaRegistry
from photochanger.adapters.postgres.pool import create_pool
from photochanger.adapters.postgres.sessions import PostgresSessionRepository
from photochanger.adapters.postgres.settings import PostgresSettingsRepository
from photochanger.adapters.postgres.signals import PostgresSignals
from photochanger.adapters.postgres.slots import PostgresSlotRepository
from photochanger.adapters.postgres.statistics import PostgresStatistics
from photochanger.adapters.postgres.templates import PostgresTemplateRepository
from photochanger.adapters.postgres.usage import PostgresProviderUsage
from photochanger.adapters.system_clock import SystemClock
from photochanger.adapters.telemetry.attempts import logged_attempts
from photochanger.adapters.telemetry.counted_jobs import CountedJobs
from photochanger.adapters.telemetry.jobs import observed_job
from photochanger.adapters.telemetry.metrics import Metrics
from photochanger.adapters.telemetry.observed import observed, observed_provider
from photochanger.adapters.telemetry.present import ShowPresent
from photochanger.adapters.telemetry.quotas import ShowQuotas
from photochanger.adapters.telemetry.tracing import Tracing, configure_tracing, exporter_named_by
from photochanger.application.administer_jobs import CancelJob, CleanSlot
from photochanger.application.await_outcome import AwaitOutcome
from photochanger.application.call_providers import AttemptReport, CallProviders
from photochanger.application.check_slot import CheckSlot
from photochanger.application.compare_media import CompareMedia
from photochanger.application.configuration import CurrentConfiguration
from photochanger.application.doorkeeper import Doorkeeper
from photochanger.application.edit_accounts import EditAccounts
from photochanger.application.edit_settings import EditSettings
from photochanger.application.edit_slot import EditSlot
from photochanger.application.galleries import ShowGallery
from photochanger.application.ingest_password import CheckIngestPassword
from photochanger.application.login import LogIn
from photochanger.application.media_ownership import AdoptMedia, CheckMediaOwner
from photochanger.application.ports import (
    AccessTokens,
    AccountRepository,
    AuditLog,
    Housekeeping,
    ImageEditor,
    ImageProvider,
    IngestGate,
    Installation,
    JobHistory,
    JobRepository,
    LoginThrottle,
    MediaRegistry,
    MediaStore,
    PasswordHasher,
    ProviderUsage,
    SessionRepository,
    SettingsRepository,
    SlotRepository,
    Statistics,
    TemplateRepository,
)
from photochanger.application.process_job import ProcessJob
from photochanger.application.provider_inputs import PrepareInputs
from photochanger.application.provider_links import OpenLink, ProviderLinks
from photochanger.application.provider_places import TakePlace
from photochanger.application.register_media import RegisterMedia
from photochanger.application.results import OpenResult, ReadJob
from photochanger.application.sessions import Authenticate, CloseSessions, LogOut
from photochanger.application.signal_hub import SignalHub
from photochanger.application.statistics import ReadStatistics
from photochanger.application.submit_photo import SubmitPhoto
from photochanger.application.sweep import Sweep
from photochanger.application.templates import Templates
from photochanger.application.try_slot import TrySlot
from photochanger.application.verify import Verify
from photochanger.application.worker import Worker
from photochanger.domain.errors import Problem, ValidationFailed
from photochanger.domain.operation import ProviderCatalogue
from photochanger.entrypoints.first_start import FirstStart
from photochanger.entrypoints.image_providers import find_providers
from photochanger.entrypoints.readiness import Readiness
from photochanger.entrypoints.settings import Environment
from photochanger.entrypoints.signing_keys import signing_keys

if TYPE_CHECKING:
    from photochanger.adapters.object_store.store import ObjectMediaStore, Scratch

_Port = TypeVar("_Port")


def _trace_exporter(variables: Mapping[str, str]) -> SpanExporter | None:
    try:
        return exporter_named_by(variables)
    except ValueError as error:
        raise ValidationFailed([Problem(field="OTEL_*", code="invalid", message=str(error))]) from error


def _observe_providers(
    found: Mapping[str, ImageProvider], tracing: Tracing, metrics: Metrics
) -> Callable[[str], ImageProvider | None]:
    wrapped = {
        name: observed_provider(provider, tracer=tracing.tracer, metrics=metrics)
        for name, provider in found.items()
    }
    return wrapped.get


def _catalogue(found: Mapping[str, ImageProvider]) -> ProviderCatalogue:
    return {name: provider.description for name, provider in found.items()}


def _observed(port: Any, adapter: _Port, tracing: Tracing, metrics: Metrics) -> _Port:
    wrapped: _Port = observed(port, adapter, tracer=tracing.tracer, metrics=metrics)
    return wrapped


def _port(port: Any, adapter: Any, tracing: Any, metrics: Any) -> Any:
    """Return the provider of an adapter that is observed through its port; all are made once."""
    return providers.Singleton(_observed, providers.Object(port), adapter, tracing, metrics)


def _job_runner(process_job: ProcessJob, tracing: Tracing) -> Any:
    return observed_job(process_job, tracer=tracing.tracer, logger=structlog.stdlib.get_logger("worker"))


def _object_store(bucket: Bucket, scratch: "Scratch") -> "ObjectMediaStore":
    try:
        from photochanger.adapters.object_store.store import ObjectMediaStore  # noqa: PLC0415 - an extra
    except ModuleNotFoundError as error:
        message = "needs the package obstore: pip install photochanger[s3]"
        raise ValidationFailed([Problem(field="MEDIA_URL", code="invalid", message=message)]) from error
    return ObjectMediaStore(bucket, scratch=scratch)


def _place_of_media(environment: Environment) -> str:
    return "folder" if environment.media_bucket is None else "bucket"


def _attempt_log() -> AttemptReport:
    return logged_attempts(structlog.stdlib.get_logger("worker"))


class Container(containers.DeclarativeContainer):
    """Everything a process may need, made when it is first asked for. Opening and closing is `opening`'s."""

    environment = providers.Dependency(instance_of=Environment)
    database_url = providers.Dependency(instance_of=str)

    found_providers = providers.Singleton(find_providers, environment.provided.variables)
    metrics = providers.Singleton(Metrics, providers=found_providers)
    tracing = providers.Singleton(
        configure_tracing,
        version=__version__,
        exporter=providers.Singleton(_trace_exporter, environment.provided.telemetry),
    )
    clock = providers.Singleton(SystemClock)

    pool = providers.Singleton(create_pool, database_url)
    hub = providers.Singleton(SignalHub)
    signals = providers.Singleton(PostgresSignals, database_url, hub, pool)

    jobs: providers.Provider[JobRepository] = _port(
        JobRepository,
        providers.Singleton(CountedJobs, providers.Singleton(PostgresJobRepository, pool, hub), metrics),
        tracing,
        metrics,
    )
    registry: providers.Provider[MediaRegistry] = _port(
        MediaRegistry, providers.Singleton(PostgresMediaRegistry, pool), tracing, metrics
    )
    gate: providers.Provider[IngestGate] = _port(
        IngestGate, providers.Singleton(PostgresIngestGate, pool), tracing, metrics
    )
    slots: providers.Provider[SlotRepository] = _port(
        SlotRepository, providers.Singleton(PostgresSlotRepository, pool, hub), tracing, metrics
    )
    settings: providers.Provider[SettingsRepository] = _port(
        SettingsRepository, providers.Singleton(PostgresSettingsRepository, pool, hub), tracing, metrics
    )
    templates: providers.Provider[TemplateRepository] = _port(
        TemplateRepository, providers.Singleton(PostgresTemplateRepository, pool), tracing, metrics
    )
    installation: providers.Provider[Installation] = _port(
        Installation, providers.Singleton(PostgresInstallation, pool), tracing, metrics
    )
    usage: providers.Provider[ProviderUsage] = _port(
        ProviderUsage, providers.Singleton(PostgresProviderUsage, pool), tracing, metrics
    )
    audit: providers.Provider[AuditLog] = _port(
        AuditLog, providers.Singleton(PostgresAuditLog, pool), tracing, metrics
    )
    sessions: providers.Provider[SessionRepository] = _port(
        SessionRepository, providers.Singleton(PostgresSessionRepository, pool), tracing, metrics
    )
    throttle: providers.Provider[LoginThrottle] = _port(
        LoginThrottle, providers.Singleton(PostgresLoginThrottle, pool), tracing, metrics
    )
    credentials_file = providers.Singleton(CredentialsFile, environment.provided.credentials_path)
    history: providers.Provider[JobHistory] = _port(
        JobHistory, providers.Singleton(PostgresJobHistory, pool), tracing, metrics
    )
    statistics: providers.Provider[Statistics] = _port(
        Statistics, providers.Singleton(PostgresStatistics, pool), tracing, metrics
    )
    housekeeping: providers.Provider[Housekeeping] = _port(
        Housekeeping, providers.Singleton(PostgresHousekeeping, pool), tracing, metrics
    )
    accounts: providers.Provider[AccountRepository] = _port(
        AccountRepository, credentials_file, tracing, metrics
    )
    tokens: providers.Provider[AccessTokens] = providers.Singleton(
        JwtAccessTokens, providers.Singleton(signing_keys, environment)
    )
    media_folder = providers.Singleton(FilesystemMediaStore, environment.provided.media_dir)
    media_bucket = providers.Singleton(
        _object_store, environment.provided.media_bucket, media_folder.provided.scratch
    )
    media_store = providers.Selector(
        providers.Callable(_place_of_media, environment), folder=media_folder, bucket=media_bucket
    )
    store: providers.Provider[MediaStore] = _port(MediaStore, media_store, tracing, metrics)
    check_media_owner = providers.Singleton(CheckMediaOwner, installation=installation, store=store)
    adopt_media = providers.Singleton(AdoptMedia, installation=installation, store=store)
    images: providers.Provider[ImageEditor] = _port(
        ImageEditor,
        providers.Singleton(PillowImageEditor, scratch=media_folder.provided.scratch),
        tracing,
        metrics,
    )
    hasher: providers.Provider[PasswordHasher] = _port(
        PasswordHasher, providers.Singleton(Argon2PasswordHasher), tracing, metrics
    )
    catalogue = providers.Singleton(_catalogue, found_providers)
    image_providers = providers.Singleton(_observe_providers, found_providers, tracing, metrics)

    configuration = providers.Singleton(
        CurrentConfiguration, slots=slots, settings=settings, signals=signals, clock=clock
    )
    check_ingest_password = providers.Singleton(CheckIngestPassword, hasher)
    doorkeeper = providers.Singleton(Doorkeeper, gate=gate, clock=clock)
    submit_photo = providers.Singleton(
        SubmitPhoto,
        configuration=configuration,
        doorkeeper=doorkeeper,
        jobs=jobs,
        registry=registry,
        store=store,
        images=images,
        clock=clock,
    )
    await_outcome = providers.Singleton(AwaitOutcome, jobs=jobs, signals=signals, clock=clock)
    read_job = providers.Singleton(ReadJob, jobs)
    open_result = providers.Singleton(OpenResult, jobs=jobs, store=store)
    public_base_url = environment.provided.public_base_url
    trusted_proxies = environment.provided.trusted_proxies
    provider_links = providers.Singleton(
        ProviderLinks, registry=registry, store=store, base_url=public_base_url
    )
    open_link = providers.Singleton(OpenLink, registry=registry, store=store)
    compare_media = providers.Singleton(CompareMedia, registry=registry, store=store, owner=check_media_owner)
    sweep = providers.Singleton(
        Sweep,
        jobs=jobs,
        registry=registry,
        store=store,
        housekeeping=housekeeping,
        compare=compare_media,
        clock=clock,
    )
    verify = providers.Singleton(
        Verify, registry=registry, store=store, housekeeping=housekeeping, compare=compare_media
    )
    call_providers = providers.Singleton(
        CallProviders,
        providers=image_providers,
        inputs=providers.Singleton(
            PrepareInputs, store=store, images=images, templates=templates, links=provider_links
        ),
        store=store,
        images=images,
        usage=usage,
        take_place=providers.Singleton(
            TakePlace, jobs=jobs, signals=signals, configuration=configuration, clock=clock
        ),
        configuration=configuration,
        clock=clock,
        jitter=providers.Object(random.random),
        on_failed_attempt=providers.Singleton(_attempt_log),
        on_call_ended=metrics.provided.provider_paused,
    )
    process_job = providers.Singleton(
        ProcessJob,
        jobs=jobs,
        registry=registry,
        store=store,
        images=images,
        call_providers=call_providers,
        signals=signals,
        clock=clock,
    )
    worker = providers.Singleton(
        Worker,
        jobs=jobs,
        signals=signals,
        configuration=configuration,
        run=providers.Singleton(_job_runner, process_job, tracing),
        concurrency=environment.provided.workers,
    )

    check_slot = providers.Singleton(CheckSlot, catalogue=catalogue, templates=templates)
    edit_slot = providers.Singleton(
        EditSlot, slots=slots, settings=settings, jobs=jobs, check_slot=check_slot, hasher=hasher
    )
    edit_settings = providers.Singleton(
        EditSettings, settings=settings, hasher=hasher, clock=clock, providers=catalogue
    )
    try_slot = providers.Singleton(
        TrySlot, configuration=configuration, doorkeeper=doorkeeper, check_slot=check_slot
    )
    manage_templates = providers.Singleton(
        Templates, templates=templates, slots=slots, registry=registry, store=store, images=images
    )
    register_media = providers.Singleton(
        RegisterMedia,
        registry=registry,
        store=store,
        images=images,
        jobs=jobs,
        audit=audit,
        configuration=configuration,
    )
    cancel_job = providers.Singleton(CancelJob, jobs)
    clean_slot = providers.Singleton(CleanSlot, jobs)
    show_gallery = providers.Singleton(ShowGallery, history=history, configuration=configuration)
    log_in = providers.Singleton(
        LogIn,
        accounts=accounts,
        hasher=hasher,
        tokens=tokens,
        sessions=sessions,
        throttle=throttle,
        audit=audit,
        clock=clock,
        on_refused=metrics.provided.login_failed,
    )
    authenticate = providers.Singleton(
        Authenticate, tokens=tokens, accounts=accounts, sessions=sessions, clock=clock
    )
    log_out = providers.Singleton(LogOut, sessions)
    close_sessions = providers.Singleton(CloseSessions, sessions)
    edit_accounts = providers.Singleton(EditAccounts, accounts=accounts, hasher=hasher, audit=audit)

    show_quotas = providers.Singleton(
        ShowQuotas, usage=usage, configuration=configuration, providers=found_providers, metrics=metrics
    )
    show_present = providers.Singleton(ShowPresent, statistics=statistics, metrics=metrics)
    read_statistics = providers.Singleton(
        ReadStatistics,
        statistics=statistics,
        history=history,
        usage=usage,
        configuration=configuration,
        providers=found_providers,
        clock=clock,
    )
    readiness = providers.Singleton(
        Readiness,
        settings=settings,
        store=store,
        clock=clock,
        catalogue=catalogue,
        paused=call_providers.provided.paused,
    )
    first_start = providers.Singleton(
        FirstStart,
        environment=environment,
        settings=settings,
        slots=slots,
        hasher=hasher,
        edit_settings=edit_settings,
        edit_slot=edit_slot,
    )
