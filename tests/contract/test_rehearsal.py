import pytest

from photochanger.adapters.rehearsal import RehearsalProvider
from photochanger.domain.errors import ProviderError, ProviderMisconfigured, ProviderNoImage
from photochanger.testing.providers import Fault, ImageProviderContract


class TestRehearsalProvider(ImageProviderContract):
    slow_params = {"outcome": "hang"}  # noqa: RUF012  # a ClassVar of the suite
    faults = (
        Fault(params={"outcome": "error"}, raises=ProviderError),
        Fault(params={"outcome": "no_image"}, raises=ProviderNoImage),
        Fault(params={"effect": "no such effect"}, raises=ProviderMisconfigured),
        Fault(params={"delay_ms": -1}, raises=ProviderMisconfigured),
    )

    @pytest.fixture
    def provider(self) -> RehearsalProvider:
        return RehearsalProvider()
