import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace

import pytest

from photochanger.adapters.gemini import GeminiProvider
from photochanger.adapters.gemini.operations import EDIT_IMAGE
from photochanger.domain.errors import ProviderMisconfigured
from photochanger.testing.fake_gemini import FAULTS, FakeGemini
from photochanger.testing.provider_faults import open_sockets
from photochanger.testing.provider_requests import a_request, answer
from photochanger.testing.providers import Fault, ImageProviderContract

KEY = "AQ.a-secret-key"
PROMPT = "as the secret comic of our client"

LONG = {"hang", "slow_body"}
BEFORE_THE_PROMPT = {"cut_while_sending"}


class TestGeminiProvider(ImageProviderContract):
    secrets = (KEY, PROMPT)
    params = {"prompt": PROMPT}  # noqa: RUF012  # ClassVars of the suite
    slow_params = {"prompt": f"{PROMPT} [fault:hang]"}  # noqa: RUF012
    faults = (
        *(
            Fault(params={"prompt": f"{PROMPT} [fault:{name}]"}, raises=row.expected)
            for name, row in FAULTS.items()
            if name not in LONG | BEFORE_THE_PROMPT and row.expected
        ),
        Fault(params={"prompt": ""}, raises=ProviderMisconfigured),
        Fault(params={"prompt": PROMPT * 300}, raises=ProviderMisconfigured),
        Fault(params={"image_size": "8K"}, raises=ProviderMisconfigured),
        Fault(params={"models": ("../../files",)}, raises=ProviderMisconfigured),
    )

    @pytest.fixture
    async def gemini(self) -> AsyncIterator[FakeGemini]:
        async with FakeGemini(api_key=KEY) as gemini:
            yield gemini

    @pytest.fixture
    async def provider(self, gemini: FakeGemini) -> AsyncIterator[GeminiProvider]:
        provider = GeminiProvider(api_key=KEY, base_url=gemini.base_url)
        yield provider
        await provider.close()

    async def test_a_required_template_must_be_there(self, provider: GeminiProvider) -> None:
        style_transfer = provider.description.operation("style_transfer")
        assert style_transfer is not None
        request = a_request(style_transfer)
        assert await answer(provider, request)
        with pytest.raises(ProviderMisconfigured):
            await answer(provider, replace(request, templates=()))

    async def test_a_cancelled_call_hangs_up(self, provider: GeminiProvider, gemini: FakeGemini) -> None:
        tasks, sockets = asyncio.all_tasks(), open_sockets()
        for number in range(1, 4):
            call = asyncio.create_task(answer(provider, a_request(EDIT_IMAGE, self.slow_params)))
            await until_counted(gemini, "hang", number)
            call.cancel()
            await until_counted(gemini, "abandoned", number)
            assert call.cancelled()
        await until(lambda: open_sockets() <= sockets and asyncio.all_tasks() <= tasks)


async def until_counted(gemini: FakeGemini, outcome: str, number: int) -> None:
    await until(lambda: gemini.counts[outcome] == number)


async def until(done: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not done():  # noqa: ASYNC110
            await asyncio.sleep(0.001)
