"""A connection to PostgreSQL is lost at each step of a photo: no second job, no second call, a picture."""

import asyncio
from pathlib import Path
from typing import Final

import pytest

from photochanger.domain.job import JobState
from tests.resilience.postgres import PostgresServer
from tests.resilience.statement_proxy import Cut, StatementProxy
from tests.resilience.trouble import QUICK, photo_to
from tests.system.installation import Installation

pytestmark = [pytest.mark.anyio, pytest.mark.system]

STEPS: Final = {
    "submit": b"INSERT INTO job ",
    "claim": b"EXECUTE photochanger_claim",
    "renew": b"SET state = CASE allowed.state WHEN 'processing' THEN 'processing'",
    "announce": b"INSERT INTO media_object",
    "finalize": b"AS was_allowed",
    "look": b"clock_timestamp() AS now FROM job WHERE job_id = $1",
}
"""What each step's statement holds, and no other's."""


LONG_MS: Final = 2_200
"""So long that the lease is renewed: half of that interval to one and a half after the claim."""


@pytest.mark.parametrize("cut", Cut)
async def test_every_step_survives_the_loss_of_its_connection(
    postgres: PostgresServer, tmp_path: Path, cut: Cut
) -> None:
    database = f"cut_{cut.name.lower()}"
    postgres.create_database(database)
    async with StatementProxy(postgres.port).running() as proxy:
        url = f"postgresql://photos@127.0.0.1:{proxy.port}/{database}"
        installation = Installation(tmp_path / "data", url)
        try:
            await installation.set_up({"effect": "none", "delay_ms": LONG_MS}, slot_id=QUICK)
            for step, text in STEPS.items():
                await _cut_at(step, text, cut, proxy, installation)
        finally:
            installation.kill_all()


async def _cut_at(
    step: str, text: bytes, cut: Cut, proxy: StatementProxy, installation: Installation
) -> None:
    """Send a photo to a new process, whose statements are not prepared yet, and cut it there."""
    before = len(await installation.jobs())
    server = await asyncio.to_thread(installation.serve, workers=1)
    proxy.arm(text, cut)

    answer = await photo_to(server, QUICK)

    assert proxy.has_cut.is_set(), step
    jobs = (await installation.jobs())[before:]
    if answer.status == 503 and step == "announce":
        assert (answer.code, jobs) == ("database_unavailable", [])
    else:
        assert answer.status == 200, (step, answer)
        assert [(job.state, job.attempts) for job in jobs] == [(JobState.COMPLETED, 1)], step
    await asyncio.to_thread(server.stop)
