"""What happened, or will: waves of empty answers, an outage, cut connections; through real processes."""

import asyncio
import random
import re
from collections import Counter
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from urllib.request import urlopen

import pytest

from photochanger.adapters.gemini.models import PREFERRED
from photochanger.domain.breaker import FAILURES_TO_OPEN
from photochanger.domain.job import JobState, ResultSource
from photochanger.domain.slot import ProviderCall, RetryPolicy
from photochanger.entrypoints.cli.booth import Delivery, Refusal
from photochanger.testing.fake_gemini import FakeGemini, ReceivedCall
from photochanger.testing.photos import encoded, plain_jpeg, scene
from tests.system.cutting_proxy import Cut, CuttingProxy, Way
from tests.system.installation import Installation, eventually

pytestmark = [pytest.mark.anyio, pytest.mark.system]

GEMINI = ProviderCall(provider="gemini", operation="edit_image", params={"prompt": "as a comic"})
REHEARSAL = ProviderCall(provider="rehearsal", operation="photo_effect")


def variables(gemini: FakeGemini, *, port: int | None = None) -> Mapping[str, str]:
    """What `serve` needs to take the fake for Gemini."""
    base_url = gemini.base_url if port is None else f"http://127.0.0.1:{port}"
    return {"GEMINI_API_KEY": gemini.api_key, "GEMINI_BASE_URL": base_url}


def _port(gemini: FakeGemini) -> int:
    return int(gemini.base_url.rpartition(":")[2])


def photos(folder: Path, count: int) -> list[Path]:
    """Return different photos, so that each call can be told from the others."""
    paths = [folder / f"photo-{number}.jpg" for number in range(count)]
    for number, path in enumerate(paths):
        path.write_bytes(plain_jpeg(300 + number, 200))
    return paths


async def send_all(
    installation: Installation, gemini: Mapping[str, str], paths: list[Path], *, at_once: int
) -> list[Delivery | Refusal]:
    """Send every photo to a new server, a bounded number at once."""
    server = installation.serve(workers=at_once, variables=gemini)
    gate = asyncio.Semaphore(at_once)

    async def one(path: Path) -> Delivery | Refusal:
        async with gate:
            return await installation.send(server, path)

    return await asyncio.gather(*(one(path) for path in paths))


class TestEmptyAnswers:
    """8 January 2026: 22 failures in four hours, HTTP 200 with `NO_IMAGE` after 1.0 to 1.7 s."""

    async def test_guests_do_not_notice(self, installation: Installation, tmp_path: Path) -> None:
        dice, seen = random.Random(8), set[str]()

        def judge(call: ReceivedCall) -> str:
            photo = sha256(call.images[0].data).hexdigest()
            is_first = photo not in seen
            seen.add(photo)
            return "no_image" if is_first and dice.random() < 0.6 else "ok"

        await installation.set_up({}, timeout_sec=48, call=GEMINI)
        async with FakeGemini(judge=judge, delay_sec=0.2, mime_type="image/jpeg") as gemini:
            answers = await send_all(installation, variables(gemini), photos(tmp_path, 100), at_once=8)

        assert gemini.counts["no_image"] >= 50
        delivered = [answer for answer in answers if isinstance(answer, Delivery)]
        assert len(delivered) >= 99
        assert len(gemini.calls) == 100 + gemini.counts["no_image"]


class TestOutage:
    async def test_the_fallback_serves_while_gemini_is_down_and_gemini_when_it_is_back(
        self, installation: Installation, tmp_path: Path
    ) -> None:
        is_down = True
        [photo] = photos(tmp_path, 1)

        def script(number: int) -> str:
            return "overloaded" if is_down else "ok"

        await installation.set_up({}, timeout_sec=48, call=GEMINI, fallback=REHEARSAL)
        async with FakeGemini(script=script) as gemini:
            server = installation.serve(variables=variables(gemini))
            for _ in range(8):
                assert isinstance(await installation.send(server, photo), Delivery)
            calls_while_down = len(gemini.calls)
            is_down = False

            async def gemini_delivers() -> bool:
                answer = await installation.send(server, photo)
                return isinstance(answer, Delivery) and answer.result_source == ResultSource.PROVIDER

            await eventually(gemini_delivers, within_sec=30)

        assert calls_while_down == FAILURES_TO_OPEN * len(PREFERRED), "then every breaker is open"


