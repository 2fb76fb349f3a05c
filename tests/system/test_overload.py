"""Ten times as many photos as can be done: refused at once or done in time, and nothing is left over."""

import asyncio
import json
import time
from collections import Counter

import pytest

from photochanger.domain.job import FINAL_STATES
from photochanger.domain.operation import ParameterValue
from tests.system.administration import port_of
from tests.system.http_server import Answer, exchange, photo_form, picture, post
from tests.system.installation import PASSWORD, Installation, eventually, states

pytestmark = [pytest.mark.anyio, pytest.mark.system, pytest.mark.slow]

PROCESSES, PLACES = 2, 1
CALL_SEC, TIME_OUT_SEC = 1.0, 12
SECONDS, TIMES = 6, 10
LATE_BY_SEC = 5.0
"""How late an answer may be here, where the machine is busy with the flood itself."""


async def test_in_an_overload_every_photo_is_refused_at_once_or_done(installation: Installation) -> None:
    params: dict[str, ParameterValue] = {"effect": "none", "delay_ms": int(CALL_SEC * 1000)}
    await installation.set_up(params, timeout_sec=TIME_OUT_SEC)
    servers = [installation.serve(workers=PLACES) for _ in range(PROCESSES)]
    ports = [port_of(server) for server in servers]
    request = post(photo_form(picture(), PASSWORD))
    assert [(await exchange(port, request)).status for port in ports] == [200, 200]

    per_sec = TIMES * PROCESSES * PLACES / CALL_SEC
    began = time.monotonic()
    async with asyncio.TaskGroup() as booths:
        sending = [
            booths.create_task(_photo(ports[number % PROCESSES], request, began + number / per_sec))
            for number in range(int(per_sec * SECONDS))
        ]
    answers = [task.result() for task in sending]

    statuses = Counter(answer.status for answer, _ in answers)
    accepted = statuses[200] + statuses[504]
    assert statuses.keys() <= {200, 429, 503, 504}
    assert statuses[429] + statuses[503] > len(answers) / 2
    assert statuses[504] <= accepted / 10
    assert accepted >= SECONDS * PROCESSES * PLACES / CALL_SEC / 2
    assert max(seconds for _, seconds in answers) < TIME_OUT_SEC + LATE_BY_SEC
    assert all(_says_when_to_come(answer) for answer, _ in answers if answer.status in {429, 503})

    jobs = await installation.jobs()
    assert len(jobs) == accepted + len(ports)
    assert states(jobs) <= FINAL_STATES

    async def is_taken() -> bool:
        return (await exchange(ports[0], request)).status == 200

    assert await eventually(is_taken, within_sec=10.0)
    assert await eventually(lambda: _is_tidy(installation))


async def _photo(port: int, request: bytes, at: float) -> tuple[Answer, float]:
    """Send a photo at its time; return its answer, and how long that took."""
    await asyncio.sleep(max(0.0, at - time.monotonic()))
    sent_at = time.monotonic()
    return await exchange(port, request), time.monotonic() - sent_at


def _says_when_to_come(answer: Answer) -> bool:
    problem = json.loads(answer.body)
    told = int(answer["retry-after"])
    return problem["code"] in {"slot_busy", "overloaded"} and problem["retry_after_sec"] == told >= 1


async def _is_tidy(installation: Installation) -> bool:
    return not await installation.leftovers() and not await installation.discrepancies()
