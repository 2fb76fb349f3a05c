"""Places at providers, for jobs that go on to another one than they were claimed for."""

import asyncio

from photochanger.application.configuration import CurrentConfiguration
from photochanger.application.ports.clock import Clock
from photochanger.application.ports.jobs import JobRepository, Place
from photochanger.application.ports.signals import Signals, Topic
from photochanger.domain.errors import DatabaseUnavailable
from photochanger.domain.job import Job

FREES_PLACES = (Topic.JOB_FINALIZED, Topic.PLACE_FREED, Topic.CONFIGURATION_CHANGED)
"""What may let a job go on that waits for a place, beside the death of another's worker."""

POLL_SEC = 1.0
"""How often it is looked without a signal: signals can be lost, and the dead send none."""


class TakePlace:
    """Moves a job to another provider, and waits there for its turn.

    However many wait in this process, one at a time asks: each question is a transaction that all claims of
    all processes wait for.
    """

    def __init__(
        self, *, jobs: JobRepository, signals: Signals, configuration: CurrentConfiguration, clock: Clock
    ) -> None:
        self._jobs = jobs
        self._signals = signals
        self._configuration = configuration
        self._clock = clock
        self._asking = asyncio.Lock()

    async def __call__(self, job: Job, provider: str, *, within_sec: float) -> bool:
        """Give up the job's place and take one at `provider`; False where there was none in time.

        It is asked at least once. While the database does not answer, nobody knows what is free, and the job
        waits.
        """
        ends_at = self._clock.monotonic() + within_sec
        with self._signals.watch(*FREES_PLACES) as freed:
            while not await self._is_taken(job, provider):
                time_left = ends_at - self._clock.monotonic()
                if time_left <= 0:
                    return False
                await freed.wait(min(time_left, POLL_SEC))
        return True

    async def _is_taken(self, job: Job, provider: str) -> bool:
        try:
            places = (await self._configuration.get()).limits.providers.get(provider)
            async with self._asking:
                place = await self._jobs.move(job.job_id, fence=job.fence, provider=provider, places=places)
        except DatabaseUnavailable:
            return False
        return place is Place.TAKEN
