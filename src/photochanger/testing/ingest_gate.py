"""The contract of `IngestGate`.

The rate is judged by the store's clock, which may be a real one. So intervals are long here, and whatever
happens meanwhile is short against them.
"""

import asyncio
import random
from datetime import UTC, datetime, timedelta

import pytest

from photochanger.application.ports.admission import PACE_JOBS, Passage
from photochanger.domain.job import JobSource, JobState
from photochanger.domain.media import MediaId, MediaKind, MediaState
from photochanger.domain.rate import Rate
from photochanger.domain.slot import SlotId
from photochanger.domain.waiting import SlotTraffic, Traffic
from photochanger.testing.harness import (
    A_SLOT,
    ANOTHER_SLOT,
    HOUR,
    MINUTE,
    SECOND,
    Records,
    RecordsContract,
    a_configuration,
    a_job_in,
    a_submission,
    new_id,
)

_EVERY_1000_SEC = Rate(per_sec=0.001, burst=1)
_PROVIDER = a_configuration().call.provider
_SHORT_SEC = 60.0
"""More than any of these tests takes, and little against the intervals."""


async def enter(
    records: Records,
    rate: Rate | None = None,
    *,
    slot_id: SlotId = A_SLOT,
    media_id: str = "",
    ttl: timedelta = HOUR,
) -> Passage:
    """Have a photo of a slot enter."""
    return await records.gate.enter(MediaId(media_id or new_id()), slot_id=slot_id, ttl=ttl, rate=rate)


async def _payloads(records: Records) -> int:
    return sum(media.kind is MediaKind.PAYLOAD for media in await records.media.living(limit=1_000))


