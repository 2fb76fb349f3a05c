"""The same photo many times at once, in several processes, and after a restart."""

from collections.abc import AsyncIterator

import aiohttp
import pytest

from photochanger.testing.fake_gemini import FakeGemini
from tests.system.installation import Installation
from tests.twins import REQUESTS, Heard, Twins, photo_of, what_is_wrong

pytestmark = [pytest.mark.anyio, pytest.mark.system]


@pytest.fixture
async def gemini() -> AsyncIterator[FakeGemini]:
    async with FakeGemini(delay_sec=0.02) as gemini:
        yield gemini


async def test_fifty_at_once_over_three_servers_are_one_job_one_call_and_fifty_pictures(
    installation: Installation, gemini: FakeGemini
) -> None:
    """`python -m tests.twins` does a thousand rounds."""
    twins = Twins(installation, gemini)
    await twins.start()
    assert await twins.rounds(8) == []
    assert await installation.discrepancies() == []


@pytest.mark.parametrize("key", ["a key", None])
async def test_what_was_answered_is_answered_again_by_a_server_that_has_just_started(
    installation: Installation, gemini: FakeGemini, key: str | None
) -> None:
    twins = Twins(installation, gemini)
    await twins.start()
    async with aiohttp.ClientSession() as session:
        first = await twins.send(session, twins.servers[0], photo_of(1), key)
        for server in twins.servers:
            server.kill()
        restarted = installation.serve()
        again = await twins.send(session, restarted, photo_of(1), key)
    assert (first.status, first.replayed) == (200, False)
    assert again == Heard(200, first.job_id, True, first.picture)
    assert len(gemini.calls) == 1


def test_a_round_that_went_wrong_is_told() -> None:
    right = [Heard(200, "1", number > 0, b"picture") for number in range(REQUESTS)]
    assert what_is_wrong(right, calls=1) == []
    assert what_is_wrong(right, calls=2) == ["2 calls of the provider"]
    assert what_is_wrong([*right[1:], right[1]], calls=1) == ["0 answers were new"]
    assert what_is_wrong([*right[1:], Heard(503, "", False, b"{}")], calls=1) == [
        "answered [200, 503]",
        "2 jobs",
        "2 pictures",
    ]
