"""The image providers of this installation: ours, and whatever else is installed."""

from collections.abc import Mapping
from importlib.metadata import entry_points
from typing import Final

from photochanger.application.ports import ImageProvider, ProviderFactory
from photochanger.domain.errors import Problem, ValidationFailed

GROUP: Final = "photochanger.providers"


def find_providers(variables: Mapping[str, str]) -> Mapping[str, ImageProvider]:
    """Return every installed provider by its name, made with the environment's variables.

    Raises `ValidationFailed` with everything that they have against the variables.
    """
    found: dict[str, ImageProvider] = {}
    problems: list[Problem] = []
    for entry_point in entry_points(group=GROUP):
        factory: ProviderFactory = entry_point.load()
        try:
            provider = factory(variables)
        except ValidationFailed as failed:
            problems += failed.problems
        else:
            found[provider.description.name] = provider
    if problems:
        raise ValidationFailed(problems)
    return found