class IngestGateContract(RecordsContract):
    """Every sentence of `IngestGate`; override the fixture `records`."""

    async def test_as_many_as_the_burst_enter_at_once_and_no_more(self, records: Records) -> None:
        rate = Rate(per_sec=0.001, burst=3)
        passages = [await enter(records, rate) for _ in range(5)]
        assert [passage.has_entered for passage in passages] == [True, True, True, False, False]

    async def test_the_wait_is_until_the_rate_lets_the_next_in(self, records: Records) -> None:
        rate = Rate(per_sec=0.001, burst=2)
        waits = [(await enter(records, rate)).wait_sec for _ in range(3)]
        assert waits[0] == 0
        assert all(1000 - _SHORT_SEC < wait <= 1000 for wait in waits[1:])
        await records.time_passes(timedelta(seconds=waits[2]))
        assert (await enter(records, rate)).has_entered

    @pytest.mark.parametrize("seed", range(5))
    async def test_the_rate_is_judged_as_the_domain_does(self, records: Records, seed: int) -> None:
        dice = random.Random(seed)
        rate = Rate(per_sec=0.001, burst=dice.randint(1, 4))
        now = tat = datetime(2026, 1, 1, tzinfo=UTC)
        for _ in range(12):
            # By half an interval and whole ones: what passes by itself meanwhile decides nothing.
            by = timedelta(seconds=dice.choice([0, 500, 1000, 1500, 4000]))
            await records.time_passes(by)
            now += by
            expected, passage = rate.arrive(tat, now + timedelta(seconds=1)), await enter(records, rate)
            assert passage.has_entered == expected.is_let_in
            assert abs(passage.wait_sec - expected.wait.total_seconds()) < _SHORT_SEC
            tat = expected.tat

    async def test_no_number_of_concurrent_callers_gets_beyond_the_rate(self, records: Records) -> None:
        rate = Rate(per_sec=0.001, burst=7)
        passages = await asyncio.gather(*(enter(records, rate) for _ in range(40)))
        assert sum(passage.has_entered for passage in passages) == 7
        assert await _payloads(records) == 7

    async def test_what_is_not_let_in_is_not_recorded(self, records: Records) -> None:
        await enter(records, _EVERY_1000_SEC)
        assert not (await enter(records, _EVERY_1000_SEC)).has_entered
        assert await _payloads(records) == 1

    async def test_without_a_rate_everybody_enters_and_does_not_count(self, records: Records) -> None:
        for _ in range(5):
            passage = await enter(records)
            assert (passage.has_entered, passage.wait_sec) == (True, 0)
        assert (await enter(records, _EVERY_1000_SEC)).has_entered

    async def test_what_another_rate_has_made_is_of_no_consequence(self, records: Records) -> None:
        for _ in range(3):
            await enter(records, Rate(per_sec=0.001, burst=3))
        faster = Rate(per_sec=0.01, burst=1)
        wait_sec = (await enter(records, faster)).wait_sec
        assert 100 - _SHORT_SEC < wait_sec <= 100
        await records.time_passes(timedelta(seconds=wait_sec))
        assert (await enter(records, faster)).has_entered

    async def test_the_record_is_that_of_intend(self, records: Records) -> None:
        media_id = MediaId(new_id())
        await enter(records, media_id=media_id, ttl=MINUTE)
        row = await records.media.get(media_id)
        assert row is not None
        assert (row.kind, row.slot_id, row.state) == (MediaKind.PAYLOAD, A_SLOT, MediaState.PENDING)
        assert row.expires_at == row.created_at + MINUTE
        await records.time_passes(MINUTE)
        assert [media.media_id for media in await records.media.doomed(limit=10)] == [media_id]

    async def test_a_payload_of_no_slot_becomes_the_slots_and_keeps_its_times(self, records: Records) -> None:
        media_id = MediaId(new_id())
        await records.media.intend([(media_id, MediaKind.PAYLOAD)], slot_id=None, ttl=MINUTE)
        before = await records.media.get(media_id)
        await records.time_passes(SECOND)
        assert (await enter(records, _EVERY_1000_SEC, media_id=media_id)).has_entered
        after = await records.media.get(media_id)
        assert before is not None
        assert after is not None
        assert (before.slot_id, after.slot_id) == (None, A_SLOT)
        assert after.expires_at == after.created_at + MINUTE

    @pytest.mark.parametrize("kind", [MediaKind.PAYLOAD, MediaKind.PREVIEW])
    async def test_an_id_that_is_known_otherwise_is_refused_and_nothing_recorded(
        self, records: Records, kind: MediaKind
    ) -> None:
        slot_id = A_SLOT if kind is MediaKind.PAYLOAD else None
        media_id = MediaId(new_id())
        await records.media.intend([(media_id, kind)], slot_id=slot_id, ttl=HOUR)
        before = await records.media.get(media_id)
        with pytest.raises(ValueError, match="known"):
            await enter(records, _EVERY_1000_SEC, media_id=media_id, slot_id=ANOTHER_SLOT)
        assert await records.media.get(media_id) == before
        assert (await enter(records, _EVERY_1000_SEC)).has_entered

    async def test_where_one_leaves_another_may_come_instead(self, records: Records) -> None:
        media_id = MediaId(new_id())
        await enter(records, _EVERY_1000_SEC, media_id=media_id)
        await records.gate.leave(media_id, rate=_EVERY_1000_SEC)
        assert [media.media_id for media in await records.media.doomed(limit=10)] == [media_id]
        assert [(await enter(records, _EVERY_1000_SEC)).has_entered for _ in range(2)] == [True, False]

    async def test_one_that_did_not_count_leaves_no_room_behind(self, records: Records) -> None:
        media_id = MediaId(new_id())
        await enter(records, _EVERY_1000_SEC)
        await enter(records, media_id=media_id)
        await records.gate.leave(media_id, rate=None)
        assert not (await enter(records, _EVERY_1000_SEC)).has_entered

    async def test_the_passage_tells_what_was_going_on_before(self, records: Records) -> None:
        assert (await enter(records)).traffic == Traffic()
        one = Traffic(slots={A_SLOT: SlotTraffic(on_the_way=1)})
        assert (await enter(records, _EVERY_1000_SEC)).traffic == one
        two = Traffic(slots={A_SLOT: SlotTraffic(on_the_way=2)})
        assert (await enter(records, _EVERY_1000_SEC)).traffic == two

    async def test_the_traffic_is_what_comes_waits_and_is_under_way(self, records: Records) -> None:
        await a_job_in(records, JobState.PROCESSING)
        await records.time_passes(MINUTE)
        await a_job_in(records, JobState.PENDING, slot_id=ANOTHER_SLOT)
        await enter(records)
        await enter(records, slot_id=ANOTHER_SLOT)
        found = (await records.gate.traffic()).slots
        assert found.keys() == {A_SLOT, ANOTHER_SLOT}
        assert found[ANOTHER_SLOT] == SlotTraffic(on_the_way=1, waiting=1)
        first = found[A_SLOT]
        assert (first.on_the_way, first.waiting, first.in_service) == (1, 0, 1)
        assert 60 <= first.in_service_sec < 60 + _SHORT_SEC

    async def test_what_is_over_or_of_no_slot_is_no_traffic(self, records: Records) -> None:
        await a_job_in(records, JobState.COMPLETED)
        submission = await a_submission(records, time_left=MINUTE)
        await records.jobs.submit(submission)
        await enter(records, ttl=MINUTE)
        await records.media.intend([(MediaId(new_id()), MediaKind.PREVIEW)], slot_id=A_SLOT, ttl=HOUR)
        await records.media.intend([(MediaId(new_id()), MediaKind.PAYLOAD)], slot_id=None, ttl=HOUR)
        assert (await records.gate.traffic()).slots == {A_SLOT: SlotTraffic(on_the_way=1, waiting=1)}
        await records.time_passes(MINUTE)
        assert await records.gate.traffic() == Traffic()

    async def test_the_pace_is_that_of_the_jobs_that_a_worker_had(self, records: Records) -> None:
        for seconds, state in ((10, JobState.COMPLETED), (20, JobState.FAILED_PROVIDER)):
            await a_job_in(records, state, took=timedelta(seconds=seconds))
        await a_job_in(records, JobState.COMPLETED, slot_id=ANOTHER_SLOT, took=30 * SECOND)
        paces = {pace.slot_id: pace for pace in await records.gate.paces()}
        assert paces.keys() == {A_SLOT, ANOTHER_SLOT}
        first = paces[A_SLOT]
        assert (first.provider, first.jobs) == (_PROVIDER, 2)
        assert first.mean_sec == pytest.approx(15, abs=1)
        assert first.deviation_sec == pytest.approx(5, abs=1)
        assert first.slow_sec == pytest.approx(10, abs=1)
        assert paces[ANOTHER_SLOT].mean_sec == pytest.approx(30, abs=1)

    async def test_without_a_picture_nothing_is_slow(self, records: Records) -> None:
        await a_job_in(records, JobState.FAILED_PROVIDER, took=20 * SECOND)
        [pace] = await records.gate.paces()
        assert pace.mean_sec == pytest.approx(20, abs=1)
        assert pace.slow_sec == 0

    async def test_tests_and_jobs_that_no_worker_had_have_no_pace(self, records: Records) -> None:
        await a_job_in(records, JobState.COMPLETED, source=JobSource.TEST)
        await a_job_in(records, JobState.FAILED_TIMEOUT)
        await a_job_in(records, JobState.PROCESSING)
        assert await records.gate.paces() == []

    async def test_only_the_last_jobs_count(self, records: Records) -> None:
        await a_job_in(records, JobState.FAILED_PROVIDER, took=HOUR)
        for _ in range(PACE_JOBS):
            await a_job_in(records, JobState.FAILED_INTERNAL, took=SECOND)
        [pace] = await records.gate.paces()
        assert pace.jobs == PACE_JOBS
        assert pace.mean_sec == pytest.approx(1, abs=1)

    async def test_the_places_are_those_of_all_workers_that_have_told(self, records: Records) -> None:
        assert (await records.gate.traffic()).places is None
        await records.gate.tell_of_workers("one", places=4, ttl=MINUTE)
        await records.gate.tell_of_workers("two", places=8, ttl=HOUR)
        await records.gate.tell_of_workers("two", places=7, ttl=HOUR)
        assert (await records.gate.traffic()).places == 11
        assert (await enter(records)).traffic.places == 11

    async def test_a_process_counts_until_its_time_is_over_or_it_tells_of_none(
        self, records: Records
    ) -> None:
        await records.gate.tell_of_workers("one", places=4, ttl=MINUTE)
        await records.gate.tell_of_workers("two", places=8, ttl=HOUR)
        await records.time_passes(MINUTE)
        assert (await records.gate.traffic()).places == 8
        await records.gate.tell_of_workers("two", places=0, ttl=HOUR)
        assert (await records.gate.traffic()).places is None
