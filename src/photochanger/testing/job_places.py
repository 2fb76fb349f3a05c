"""What every job repository does under limits of how many jobs may be under way at once."""

import asyncio
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import pytest

from photochanger.application.ports.jobs import JobReading, Place
from photochanger.application.ports.signals import Topic
from photochanger.domain.concurrency import ConcurrencyLimits
from photochanger.domain.job import MAX_CLAIMS, JobId
from photochanger.domain.slot import ProviderCall, Slot, SlotId
from photochanger.testing.harness import (
    A_SLOT,
    ANOTHER_SLOT,
    HOUR,
    MINUTE,
    SECOND,
    Records,
    RecordsContract,
    a_slot,
    a_submission,
    an_entry,
    failure,
    new_id,
    present,
    until_quiet,
)

ONE_AT_EACH_SLOT: Final = ConcurrencyLimits(slots={A_SLOT: 1, ANOTHER_SLOT: 1})


def a_slot_of(provider: str, slot_id: SlotId = A_SLOT) -> Slot:
    """Return a slot whose call is one of this provider."""
    slot = a_slot(slot_id)
    call = ProviderCall(provider=provider, operation="paint")
    return replace(slot, configuration=replace(slot.configuration, call=call))


async def submitted(records: Records, *providers: str, slot_id: SlotId = A_SLOT) -> list[JobId]:
    """Submit a job for each of the providers, and return their ids."""
    submissions = [
        await a_submission(records, slot=a_slot_of(provider, slot_id), time_left=HOUR)
        for provider in providers
    ]
    return [(await records.jobs.submit(each)).reading.job.job_id for each in submissions]


async def claimed(records: Records, limits: ConcurrencyLimits, *, limit: int = 100) -> list[JobId]:
    """Claim until there is nothing more, or `limit` jobs, for an hour less a minute; return the ids."""
    got: list[JobId] = []
    while readings := await records.jobs.claim(limit=limit - len(got), lease=HOUR - MINUTE, limits=limits):
        got += [reading.job.job_id for reading in readings]
    return got


async def held(records: Records, provider: str, slot_id: SlotId = A_SLOT) -> JobReading:
    """Submit a job and claim it, which has to be the only one."""
    await submitted(records, provider, slot_id=slot_id)
    [reading] = await records.jobs.claim(limit=1, lease=HOUR - MINUTE)
    return reading


async def move(records: Records, reading: JobReading, provider: str, *, places: int | None = 1) -> Place:
    """Ask for a place at the provider, in the name of who claimed the job."""
    job = reading.job
    return await records.jobs.move(job.job_id, fence=job.fence, provider=provider, places=places)


async def end(records: Records, job_id: JobId) -> None:
    """Have the job fail, in the name of who claimed it first."""
    assert await records.jobs.finalize(job_id, failure(), fence=1) is not None


