from collections.abc import AsyncIterator

import pytest

from photochanger.adapters.turbotext import TurbotextProvider
from photochanger.domain.errors import (
    ProviderError,
    ProviderMisconfigured,
    ProviderQuotaExhausted,
    ProviderRefused,
    ProviderRejected,
)
from photochanger.testing.fake_turbotext import FakeTurbotext
from photochanger.testing.links import Links
from photochanger.testing.providers import Fault, ImageProviderContract

PROMPTS = {
    "a guest as an undesirable": "forbidden_content",
    "a guest as somebody rejected": "create:rejected",
    "a guest as somebody rejected later": "result:rejected",
    "a guest without a key": "create:401",
    "a guest too many": "create:429",
    "a guest who broke down": "create:502",
    "a guest who is cut off": "create:cut_in_answer",
    "a guest who never comes": "create:hang",
}


class TestTurbotextProvider(ImageProviderContract):
    secrets = ("the-api-key", "127.0.0.1", "/media/", "undesirable", "somebody", "broke down")
    params = {"content": "a knight"}  # noqa: RUF012  # a ClassVar of the suite
    slow_params = {"content": "a guest who never comes"}  # noqa: RUF012
    faults = (
        Fault(params={"content": "a guest as an undesirable"}, raises=ProviderRefused),
        Fault(params={"content": "a guest as somebody rejected"}, raises=ProviderRejected),
        Fault(params={"content": "a guest as somebody rejected later"}, raises=ProviderRejected),
        Fault(params={"content": "a guest without a key"}, raises=ProviderMisconfigured),
        Fault(params={"content": "a guest too many"}, raises=ProviderQuotaExhausted),
        Fault(params={"content": "a guest who broke down"}, raises=ProviderError),
        Fault(params={"content": "a guest who is cut off"}, raises=ProviderError),
        Fault(params={"strength": 81}, raises=ProviderMisconfigured),
    )

    @pytest.fixture
    async def link(self) -> AsyncIterator[Links]:
        async with Links() as links:
            yield links

    @pytest.fixture
    async def provider(self) -> AsyncIterator[TurbotextProvider]:
        async with FakeTurbotext(api_key="the-api-key") as turbotext:
            turbotext.by_prompt = PROMPTS
            provider = TurbotextProvider(api_key="the-api-key", base_url=turbotext.base_url, poll_sec=0.02)
            yield provider
            await provider.close()
