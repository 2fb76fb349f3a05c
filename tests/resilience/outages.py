"""PostgreSQL ends and comes back, here or elsewhere, while booths go on sending photos."""

import asyncio
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from photochanger.domain.job import Job, JobState
from photochanger.entrypoints.cli.processes import ServeProcess
from tests.resilience.load import Load, delivered_since, now, photos_sent_to
from tests.resilience.postgres import HOST, OWNER, Mode, PostgresServer
from tests.resilience.trouble import photo_to
from tests.system.installation import SLOT, Installation, eventually

DELAY_MS: Final = 500
"""How long the provider takes: so some jobs are always under way."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outage:
    """What came of it: what booths saw, and all jobs in the end."""

    load: Load
    back_sec: float
    """From the moment at which PostgreSQL answered again to the first picture of a photo sent after it, but
    for the time that its provider took."""
    jobs: list[Job]

    def states(self) -> Counter[str]:
        """Return how many jobs ended in which state."""
        return Counter(job.state.value for job in self.jobs)

    def done_again(self) -> int:
        """Return how often a job was claimed once more."""
        return sum(job.fence - 1 for job in self.jobs)

    def lost(self) -> int:
        """Return how many pictures were delivered whose jobs are not there any more."""
        completed = sum(job.state is JobState.COMPLETED for job in self.jobs)
        return max(0, len(self.load.delivered()) - completed)


async def restarted(
    server: PostgresServer, folder: Path, database: str, *, mode: Mode, down_sec: float = 0.0
) -> Outage:
    """Restart PostgreSQL under load."""
    installation = Installation(folder, server.create_database(database))
    try:
        await installation.set_up({"effect": "none", "delay_ms": DELAY_MS}, timeout_sec=20)
        process = await asyncio.to_thread(installation.serve, workers=8)
        async with photos_sent_to(process) as load:
            await delivered_since(load, 0)
            await asyncio.to_thread(server.stop, mode)
            await asyncio.sleep(down_sec)
            await asyncio.to_thread(server.start)
            back_sec = await _back_sec(load, process)
        return Outage(load=load, back_sec=back_sec, jobs=await _all_final(installation))
    finally:
        installation.kill_all()


async def failed_over(primary: PostgresServer, standby: PostgresServer, folder: Path) -> Outage:
    """Kill the primary under load, and promote its standby; commits waited for both until then."""
    database = "failover"
    primary.create_database(database)
    standby.create_standby_of(primary)
    primary.ask("ALTER SYSTEM SET synchronous_standby_names = '*'")
    primary.ask("SELECT pg_reload_conf()")
    hosts = f"{HOST}:{primary.port},{HOST}:{standby.port}"
    url = f"postgresql://{OWNER}@{hosts}/{database}?target_session_attrs=read-write"
    installation = Installation(folder, url)
    try:
        await installation.set_up({"effect": "none", "delay_ms": DELAY_MS}, timeout_sec=20)
        process = await asyncio.to_thread(installation.serve, workers=8)
        async with photos_sent_to(process) as load:
            await delivered_since(load, 0)
            await asyncio.to_thread(primary.stop, "immediate")
            await asyncio.to_thread(standby.promote)
            back_sec = await _back_sec(load, process)
        return Outage(load=load, back_sec=back_sec, jobs=await _all_final(installation))
    finally:
        installation.kill_all()


async def _back_sec(load: Load, process: ServeProcess) -> float:
    """Send a photo at once, for the booths have theirs under way; see that theirs come through too."""
    back = now()
    at_once = asyncio.create_task(photo_to(process, SLOT))
    await delivered_since(load, back)
    load.seen.append(await at_once)
    return load.back_sec(back) - DELAY_MS / 1000


async def _all_final(installation: Installation) -> list[Job]:
    async def final() -> list[Job]:
        jobs = await installation.jobs()
        return jobs if all(job.is_finalized for job in jobs) else []

    return await eventually(final)