class JobPlacesContract(RecordsContract):
    """`claim` under limits, and `move`."""

    async def test_no_more_jobs_of_a_slot_are_claimed_than_it_has_places(self, records: Records) -> None:
        ids = await submitted(records, *["p"] * 4)
        limits = ConcurrencyLimits(slots={A_SLOT: 2})
        assert await claimed(records, limits) == ids[:2]
        assert await claimed(records, limits) == []
        await end(records, ids[0])
        assert await claimed(records, limits) == [ids[2]]

    async def test_no_more_jobs_of_a_provider_are_claimed_than_it_has_places(self, records: Records) -> None:
        ids = [
            *await submitted(records, "p", "p"),
            *await submitted(records, "p", "p", slot_id=ANOTHER_SLOT),
        ]
        limits = ConcurrencyLimits(providers={"p": 3})
        assert await claimed(records, limits, limit=2) == ids[:2]
        assert await claimed(records, limits) == [ids[2]]
        assert await claimed(records, limits) == []
        await end(records, ids[1])
        assert await claimed(records, limits) == [ids[3]]

    async def test_without_a_limit_there_is_none(self, records: Records) -> None:
        ids = await submitted(records, *["p"] * 5)
        limits = ConcurrencyLimits(slots={ANOTHER_SLOT: 1}, providers={"q": 1})
        assert await claimed(records, limits) == ids

    async def test_who_is_passed_over_finds_his_slot_or_provider_full(self, records: Records) -> None:
        first = await submitted(records, "p", "p", "q")
        second = await submitted(records, "p", "q", slot_id=ANOTHER_SLOT)
        assert await claimed(records, ONE_AT_EACH_SLOT) == [first[0], second[0]]
        await end(records, first[0])
        limits = replace(ONE_AT_EACH_SLOT, providers={"p": 1})
        assert await claimed(records, limits) == [first[2]], "p is full with the other slot's job"

    @pytest.mark.parametrize("seed", range(12))
    async def test_what_is_claimed_is_what_one_after_the_other_would_get(
        self, records: Records, seed: int
    ) -> None:
        """Whatever the limits, and by however many claims of whatever size."""
        chance = random.Random(seed)
        slots, providers = [SlotId(f"slot-00{number}") for number in range(1, 5)], ["p", "q", "r"]
        limits = ConcurrencyLimits(
            slots={slot_id: chance.randint(1, 6) for slot_id in slots[:3]},
            providers={provider: chance.randint(1, 6) for provider in providers[:2]},
        )
        wanted = [(chance.choice(slots), chance.choice(providers)) for _ in range(30)]
        ids = [(await submitted(records, provider, slot_id=slot_id))[0] for slot_id, provider in wanted]
        got: list[JobId] = []
        while ids_of_claim := await claimed(records, limits, limit=chance.randint(1, 5)):
            got += ids_of_claim
        assert got == [job_id for job_id, gets in zip(ids, _one_by_one(wanted, limits), strict=True) if gets]

    async def test_racing_claimers_never_exceed_a_limit_or_the_order(self, records: Records) -> None:
        ids = await submitted(records, *["p"] * 20)
        limits = ConcurrencyLimits(slots={A_SLOT: 7})
        claims = await asyncio.gather(*(claimed(records, limits, limit=2) for _ in range(12)))
        assert sorted(job_id for claim in claims for job_id in claim) == sorted(ids[:7])

    async def test_a_claim_says_whether_others_wait(self, records: Records) -> None:
        async def others_wait(limits: ConcurrencyLimits, limit: int = 1) -> bool:
            return (await records.jobs.claim(limit=limit, lease=HOUR, limits=limits)).others_wait

        assert not await others_wait(ONE_AT_EACH_SLOT)
        await submitted(records, "p", "p", "q")
        assert await others_wait(ConcurrencyLimits()), "nobody has claimed them yet"
        assert await others_wait(ONE_AT_EACH_SLOT), "there is no place for them"
        assert not await others_wait(ConcurrencyLimits(), limit=2)
        assert not await others_wait(ConcurrencyLimits())

    async def test_jobs_under_way_keep_their_places_when_a_limit_is_lowered(self, records: Records) -> None:
        ids = await submitted(records, *["p"] * 4)
        assert await claimed(records, ConcurrencyLimits(slots={A_SLOT: 3})) == ids[:3]
        for done in ids[:2]:
            assert await claimed(records, ONE_AT_EACH_SLOT) == []
            await end(records, done)
        assert await claimed(records, ONE_AT_EACH_SLOT) == []
        assert (await records.jobs.get(ids[2])) is not None
        await end(records, ids[2])
        assert await claimed(records, ONE_AT_EACH_SLOT) == [ids[3]]

    async def test_a_place_is_free_once_its_job_is_handed_back_cancelled_or_overdue(
        self, records: Records
    ) -> None:
        ids = await submitted(records, *["p"] * 3)
        assert await claimed(records, ONE_AT_EACH_SLOT) == ids[:1]
        await records.jobs.release(ids[0], fence=1)
        assert await claimed(records, ONE_AT_EACH_SLOT) == ids[:1]
        await records.jobs.cancel(ids[0], entry=an_entry())
        assert await claimed(records, ONE_AT_EACH_SLOT) == ids[1:2]
        await records.jobs.cancel(ids[2], entry=an_entry())
        await records.time_passes(HOUR)
        await records.jobs.expire(ids)
        last = await submitted(records, "p")
        assert await claimed(records, ONE_AT_EACH_SLOT) == last

    async def test_a_lapsed_lease_holds_no_place(self, records: Records) -> None:
        """Not even where the job cannot be claimed any more."""
        ids = await submitted(records, "p", "p")
        for _ in range(MAX_CLAIMS):
            [again] = await records.jobs.claim(limit=2, lease=SECOND, limits=ONE_AT_EACH_SLOT)
            assert again.job.job_id == ids[0], "it is the first"
            await records.time_passes(2 * SECOND)
        assert await claimed(records, ONE_AT_EACH_SLOT) == ids[1:]

    async def test_a_job_that_moves_takes_a_place_there_and_gives_up_its_own(self, records: Records) -> None:
        limits = ConcurrencyLimits(providers={"p": 1, "q": 1})
        moving = await held(records, "p")
        next_of_p, next_of_q = await submitted(records, "p", "q")
        assert await move(records, moving, "q") is Place.TAKEN
        assert await claimed(records, limits) == [next_of_p]
        await end(records, moving.job.job_id)
        assert await claimed(records, limits) == [next_of_q]

    async def test_moving_changes_nothing_else(self, records: Records) -> None:
        moving = await held(records, "p")
        await move(records, moving, "q")
        assert (await present(records, moving)).job == moving.job

    async def test_where_no_place_is_free_a_job_that_moves_waits_without_its_own(
        self, records: Records
    ) -> None:
        limits = ConcurrencyLimits(providers={"p": 1, "q": 1})
        first, moving = await held(records, "q"), await held(records, "p")
        [next_of_p] = await submitted(records, "p")
        assert await move(records, moving, "q") is Place.AWAITED
        assert await claimed(records, limits) == [next_of_p]
        assert await move(records, moving, "q") is Place.AWAITED
        await end(records, first.job.job_id)
        assert await move(records, moving, "q") is Place.TAKEN

    async def test_who_waits_for_a_provider_keeps_the_place_at_the_slot(self, records: Records) -> None:
        await held(records, "q", ANOTHER_SLOT)
        moving = await held(records, "p")
        await submitted(records, "r")
        assert await move(records, moving, "q") is Place.AWAITED
        assert await claimed(records, ConcurrencyLimits(slots={A_SLOT: 1})) == []

    async def test_who_waits_for_a_provider_comes_before_the_queue(self, records: Records) -> None:
        limits = ConcurrencyLimits(providers={"q": 1})
        first, moving = await held(records, "q"), await held(records, "p")
        [next_of_q] = await submitted(records, "q")
        assert await move(records, moving, "q") is Place.AWAITED
        await end(records, first.job.job_id)
        assert await claimed(records, limits) == []
        assert await move(records, moving, "q") is Place.TAKEN
        await end(records, moving.job.job_id)
        assert await claimed(records, limits) == [next_of_q]

    async def test_of_those_that_wait_for_a_provider_the_earliest_comes_first(self, records: Records) -> None:
        first, second, third = [await held(records, provider) for provider in ("q", "p", "p")]
        assert await move(records, third, "q") is Place.AWAITED
        assert await move(records, second, "q") is Place.AWAITED
        await end(records, first.job.job_id)
        assert await move(records, third, "q") is Place.AWAITED
        assert await move(records, second, "q") is Place.TAKEN
        assert await move(records, third, "q", places=2) is Place.TAKEN

    async def test_who_waits_and_dies_is_waited_for_no_longer(self, records: Records) -> None:
        first, second = [await held(records, provider) for provider in ("q", "p")]
        assert await move(records, second, "q") is Place.AWAITED
        await end(records, first.job.job_id)
        await records.jobs.cancel(second.job.job_id, entry=an_entry())
        assert await move(records, await held(records, "p"), "q") is Place.TAKEN

    async def test_two_that_want_each_others_places_get_them(self, records: Records) -> None:
        one, other = await held(records, "p"), await held(records, "q")
        assert await move(records, one, "q") is Place.AWAITED
        assert await move(records, other, "p") is Place.TAKEN
        assert await move(records, one, "q") is Place.TAKEN

    async def test_of_many_that_move_at_once_as_many_as_there_are_places_get_one(
        self, records: Records
    ) -> None:
        moving = [await held(records, "p") for _ in range(12)]
        found = await asyncio.gather(*(move(records, each, "q", places=5) for each in moving))
        assert Counter(found)[Place.TAKEN] <= 5
        again = [await move(records, each, "q", places=5) for each in moving]
        assert Counter(again) == {Place.TAKEN: 5, Place.AWAITED: 7}

    async def test_a_place_that_a_job_has_is_not_lost_by_asking_for_it(self, records: Records) -> None:
        one, other = await held(records, "p"), await held(records, "p")
        assert await move(records, other, "p") is Place.TAKEN
        assert await move(records, one, "q", places=None) is Place.TAKEN
        assert await move(records, other, "q", places=None) is Place.TAKEN
        assert await move(records, other, "q") is Place.TAKEN, "the limit was lowered"

    async def test_leaving_a_provider_is_announced(self, records: Records) -> None:
        moving = await held(records, "p")
        with records.signals.subscribe(Topic.PLACE_FREED) as subscription:
            await until_quiet(subscription)
            await move(records, moving, "p")
            assert not await subscription.wait(0.1)
            await move(records, moving, "q")
            assert await subscription.wait(5)

    async def test_who_has_lost_the_job_cannot_move_it(self, records: Records) -> None:
        moving = await held(records, "p")
        job_id = moving.job.job_id
        assert await records.jobs.move(job_id, fence=2, provider="q", places=9) is Place.LOST
        [pending] = await submitted(records, "p")
        assert await records.jobs.move(pending, fence=0, provider="q", places=9) is Place.LOST
        assert await records.jobs.move(JobId(new_id()), fence=1, provider="q", places=9) is Place.LOST
        await records.time_passes(HOUR - MINUTE)
        assert await move(records, moving, "q", places=9) is Place.LOST
        assert job_id in await claimed(records, ConcurrencyLimits(providers={"q": 0}))

    @pytest.mark.parametrize("hand_back", [True, False])
    async def test_a_job_that_is_claimed_anew_is_at_its_slots_own_provider(
        self, records: Records, *, hand_back: bool
    ) -> None:
        limits = ConcurrencyLimits(providers={"p": 1, "q": 1})
        moving = await held(records, "p")
        assert await move(records, moving, "q") is Place.TAKEN
        if hand_back:
            await records.jobs.release(moving.job.job_id, fence=1)
        else:
            await records.time_passes(HOUR - MINUTE)
        others = await submitted(records, "p", "q")
        assert await claimed(records, limits) == [moving.job.job_id, others[1]]


def _one_by_one(wanted: Sequence[tuple[SlotId, str]], limits: ConcurrencyLimits) -> Sequence[bool]:
    """Return who gets a place where each in turn gets one if it can."""
    taken: Counter[str] = Counter()
    places: dict[str, int] = {str(slot_id): places for slot_id, places in limits.slots.items()}
    places |= limits.providers

    def has_place(name: str) -> bool:
        return taken[name] < places.get(name, len(wanted))

    gets = []
    for slot_id, provider in wanted:
        gets.append(has_place(slot_id) and has_place(provider))
        if gets[-1]:
            taken.update([slot_id, provider])
    return gets