CUTS = 50


async def cut_until_fifty(
    installation: Installation, gemini: FakeGemini, folder: Path
) -> tuple[list[Delivery | Refusal], int]:
    """Send photos, with every other connection cut at a random place, until fifty have been.

    Return the answers, and how many calls the server counted as perhaps charged.
    """
    dice, sizes = random.Random(50), {Way.REQUEST: 40_000, Way.ANSWER: 40_000}
    last_was_cut = True

    def cuts(_number: int) -> Cut | None:
        nonlocal last_was_cut
        last_was_cut = not last_was_cut
        way = dice.choice(list(Way))
        return Cut(way, dice.randrange(1, sizes[way])) if last_was_cut else None

    answers: list[Delivery | Refusal] = []
    path = folder / "photo.jpg"
    async with CuttingProxy(_port(gemini), cuts).running() as proxy:
        server = installation.serve(variables=variables(gemini, port=proxy.port))
        while proxy.made < CUTS:
            path.write_bytes(encoded(scene(300, 200 + len(answers), 0.5), "JPEG", quality=90))
            answers.append(await installation.send(server, path))
            assert len(answers) < 5 * CUTS
        with urlopen(f"{server.base_url}/metrics") as response:  # noqa: ASYNC210 -- our own server, at once
            counted = re.search(
                r'^photochanger_provider_maybe_billed_total\{provider="gemini"\} (\S+)',
                response.read().decode(),
                re.MULTILINE,
            )
    return answers, int(float(counted[1])) if counted else 0


def calls_per_photo(gemini: FakeGemini) -> list[int]:
    """How often each photo arrived whole: what Gemini would charge."""
    return list(Counter(sha256(call.images[0].data).hexdigest() for call in gemini.calls).values())


class TestCutConnections:
    async def test_what_may_have_been_charged_is_not_repeated(
        self, installation: Installation, tmp_path: Path
    ) -> None:
        await installation.set_up({}, call=GEMINI, retry=RetryPolicy(backoff_ms=10))
        async with FakeGemini(mime_type="image/jpeg") as gemini:
            answers, maybe_billed = await cut_until_fifty(installation, gemini, tmp_path)

        refusals = [answer for answer in answers if isinstance(answer, Refusal)]
        assert max(calls_per_photo(gemini)) == 1
        assert len(refusals) == maybe_billed > 0
        assert {refusal.error.code for refusal in refusals} == {"provider_error"}

    async def test_what_surely_did_not_arrive_is_repeated(
        self, installation: Installation, tmp_path: Path
    ) -> None:
        # Large enough not to fit into the buffers of a connection, as a whole.
        (tmp_path / "photo.jpg").write_bytes(encoded(scene(3000, 2000, 0.6), "JPEG", quality=95))
        await installation.set_up({}, call=GEMINI, retry=RetryPolicy(backoff_ms=10))
        async with (
            FakeGemini(mime_type="image/jpeg") as gemini,
            CuttingProxy(
                _port(gemini), lambda number: None if number else Cut(Way.REQUEST, 100_000)
            ).running() as proxy,
        ):
            server = installation.serve(variables=variables(gemini, port=proxy.port))
            answer = await installation.send(server, tmp_path / "photo.jpg")

        assert isinstance(answer, Delivery)
        assert (proxy.made, calls_per_photo(gemini)) == (1, [1])
        [job] = await installation.jobs()
        assert job.attempts == 2

    async def test_a_slot_may_choose_to_pay_twice_rather_than_disappoint(
        self, installation: Installation, tmp_path: Path
    ) -> None:
        policy = RetryPolicy(backoff_ms=10, repeat_maybe_billed=True)
        await installation.set_up({}, call=GEMINI, retry=policy)
        async with FakeGemini(mime_type="image/jpeg") as gemini:
            answers, maybe_billed = await cut_until_fifty(installation, gemini, tmp_path)

        assert all(isinstance(answer, Delivery) for answer in answers)
        assert len(answers) < len(gemini.calls) <= len(answers) + maybe_billed, "one more for a cut, at most"
        states = {job.state for job in await installation.jobs()}
        assert states == {JobState.COMPLETED}
