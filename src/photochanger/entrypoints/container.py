"""The composition root: the only place that knows every port and every adapter."""

import random
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import structlog
from dependency_injector import containers, providers
from opentelemetry.sdk.trace.export import SpanExporter

from photochanger import __version__
from photochanger.adapters.argon2_hasher import Argon2PasswordHasher
from photochanger.adapters.filesystem import FilesystemMediaStore
from photochanger.adapters.images import PillowImageEditor
from photochanger.adapters.postgres.history import PostgresJobHistory
from photochanger.adapters.postgres.jobs import PostgresJobRepository
from photochanger.adapters.postgres.media import PostgresMediaRegistry
from photochanger.adapters.postgres.pool import create_pool
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
from photochanger.application.await_outcome import AwaitOutcome
from photochanger.application.call_providers import AttemptReport, CallProviders
from photochanger.application.configuration import CurrentConfiguration
from photochanger.application.ingest_password import CheckIngestPassword
from photochanger.application.ports import (
    ImageEditor,
    ImageProvider,
    JobHistory,
    JobRepository,
    MediaRegistry,
    MediaStore,
    PasswordHasher,
    ProviderUsage,
    SettingsRepository,
    SlotRepository,
    Statistics,
    TemplateRepository,
)
from photochanger.application.process_job import ProcessJob
from photochanger.application.provider_inputs import PrepareInputs
from photochanger.application.provider_links import OpenLink, ProviderLinks
from photochanger.application.results import OpenResult, ReadJob
from photochanger.application.signal_hub import SignalHub
from photochanger.application.statistics import ReadStatistics
from photochanger.application.submit_photo import SubmitPhoto
from photochanger.application.sweep import Sweep
from photochanger.application.worker import Worker
from photochanger.domain.errors import Problem, ValidationFailed
from photochanger.entrypoints.first_start import FirstStart
from photochanger.entrypoints.image_providers import find_providers
from photochanger.entrypoints.readiness import Readiness
from photochanger.entrypoints.settings import Environment

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


def _observed(port: Any, adapter: _Port, tracing: Tracing, metrics: Metrics) -> _Port:
    wrapped: _Port = observed(port, adapter, tracer=tracing.tracer, metrics=metrics)
    return wrapped


def _job_runner(process_job: ProcessJob, tracing: Tracing) -> Any:
    return observed_job(process_job, tracer=tracing.tracer, logger=structlog.stdlib.get_logger("worker"))


def _attempt_log() -> AttemptReport:
    return logged_attempts(structlog.stdlib.get_logger("worker"))


class Container(containers.DeclarativeContainer):
    """Everything a process may need, made when it is first asked for. Opening and closing is `runtime`'s."""

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
    signals = providers.Singleton(PostgresSignals, database_url, hub)

    jobs: providers.Provider[JobRepository] = providers.Singleton(
        _observed,
        providers.Object(JobRepository),
        providers.Singleton(CountedJobs, providers.Singleton(PostgresJobRepository, pool, hub), metrics),
        tracing,
        metrics,
    )
    registry: providers.Provider[MediaRegistry] = providers.Singleton(
        _observed,
        providers.Object(MediaRegistry),
        providers.Singleton(PostgresMediaRegistry, pool),
        tracing,
        metrics,
    )
    slots: providers.Provider[SlotRepository] = providers.Singleton(
        _observed,
        providers.Object(SlotRepository),
        providers.Singleton(PostgresSlotRepository, pool, hub),
        tracing,
        metrics,
    )
    settings: providers.Provider[SettingsRepository] = providers.Singleton(
        _observed,
        providers.Object(SettingsRepository),
        providers.Singleton(PostgresSettingsRepository, pool, hub),
        tracing,
        metrics,
    )
    templates: providers.Provider[TemplateRepository] = providers.Singleton(
        _observed,
        providers.Object(TemplateRepository),
        providers.Singleton(PostgresTemplateRepository, pool),
        tracing,
        metrics,
    )
    usage: providers.Provider[ProviderUsage] = providers.Singleton(
        _observed,
        providers.Object(ProviderUsage),
        providers.Singleton(PostgresProviderUsage, pool),
        tracing,
        metrics,
    )
    history: providers.Provider[JobHistory] = providers.Singleton(
        _observed,
        providers.Object(JobHistory),
        providers.Singleton(PostgresJobHistory, pool),
        tracing,
        metrics,
    )
    statistics: providers.Provider[Statistics] = providers.Singleton(
        _observed,
        providers.Object(Statistics),
        providers.Singleton(PostgresStatistics, pool),
        tracing,
        metrics,
    )
    media_folder = providers.Singleton(FilesystemMediaStore, environment.provided.media_dir)
    store: providers.Provider[MediaStore] = providers.Singleton(
        _observed, providers.Object(MediaStore), media_folder, tracing, metrics
    )
    images: providers.Provider[ImageEditor] = providers.Singleton(
        _observed,
        providers.Object(ImageEditor),
        providers.Singleton(PillowImageEditor, scratch=media_folder.provided.scratch),
        tracing,
        metrics,
    )
    hasher: providers.Provider[PasswordHasher] = providers.Singleton(
        _observed,
        providers.Object(PasswordHasher),
        providers.Singleton(Argon2PasswordHasher),
        tracing,
        metrics,
    )
    image_providers = providers.Singleton(_observe_providers, found_providers, tracing, metrics)

    configuration = providers.Singleton(
        CurrentConfiguration, slots=slots, settings=settings, signals=signals, clock=clock
    )
    check_ingest_password = providers.Singleton(CheckIngestPassword, hasher)
    submit_photo = providers.Singleton(
        SubmitPhoto,
        configuration=configuration,
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
    provider_links = providers.Singleton(
        ProviderLinks, registry=registry, store=store, base_url=public_base_url
    )
    open_link = providers.Singleton(OpenLink, registry=registry, store=store)
    sweep = providers.Singleton(Sweep, jobs=jobs, registry=registry, store=store)
    call_providers = providers.Singleton(
        CallProviders,
        providers=image_providers,
        inputs=providers.Singleton(
            PrepareInputs, store=store, images=images, templates=templates, links=provider_links
        ),
        store=store,
        images=images,
        usage=usage,
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
        run=providers.Singleton(_job_runner, process_job, tracing),
        concurrency=environment.provided.workers,
    )

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
    readiness = providers.Singleton(Readiness, settings=settings, store=store)
    first_start = providers.Singleton(
        FirstStart, environment=environment, settings=settings, slots=slots, hasher=hasher
    )
