"""The contract of `ImageProvider`: subclass it and give it a `provider` fixture.

    class TestMyProvider(ImageProviderContract):
        secrets = ("the-api-key",)
        faults = (Fault(params={"prompt": "refuse me"}, raises=ProviderRefused),)

        @pytest.fixture
        def provider(self) -> ImageProvider:
            return MyProvider(api_key="the-api-key", url=fake_server)

Providers that need a network get a fake of it from their fixture. Those that take links get them from a
`link` fixture: `photochanger.testing.links.Links` makes some.
"""

import asyncio
import logging
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import ClassVar

import pytest

from photochanger.application.ports.images import PreparedImage
from photochanger.application.ports.providers import ImageProvider, TransformRequest
from photochanger.domain.errors import ProviderFault
from photochanger.domain.operation import Operation, ParameterValue
from photochanger.testing import photos
from photochanger.testing.provider_requests import Link, a_photo, a_request, answer, no_link

NAME = re.compile(r"[a-z][a-z0-9_]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Parameters with which a provider fails, and how."""

    raises: type[ProviderFault]
    params: Mapping[str, ParameterValue] = field(default_factory=dict)
    operation: str | None = None


@pytest.mark.anyio
class ImageProviderContract:
    """What every image provider promises."""

    secrets: ClassVar[tuple[str, ...]] = ()
    """Texts that must not appear in an error or a log: keys, prompts."""
    faults: ClassVar[tuple[Fault, ...]] = ()
    """Ways to make the provider fail."""
    params: ClassVar[Mapping[str, ParameterValue]] = {}
    """Parameters of the first operation with which it succeeds, beside the defaults."""
    slow_params: ClassVar[Mapping[str, ParameterValue]] = {}
    """The same, for a call that takes long, to be cancelled."""

    @pytest.fixture
    def anyio_backend(self) -> str:
        return "asyncio"

    @pytest.fixture
    def provider(self) -> ImageProvider:
        raise NotImplementedError("give the suite a `provider` fixture")

    @pytest.fixture
    def link(self) -> Link:
        return no_link

    @pytest.fixture(autouse=True)
    def _takes_links(self, link: Link) -> None:
        self._link = link

    def a_request(
        self,
        operation: Operation,
        params: Mapping[str, ParameterValue] | None = None,
        *,
        photo: PreparedImage | None = None,
    ) -> TransformRequest:
        """Return a request as the function `a_request` does, with links where there are any."""
        return a_request(operation, params, photo=photo, link=self._link)

    async def test_the_description_never_changes(self, provider: ImageProvider) -> None:
        assert provider.description == provider.description

    async def test_names_are_words_and_unique(self, provider: ImageProvider) -> None:
        description = provider.description
        assert description.display_name
        for names in _scopes(provider):
            assert all(NAME.fullmatch(name) for name in names), names
            assert len(set(names)) == len(names)
        for operation in description.operations:
            assert operation.display_name
            assert description.operation(operation.name) is operation

    async def test_there_is_something_to_do(self, provider: ImageProvider) -> None:
        assert provider.description.operations

    async def test_defaults_are_valid_and_described(self, provider: ImageProvider) -> None:
        for operation in provider.description.operations:
            for parameter in operation.parameters:
                assert parameter.description
                if parameter.default is not None:
                    assert list(parameter.problems(parameter.default, parameter.name)) == []

    async def test_the_picture_can_be_decoded(self, provider: ImageProvider) -> None:
        operation = provider.description.operations[0]
        image = photos.decoded(await answer(provider, self.a_request(operation, self.params)))
        assert min(image.size) > 0

    async def test_calls_do_not_disturb_each_other(self, provider: ImageProvider) -> None:
        operation = provider.description.operations[0]
        pictures = await asyncio.gather(
            *(answer(provider, self.a_request(operation, self.params)) for _ in range(4))
        )
        assert all(min(photos.decoded(picture).size) > 0 for picture in pictures)

    async def test_the_photo_is_not_closed(self, provider: ImageProvider) -> None:
        photo = a_photo()
        operation = provider.description.operations[0]
        await answer(provider, self.a_request(operation, self.params, photo=photo))
        assert not photo.file.closed

    async def test_an_unknown_operation_is_a_fault(self, provider: ImageProvider) -> None:
        request = self.a_request(Operation(name="no_such_operation", display_name="none"))
        with pytest.raises(ProviderFault):
            await answer(provider, request)

    async def test_faults_say_what_went_wrong_and_nothing_secret(
        self, provider: ImageProvider, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.DEBUG)
        for fault in self.faults:
            with pytest.raises(ProviderFault) as caught:
                await answer(provider, self._request_for(provider, fault))
            assert type(caught.value) is fault.raises
            told = f"{caught.value!r} {caught.value.__cause__!r} {caplog.text}"
            assert [secret for secret in self.secrets if secret in told] == []

    def _request_for(self, provider: ImageProvider, fault: Fault) -> TransformRequest:
        name = fault.operation or provider.description.operations[0].name
        operation = provider.description.operation(name)
        assert operation is not None
        return self.a_request(operation, {**self.params, **fault.params})

    @pytest.mark.parametrize("delay", [0, 0.01, 0.1])
    async def test_cancellation_is_prompt_and_passes_through(
        self, provider: ImageProvider, delay: float
    ) -> None:
        operation = provider.description.operations[0]
        request = self.a_request(operation, {**self.params, **self.slow_params})
        task = asyncio.create_task(answer(provider, request))
        await asyncio.sleep(delay)
        cancelled = task.cancel()
        start = time.monotonic()
        with suppress(asyncio.CancelledError):
            await task
        assert time.monotonic() - start < 0.5
        assert task.cancelled() is cancelled


def _scopes(provider: ImageProvider) -> Iterator[list[str]]:
    description = provider.description
    yield [description.name]
    yield [operation.name for operation in description.operations]
    for operation in description.operations:
        yield [parameter.name for parameter in operation.parameters]
        yield [role.role for role in operation.template_roles]
