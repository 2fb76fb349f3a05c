"""What every job repository does as a queue."""

import asyncio
import contextlib

import pytest

from photochanger.application.ports.jobs import JobReading
from photochanger.application.ports.signals import Topic
from photochanger.domain.job import MAX_CLAIMS, JobId, JobState
from photochanger.testing.harness import (
    HOUR,
    MINUTE,
    SECOND,
    Records,
    RecordsContract,
    a_completed_job,
    a_pending_job,
    a_processing_job,
    a_submission,
    new_id,
    present,
    until_quiet,
)


def _ids(readings: list[JobReading] | tuple[JobReading, ...]) -> list[JobId]:
    return [reading.job.job_id for reading in readings]


class JobQueueContract(RecordsContract):
    """`claim`, `renew` and `release`."""

    async def test_an_empty_queue_gives_nothing(self, records: Records) -> None:
        assert list(await records.jobs.claim(limit=5, lease=SECOND)) == []

    async def test_jobs_are_claimed_in_the_order_of_their_submission(self, records: Records) -> None:
        jobs = [await a_pending_job(records) for _ in range(5)]
        first = list(await records.jobs.claim(limit=2, lease=SECOND))
        rest = list(await records.jobs.claim(limit=9, lease=SECOND))
        assert _ids(first) + _ids(rest) == _ids(jobs)
        assert len(first) == 2

    async def test_a_limit_of_none_gives_nothing(self, records: Records) -> None:
        await a_pending_job(records)
        assert list(await records.jobs.claim(limit=0, lease=SECOND)) == []

    async def test_a_claimed_job_is_leased(self, records: Records) -> None:
        pending = await a_pending_job(records)
        [claimed] = await records.jobs.claim(limit=1, lease=10 * SECOND)
        job = claimed.job
        assert (job.state, job.fence, job.started_at) == (JobState.PROCESSING, 1, claimed.now)
        assert job.lease_expires_at == claimed.now + 10 * SECOND
        assert (await present(records, pending)).job == job

    async def test_a_leased_job_is_not_claimed_again(self, records: Records) -> None:
        await a_processing_job(records)
        assert list(await records.jobs.claim(limit=5, lease=SECOND)) == []

    async def test_a_job_whose_lease_lapsed_is_claimed_again(self, records: Records) -> None:
        first = await a_processing_job(records, lease=10 * SECOND)
        await records.time_passes(10 * SECOND)
        [second] = await records.jobs.claim(limit=1, lease=10 * SECOND)
        assert second.job.job_id == first.job.job_id
        assert second.job.fence == first.job.fence + 1
        assert second.job.lease_expires_at == second.now + 10 * SECOND

    async def test_a_lapsed_job_keeps_its_place_in_the_order(self, records: Records) -> None:
        lapsed = await a_processing_job(records, lease=SECOND)
        younger = await a_pending_job(records)
        await records.time_passes(2 * SECOND)
        assert _ids(list(await records.jobs.claim(limit=2, lease=SECOND))) == _ids([lapsed, younger])

    async def test_a_job_is_not_claimed_from_its_deadline_on(self, records: Records) -> None:
        await a_pending_job(records, time_left=MINUTE)
        await records.time_passes(MINUTE)
        assert list(await records.jobs.claim(limit=1, lease=SECOND)) == []

    async def test_a_job_is_claimed_so_many_times_and_no_more(self, records: Records) -> None:
        await a_processing_job(records, lease=SECOND, claims=MAX_CLAIMS)
        await records.time_passes(2 * SECOND)
        assert list(await records.jobs.claim(limit=1, lease=SECOND)) == []

    async def test_a_final_job_is_not_claimed(self, records: Records) -> None:
        await a_completed_job(records)
        assert list(await records.jobs.claim(limit=1, lease=SECOND)) == []

    async def test_no_job_is_given_to_two_callers(self, records: Records) -> None:
        jobs = [await a_pending_job(records) for _ in range(60)]
        claims = await asyncio.gather(*(records.jobs.claim(limit=3, lease=MINUTE) for _ in range(30)))
        claimed = [job_id for readings in claims for job_id in _ids(list(readings))]
        assert sorted(claimed) == sorted(_ids(jobs))

    async def test_a_cancelled_claim_takes_nothing(self, records: Records) -> None:
        await a_pending_job(records)
        for delay in range(20):
            claim = asyncio.ensure_future(records.jobs.claim(limit=1, lease=HOUR))
            await asyncio.sleep(delay / 5_000)
            claim.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                for reading in await claim:
                    await records.jobs.release(reading.job.job_id, fence=reading.job.fence)
        assert len(await records.jobs.claim(limit=1, lease=HOUR)) == 1

    async def test_an_empty_answer_never_hides_a_job(self, records: Records) -> None:
        """One wake-up per job, one claim per wake-up: not one of many hundred jobs may be left behind."""
        total, workers = 600, 8
        wake_ups: asyncio.Queue[bool] = asyncio.Queue()
        claimed: list[JobId] = []

        async def submit() -> None:
            for _ in range(total // workers):
                await records.jobs.submit(await a_submission(records, time_left=HOUR))
                wake_ups.put_nowait(True)

        async def work() -> None:
            while await wake_ups.get():
                claimed.extend(_ids(list(await records.jobs.claim(limit=1, lease=HOUR))))

        claimers = [asyncio.create_task(work()) for _ in range(workers)]
        await asyncio.gather(*(submit() for _ in range(workers)))
        for _ in claimers:
            wake_ups.put_nowait(False)
        await asyncio.gather(*claimers)
        assert len(claimed) == len(set(claimed)) == total

    async def test_renewing_extends_the_lease_from_now(self, records: Records) -> None:
        claimed = await a_processing_job(records, lease=10 * SECOND)
        await records.time_passes(8 * SECOND)
        before = await present(records, claimed)
        assert await records.jobs.renew(claimed.job.job_id, fence=1, lease=10 * SECOND)
        after = await present(records, claimed)
        assert after.job.lease_expires_at is not None
        assert before.now + 10 * SECOND <= after.job.lease_expires_at <= after.now + 10 * SECOND

    async def test_renewing_records_the_calls_so_far_and_never_fewer(self, records: Records) -> None:
        claimed = await a_processing_job(records)
        for attempts, recorded in ((2, 2), (1, 2), (0, 2), (3, 3)):
            await records.jobs.renew(claimed.job.job_id, fence=1, lease=10 * SECOND, attempts=attempts)
            assert (await present(records, claimed)).job.attempts == recorded

    async def test_many_leases_are_renewed_at_once_each_for_its_holder(self, records: Records) -> None:
        held = [await a_processing_job(records, lease=10 * SECOND) for _ in range(8)]
        taken_over = await a_processing_job(records, lease=SECOND, time_left=HOUR)
        await records.time_passes(SECOND)
        await records.jobs.claim(limit=1, lease=MINUTE)

        renewals = [
            (reading.job.job_id, 1, (20 + number) * SECOND, number) for number, reading in enumerate(held)
        ]
        lost, won = (taken_over.job.job_id, 1, MINUTE, 7), (taken_over.job.job_id, 2, MINUTE, 3)
        asked = [lost, *renewals, won, (JobId(new_id()), 1, MINUTE, 0), renewals[0]]
        answers = await asyncio.gather(
            *(
                records.jobs.renew(job_id, fence=fence, lease=lease, attempts=attempts)
                for job_id, fence, lease, attempts in asked
            )
        )

        assert answers == [False, *[True] * 8, True, False, True]
        assert (await present(records, taken_over)).job.attempts == 3
        for (_, _, lease, attempts), reading in zip(renewals, held, strict=True):
            now = await present(records, reading)
            assert now.job.lease_expires_at is not None
            assert now.now - SECOND < now.job.lease_expires_at - lease <= now.now
            assert now.job.attempts == attempts

    async def test_a_lease_cannot_be_renewed_once_it_is_lost(self, records: Records) -> None:
        claimed = await a_processing_job(records, lease=10 * SECOND, time_left=HOUR)
        job_id = claimed.job.job_id
        assert not await records.jobs.renew(job_id, fence=2, lease=SECOND)
        await records.time_passes(10 * SECOND)
        assert not await records.jobs.renew(job_id, fence=1, lease=SECOND)
        await records.jobs.claim(limit=1, lease=MINUTE)
        assert not await records.jobs.renew(job_id, fence=1, lease=SECOND)
        assert await records.jobs.renew(job_id, fence=2, lease=MINUTE)

    async def test_a_lease_cannot_be_renewed_from_the_deadline_on(self, records: Records) -> None:
        claimed = await a_processing_job(records, lease=HOUR, time_left=MINUTE)
        await records.time_passes(MINUTE)
        assert not await records.jobs.renew(claimed.job.job_id, fence=1, lease=HOUR)

    async def test_pending_final_and_unknown_jobs_have_no_lease_to_renew(self, records: Records) -> None:
        finished = await a_completed_job(records)
        pending = await a_pending_job(records)
        for job_id, fence in [(finished.job.job_id, 1), (pending.job.job_id, 0), (JobId(new_id()), 1)]:
            assert not await records.jobs.renew(job_id, fence=fence, lease=SECOND)
            assert not await records.jobs.release(job_id, fence=fence)

    async def test_a_released_job_can_be_claimed_at_once(self, records: Records) -> None:
        claimed = await a_processing_job(records)
        assert await records.jobs.release(claimed.job.job_id, fence=1)
        released = await present(records, claimed)
        assert (released.job.state, released.job.lease_expires_at) == (JobState.PENDING, None)
        [again] = await records.jobs.claim(limit=1, lease=SECOND)
        assert again.job.fence == 2
        assert again.job.started_at == claimed.job.started_at

    async def test_a_released_job_keeps_its_place_in_the_order(self, records: Records) -> None:
        released = await a_processing_job(records)
        younger = await a_pending_job(records)
        await records.jobs.release(released.job.job_id, fence=1)
        assert _ids(list(await records.jobs.claim(limit=2, lease=SECOND))) == _ids([released, younger])

    @pytest.mark.parametrize("topic", [Topic.JOB_PENDING, Topic.PLACE_FREED])
    async def test_releasing_announces_that_a_job_is_pending_and_a_place_free(
        self, records: Records, topic: Topic
    ) -> None:
        claimed = await a_processing_job(records)
        with records.signals.subscribe(topic) as subscription:
            await until_quiet(subscription)
            await records.jobs.release(claimed.job.job_id, fence=1)
            assert await subscription.wait(5)

    async def test_who_has_lost_the_job_cannot_release_it(self, records: Records) -> None:
        claimed = await a_processing_job(records, lease=10 * SECOND)
        assert not await records.jobs.release(claimed.job.job_id, fence=2)
        await records.time_passes(10 * SECOND)
        assert not await records.jobs.release(claimed.job.job_id, fence=1)
        assert (await present(records, claimed)).job.state is JobState.PROCESSING
