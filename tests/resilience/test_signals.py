"""Connections for signals are ended again and again: no photo is left waiting for longer than a poll."""

import asyncio

import pytest

from tests.resilience.signals import hand_over
from tests.system.installation import Installation

pytestmark = [pytest.mark.anyio, pytest.mark.system]


async def test_no_wake_up_is_lost_for_good_while_listeners_reconnect(installation: Installation) -> None:
    async with asyncio.timeout(120):
        handed = await hand_over(installation, 60, across=True, cut_every_sec=0.3)

    assert handed.ended >= 6
    assert set(handed.load.outcomes()) == {"200"}
    assert handed.unfinished == 0
