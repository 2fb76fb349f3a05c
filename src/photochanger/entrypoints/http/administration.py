"""The administrators' endpoints, and what they take from the container."""

from collections.abc import Callable, Collection
from typing import Any, Final, Protocol

from litestar.di import NamedDependency, Provide

from photochanger.application.administer_jobs import CancelJob, CleanSlot
from photochanger.application.configuration import CurrentConfiguration
from photochanger.application.edit_settings import EditSettings
from photochanger.application.edit_slot import EditSlot
from photochanger.application.galleries import ShowGallery
from photochanger.application.login import LogIn
from photochanger.application.ports import (
    AccountRepository,
    AuditLog,
    JobHistory,
    SettingsRepository,
    SlotRepository,
)
from photochanger.application.register_media import RegisterMedia
from photochanger.application.sessions import Authenticate, CloseSessions, LogOut
from photochanger.application.statistics import ReadStatistics
from photochanger.application.templates import Templates
from photochanger.application.try_slot import TrySlot
from photochanger.domain.account import Principal
from photochanger.domain.audit import Actor
from photochanger.domain.operation import ProviderCatalogue
from photochanger.entrypoints.documents.links import ResultLinks
from photochanger.entrypoints.http import (
    audit,
    jobs,
    login,
    media,
    settings,
    slots,
    statistics,
    templates,
    try_slot,
)
from photochanger.entrypoints.http.client_address import client_address
from photochanger.entrypoints.http.heads import AnyRequest
from photochanger.entrypoints.http.settings import Installed, SettingsAnswer
from photochanger.entrypoints.http.slots import SlotAnswer
from photochanger.entrypoints.settings import Network

HANDLERS: Final = (
    login.post_login,
    login.post_logout,
    login.get_me,
    settings.get_settings,
    settings.put_settings,
    settings.list_providers,
    slots.list_slots,
    slots.get_slot,
    slots.put_slot,
    slots.clean_up_slot,
    try_slot.test_run,
    templates.register_template,
    templates.list_templates,
    templates.get_template,
    templates.get_template_content,
    templates.get_template_preview,
    templates.remove_template,
    media.register_media_file,
    jobs.list_jobs,
    jobs.cancel_job_by_id,
    statistics.get_system_statistics,
    statistics.get_slot_statistics,
    audit.read_audit_log,
)


class Administration(Protocol):
    """What the endpoints take from the container: a provider for each."""

    @property
    def authenticate(self) -> Callable[[], Authenticate]: ...
    @property
    def log_in(self) -> Callable[[], LogIn]: ...
    @property
    def log_out(self) -> Callable[[], LogOut]: ...
    @property
    def close_sessions(self) -> Callable[[], CloseSessions]: ...
    @property
    def trusted_proxies(self) -> Callable[[], Collection[Network]]: ...
    @property
    def accounts(self) -> Callable[[], AccountRepository]: ...
    @property
    def catalogue(self) -> Callable[[], ProviderCatalogue]: ...
    @property
    def slots(self) -> Callable[[], SlotRepository]: ...
    @property
    def settings(self) -> Callable[[], SettingsRepository]: ...
    @property
    def configuration(self) -> Callable[[], CurrentConfiguration]: ...
    @property
    def history(self) -> Callable[[], JobHistory]: ...
    @property
    def audit(self) -> Callable[[], AuditLog]: ...
    @property
    def edit_slot(self) -> Callable[[], EditSlot]: ...
    @property
    def edit_settings(self) -> Callable[[], EditSettings]: ...
    @property
    def manage_templates(self) -> Callable[[], Templates]: ...
    @property
    def register_media(self) -> Callable[[], RegisterMedia]: ...
    @property
    def try_slot(self) -> Callable[[], TrySlot]: ...
    @property
    def cancel_job(self) -> Callable[[], CancelJob]: ...
    @property
    def clean_slot(self) -> Callable[[], CleanSlot]: ...
    @property
    def show_gallery(self) -> Callable[[], ShowGallery]: ...
    @property
    def read_statistics(self) -> Callable[[], ReadStatistics]: ...


def from_container(provider: Callable[..., Any]) -> Provide:
    """Return a dependency that asks the container each time; it refuses its providers as they are."""
    return Provide(lambda: provider(), sync_to_thread=False)  # noqa: PLW0108 -- Litestar reads the signature


def dependencies(container: Administration) -> dict[str, Provide]:
    """Return the endpoints' dependencies, by name."""

    def principal(request: AnyRequest) -> Principal:
        known: Principal = request.scope["state"]["principal"]
        return known

    def actor(request: AnyRequest) -> Actor:
        address = client_address(request.scope, container.trusted_proxies())
        return Actor(name=principal(request).username, origin=address)

    def address(request: AnyRequest) -> str:
        return client_address(request.scope, container.trusted_proxies())

    def slot_answer(result_links: NamedDependency[ResultLinks]) -> SlotAnswer:
        return SlotAnswer(
            configuration=container.configuration(), gallery=container.show_gallery(), links=result_links
        )

    def settings_answer() -> SettingsAnswer:
        return SettingsAnswer(accounts=container.accounts(), catalogue=container.catalogue())

    def installed() -> Installed:
        return Installed(container.catalogue())

    made_here: dict[str, Callable[..., Any]] = {
        "principal": principal,
        "actor": actor,
        "client_address": address,
        "slot_answer": slot_answer,
        "settings_answer": settings_answer,
        "installed": installed,
    }
    taken = {
        "log_in": container.log_in,
        "log_out": container.log_out,
        "close_sessions": container.close_sessions,
        "slot_repository": container.slots,
        "settings_repository": container.settings,
        "configuration": container.configuration,
        "job_history": container.history,
        "audit_log": container.audit,
        "edit_slot": container.edit_slot,
        "edit_settings": container.edit_settings,
        "templates": container.manage_templates,
        "register_media": container.register_media,
        "trying": container.try_slot,
        "cancel_job": container.cancel_job,
        "cleaning": container.clean_slot,
        "show_gallery": container.show_gallery,
        "read_statistics": container.read_statistics,
    }
    return {
        **{name: Provide(make, sync_to_thread=False) for name, make in made_here.items()},
        **{name: from_container(provider) for name, provider in taken.items()},
    }
