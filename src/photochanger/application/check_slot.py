"""Whether a slot may be configured so, judged by what this installation has."""

from collections.abc import Iterator, Sequence

from photochanger.application.ports.configuration import TemplateRepository
from photochanger.domain.errors import Problem, ValidationFailed
from photochanger.domain.operation import ProviderCatalogue
from photochanger.domain.settings import Settings
from photochanger.domain.slot import ProviderCall, SlotConfiguration, validate_configuration


class CheckSlot:
    """Checks a configuration against the providers, the templates and the settings that there are."""

    def __init__(self, *, catalogue: ProviderCatalogue, templates: TemplateRepository) -> None:
        self._catalogue = catalogue
        self._templates = templates

    async def __call__(
        self, configuration: SlotConfiguration, settings: Settings, *, more: Sequence[Problem] = ()
    ) -> None:
        """Return, or raise `ValidationFailed` with every problem; `more` are those already found."""
        problems = list(more)
        try:
            validate_configuration(
                configuration,
                self._catalogue,
                max_upload_mb=settings.ingest.max_upload_mb,
                sync_response_timeout_sec=settings.ingest.sync_response_timeout_sec,
                templates=await self._templates.find(set(bound_templates(configuration))),
            )
        except ValidationFailed as failed:
            problems += failed.problems
        if problems:
            raise ValidationFailed(problems)


def bound_templates(configuration: SlotConfiguration) -> Iterator[str]:
    """Yield the id of every template that a configuration binds, in its call or its fallback."""
    calls: Sequence[ProviderCall | None] = (configuration.call, configuration.fallback)
    for call in calls:
        if call is not None:
            yield from (binding.template_id for binding in call.template_media)
