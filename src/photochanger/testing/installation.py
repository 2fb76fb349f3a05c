"""The contract of `Installation`."""

import re

import pytest

from photochanger.application.ports.media import Installation
from photochanger.testing.harness import AsyncContract


class InstallationContract(AsyncContract):
    """Every sentence of `Installation`; override the fixtures."""

    @pytest.fixture
    def installation(self) -> Installation:
        """Return an installation."""
        raise NotImplementedError("override the fixture `installation`")

    @pytest.fixture
    def another_installation(self) -> Installation:
        """Return one whose records were made independently."""
        raise NotImplementedError("override the fixture `another_installation`")

    async def test_its_id_is_32_hexadecimal_digits_and_stays(self, installation: Installation) -> None:
        installation_id = await installation.get_id()
        assert re.fullmatch("[0-9a-f]{32}", installation_id)
        assert await installation.get_id() == installation_id

    async def test_another_has_another_id(
        self, installation: Installation, another_installation: Installation
    ) -> None:
        assert await installation.get_id() != await another_installation.get_id()

    async def test_it_remembers_that_media_were_marked_and_another_does_not(
        self, installation: Installation, another_installation: Installation
    ) -> None:
        assert not await another_installation.has_marked_media()
        for _ in range(2):
            await another_installation.media_marked()
            assert await another_installation.has_marked_media()
        assert not await installation.has_marked_media()
