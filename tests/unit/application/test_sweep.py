"""Sweeping: what it ends, deletes, takes over and writes off; whose turn it is; how it is looked after."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from datetime import timedelta

import pytest

from photochanger.adapters.memory import ManualClock
from photochanger.application.compare_media import PAGE
from photochanger.application.media_ownership import MARK_KEY
from photochanger.application.ports import LastSweep
from photochanger.application.sweep import BATCH, COMPARE_EVERY, TURN, Swept
from photochanger.application.verify import Verify
from photochanger.domain.consistency import Code, Discrepancy
from photochanger.domain.errors import ResultExpired, StorageUnavailable
from photochanger.domain.job import JobState
from photochanger.domain.media import MediaId, MediaKind, media_key
from photochanger.testing.harness import A_SLOT, an_entry, new_id
from tests.unit.adapters.media_files import fetch, listed
from tests.unit.application.house import PHOTO, SLOT, House, a_comparison

pytestmark = pytest.mark.anyio


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def house(clock: ManualClock) -> House:
    house = House(clock)
    await house.set_up()
    return house


async def swept(house: House, *, compare: bool | None = None) -> Swept:
    done = await house.sweep(compare=compare)
    assert done is not None
    assert done.is_finished
    return done


async def verified(house: House, *, contents: bool = False) -> list[Discrepancy]:
    storage = house.storage
    verify = Verify(
        registry=storage.media,
        store=storage.files,
        housekeeping=storage.housekeeping,
        compare=a_comparison(storage, storage.files),
    )
    return [each async for page in verify(contents=contents) for each in page.discrepancies]


async def completed(house: House) -> str:
    submitted = await house.submit()
    await house.process_job(await house.claim())
    reading = await house.state_of(submitted)
    assert reading.job.state is JobState.COMPLETED
    return reading.job.job_id


def stray(house: House, kind: MediaKind = MediaKind.RESULT) -> str:
    key = media_key(kind, MediaId(new_id()))
    house.storage.files.put(key, b"nobody's")
    return key


class TestWhatIsDue:
    """Ending and deleting what nobody else does."""

    async def test_overdue_jobs_are_ended_whoever_waits_for_them(
        self, house: House, clock: ManualClock
    ) -> None:
        pending = await house.submit()
        clock.advance(timedelta(seconds=48))

        done = await swept(house)

        assert (done.ended_jobs, done.deleted_files) == (1, {MediaKind.PAYLOAD: 1})
        assert done.deleted_bytes == len(PHOTO)
        assert (await house.state_of(pending)).job.state is JobState.FAILED_TIMEOUT
        assert await house.files() == []

    async def test_overdue_jobs_are_ended_whoevers_turn_it_is(self, house: House, clock: ManualClock) -> None:
        pending = await house.submit()
        clock.advance(timedelta(seconds=48))
        await house.storage.housekeeping.take_turn("another", lease=TURN)
        assert await house.sweep.expire_jobs() == 1
        assert (await house.state_of(pending)).job.is_finalized

    async def test_an_upload_that_was_cut_off_is_swept_after_its_deadline(
        self, house: House, clock: ManualClock
    ) -> None:
        admission = await house.submit_photo.admit(SLOT, arrived_at=clock.monotonic())
        receiving = house.submit_photo.receive(admission)
        upload = await receiving.__aenter__()
        await upload.write(b"image: half")
        assert (await swept(house)).deleted_files.total() == 0

        clock.advance(timedelta(seconds=58))

        assert (await swept(house)).deleted_files == {MediaKind.PAYLOAD: 1}
        assert house.living_rows() == []

    async def test_a_file_that_cannot_be_deleted_keeps_no_other_and_is_told_of(
        self, house: House, clock: ManualClock
    ) -> None:
        for _ in range(3):
            await house.submit()
        clock.advance(timedelta(seconds=48))
        stuck = (await house.keys())[0]
        house.storage.files.stuck.add(stuck)

        done = await swept(house)

        assert (done.undeleted_files, done.deleted_files.total()) == (1, 2)
        assert await house.keys() == [stuck]
        assert (await house.sweep.last()).swept_ago is None
        house.storage.files.stuck.clear()
        clock.advance(timedelta(seconds=31))
        assert (await swept(house)).deleted_files.total() == 1
        assert house.living_rows() == []
        assert (await house.sweep.last()).swept_ago == timedelta(0)

    async def test_a_sweep_with_nothing_to_do_does_nothing(self, house: House) -> None:
        assert await swept(house, compare=False) == Swept(is_finished=True)

    async def test_more_than_one_batch(self, house: House, clock: ManualClock) -> None:
        media_ids = [MediaId(new_id()) for _ in range(2 * BATCH + 1)]
        await house.storage.media.intend(
            [(media_id, MediaKind.RESULT) for media_id in media_ids], slot_id=A_SLOT, ttl=timedelta(0)
        )
        batches: list[int] = []
        await house.sweep(on_batch=lambda done: batches.append(done.deleted_files.total()))
        assert [*dict.fromkeys(batches)] == [BATCH, 2 * BATCH, 2 * BATCH + 1]

    async def test_old_records_are_forgotten(self, house: House, clock: ManualClock) -> None:
        job_id = await completed(house)
        clock.advance(timedelta(days=8))
        await swept(house)
        with pytest.raises(ResultExpired):
            await house.open_result(job_id)
        clock.advance(timedelta(days=30))
        await house.storage.statistics.roll_up(limit=10_000)
        done = await swept(house)
        assert (done.forgotten_jobs, done.forgotten_files) == (1, 3)
        assert house.storage.records.media == {}

    async def test_what_is_due_is_told_and_left(self, house: House, clock: ManualClock) -> None:
        await house.submit()
        clock.advance(timedelta(seconds=48))
        due = await house.sweep.due(history=timedelta(days=30))
        assert (due.jobs, due.files) == (1, {})
        assert await house.files() == ["payload"]


class TestDifferences:
    """Files that no row expects, and rows whose file is not there."""

    async def test_where_all_is_well_nothing_is_found(self, house: House) -> None:
        await completed(house)
        await house.submit()
        assert await verified(house, contents=True) == []
        done = await swept(house, compare=True)
        assert (done.stray_files, done.lost_files, done.has_compared) == (0, 0, True)
        assert await house.files() == ["payload", "preview", "result"]

    @pytest.mark.parametrize("kind", MediaKind)
    async def test_a_file_without_a_row_is_found_and_deleted(self, house: House, kind: MediaKind) -> None:
        await house.submit()
        key = stray(house, kind)
        assert await verified(house) == [Discrepancy(code=Code.FILE_WITHOUT_ROW, subject=key)]
        done = await swept(house, compare=True)
        assert (done.stray_files, done.deleted_files) == (1, {kind: 1})
        assert await house.files() == ["payload"]
        assert await verified(house) == []

    async def test_a_file_that_came_after_its_deletion_is_found_and_deleted(
        self, house: House, clock: ManualClock
    ) -> None:
        submitted = await house.submit()
        clock.advance(timedelta(seconds=48))
        await swept(house)
        key = media_key(MediaKind.PAYLOAD, submitted.reading.job.payload_id)
        house.storage.files.put(key, PHOTO)
        assert await verified(house) == [Discrepancy(code=Code.FILE_AFTER_DELETION, subject=key)]
        assert (await swept(house, compare=True)).stray_files == 1
        assert (await house.files(), await verified(house)) == ([], [])

    async def test_a_half_written_file_without_a_row_is_found(self, house: House) -> None:
        key = media_key(MediaKind.RESULT, MediaId(new_id()))
        async with house.storage.files.create(key):
            assert await verified(house) == [Discrepancy(code=Code.FILE_WITHOUT_ROW, subject=key)]

    async def test_a_lost_picture_ends_its_result(self, house: House) -> None:
        job_id = await completed(house)
        await swept(house)
        lost = [key for key in await house.keys() if key.startswith("result")]
        await house.storage.files.delete(lost)
        assert await verified(house) == [Discrepancy(code=Code.ROW_WITHOUT_FILE, subject=lost[0])]
        done = await swept(house, compare=True)
        assert (done.lost_files, done.deleted_files) == (1, {MediaKind.PREVIEW: 1})
        with pytest.raises(ResultExpired):
            await house.open_result(job_id)
        assert (await house.files(), await verified(house)) == ([], [])

    async def test_a_file_that_is_on_its_way_is_no_difference(self, house: House) -> None:
        admission = await house.submit_photo.admit(SLOT, arrived_at=house.clock.monotonic())
        async with house.submit_photo.receive(admission) as upload:
            await upload.write(b"image: half")
            assert await verified(house) == []
            assert (await swept(house, compare=True)).stray_files == 0

    async def test_changed_bytes_are_found_where_they_are_looked_for(self, house: House) -> None:
        await house.submit()
        [key] = await house.keys()
        await house.storage.files.delete([key])
        house.storage.files.put(key, PHOTO + b"!")
        assert await verified(house) == []
        changed = Discrepancy(code=Code.FILE_CHANGED, subject=key)
        assert await verified(house, contents=True) == [changed]

    async def test_differences_are_found_among_many(self, house: House) -> None:
        for _ in range(PAGE // 2):
            await house.submit()
        strays = {stray(house) for _ in range(PAGE + 3)}
        found = await verified(house)
        assert {each.subject for each in found} == strays
        assert len(found) == len(strays)
        assert (await swept(house, compare=True)).stray_files == len(strays)
        assert await verified(house) == []

    async def test_a_comparison_is_made_once_an_hour(self, house: House, clock: ManualClock) -> None:
        assert (await swept(house)).has_compared
        clock.advance(COMPARE_EVERY - timedelta(seconds=1))
        assert not (await swept(house)).has_compared
        clock.advance(timedelta(seconds=1))
        assert (await swept(house)).has_compared
        assert await house.sweep.last() == LastSweep(swept_ago=timedelta(0), compared_ago=timedelta(0))


class TestWhileOthersWork:
    """What changes during a comparison is no difference."""

    async def test_files_that_come_after_the_rows_were_read(
        self, house: House, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await house.submit()

        async def transform() -> None:
            await house.process_job(await house.claim())

        seen = interrupt(monkeypatch, house, transform)
        assert await verified(house) == []
        assert [key.partition("/")[0] for key in seen] == ["payload", "preview", "result"]

    async def test_files_that_go_after_the_rows_were_read(
        self, house: House, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await completed(house)
        await swept(house)
        await house.submit()

        async def clean_up() -> None:
            await house.storage.jobs.end_results(SLOT, entry=an_entry())
            await swept(house, compare=False)

        seen = interrupt(monkeypatch, house, clean_up)
        assert await verified(house) == []
        assert [key.partition("/")[0] for key in seen] == ["payload"]


def interrupt(monkeypatch: pytest.MonkeyPatch, house: House, act: Callable[[], Awaitable[None]]) -> list[str]:
    """Have something done when the first file was listed and the rows were read; return the keys listed."""
    keys, seen = house.storage.files.keys, list[str]()

    async def interrupted(after: str = "") -> AsyncIterator[str]:
        monkeypatch.setattr(house.storage.files, "keys", keys)
        first = await anext(keys(max(after, MARK_KEY)))  # the mark comes before all files
        seen.append(first)
        yield first
        await act()
        async for key in keys(first):
            seen.append(key)
            yield key

    monkeypatch.setattr(house.storage.files, "keys", interrupted)
    return seen


class TestWithoutTheMark:
    """Files that may not be this database's: nothing is said of them, and all else is done."""

    async def test_a_store_that_lost_its_mark_is_not_compared_and_the_rest_is_done(
        self, house: House, clock: ManualClock
    ) -> None:
        key, job_id = stray(house), await completed(house)
        await house.submit()
        lost = [key for key in await house.keys() if key.startswith("preview")]
        await house.storage.files.delete([MARK_KEY, *lost])
        clock.advance(timedelta(seconds=48))

        done = await swept(house)

        assert done.not_compared is not None
        assert "lost its mark" in done.not_compared.message
        assert (done.has_compared, done.stray_files, done.lost_files) == (False, 0, 0)
        assert (done.ended_jobs, done.deleted_files) == (1, {MediaKind.PAYLOAD: 2})
        assert await house.sweep.last() == LastSweep(swept_ago=timedelta(0), compared_ago=None)
        assert key in await house.keys()
        await house.open_result(job_id)

    async def test_it_is_compared_as_soon_as_the_mark_is_back(self, house: House) -> None:
        stray(house)
        await house.storage.files.delete([MARK_KEY])
        assert (await swept(house)).not_compared
        house.storage.files.put(MARK_KEY, (await house.storage.installation.get_id()).encode())
        done = await swept(house)
        assert (done.not_compared, done.has_compared, done.stray_files) == (None, True, 1)

    async def test_another_databases_files_are_not_compared(self, house: House) -> None:
        await completed(house)
        await house.storage.files.delete([MARK_KEY])
        house.storage.files.put(MARK_KEY, b"0" * 32)
        with pytest.raises(StorageUnavailable, match="another database"):
            await verified(house)

    async def test_verifying_ends_with_the_reason_instead_of_discrepancies(self, house: House) -> None:
        await completed(house)
        await unmount(house)
        with pytest.raises(StorageUnavailable, match="lost its mark"):
            await verified(house)

    async def test_a_disk_that_vanishes_in_the_middle_has_lost_nothing(
        self, house: House, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        job_id = await completed(house)
        await swept(house)
        on_disk: dict[str, bytes] = {}

        async def vanish() -> None:
            on_disk.update(await unmount(house))

        interrupt(monkeypatch, house, vanish)
        done = await swept(house, compare=True)

        assert (done.not_compared is not None, done.lost_files, done.has_compared) == (True, 0, False)
        assert house.living_rows() == ["preview", "result"]
        mount(house, on_disk)
        await house.open_result(job_id)
        assert await verified(house) == []

    async def test_a_disk_that_is_back_when_the_mark_is_looked_for_has_lost_nothing(
        self, house: House, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        job_id = await completed(house)
        await swept(house)
        on_disk: dict[str, bytes] = {}
        read = house.storage.files.read

        async def vanish() -> None:
            on_disk.update(await unmount(house))

        def come_back(key: str, start: int = 0, stop: int | None = None) -> AsyncIterator[bytes]:
            if key == MARK_KEY and on_disk:
                mount(house, on_disk)
                on_disk.clear()
            return read(key, start, stop)

        interrupt(monkeypatch, house, vanish)
        monkeypatch.setattr(house.storage.files, "read", come_back)
        done = await swept(house, compare=True)

        assert (done.not_compared, done.lost_files, done.has_compared) == (None, 0, True)
        assert await house.keys() != [] == list(on_disk)
        await house.open_result(job_id)

    async def test_files_of_another_disk_in_the_middle_are_not_taken_over(
        self, house: House, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        stray(house, MediaKind.PAYLOAD)
        theirs = media_key(MediaKind.TEMPLATE, MediaId(new_id()))

        async def change_disks() -> None:
            await unmount(house)
            mount(house, {MARK_KEY: b"0" * 32, theirs: b"theirs"})

        interrupt(monkeypatch, house, change_disks)
        done = await swept(house, compare=True)

        assert (done.not_compared is not None, done.stray_files, done.lost_files) == (True, 0, 0)
        assert (await house.keys(), house.living_rows()) == ([theirs], [])


async def unmount(house: House) -> dict[str, bytes]:
    """Take all files away, and return what they hold."""
    files = house.storage.files
    held = {key: await fetch(files, key) for key in await listed(files)}
    await files.delete(held)
    return held


def mount(house: House, held: Mapping[str, bytes]) -> None:
    for key, content in held.items():
        house.storage.files.put(key, content)


class TestTurns:
    """At most one sweeps at a time."""

    async def test_while_another_sweeps_nothing_is_done(self, house: House) -> None:
        stray(house)
        await house.storage.housekeeping.take_turn("another", lease=TURN)
        assert await house.sweep() is None
        assert await house.files() == ["result"]

    async def test_the_turn_is_given_back(self, house: House) -> None:
        await swept(house)
        assert await house.storage.housekeeping.take_turn("another", lease=TURN)

    async def test_of_many_sweeps_at_once_one_works_and_the_rest_see_it(self, house: House) -> None:
        for _ in range(3):
            stray(house)
        done = await asyncio.gather(*(house.sweep() for _ in range(5)))
        assert sum(each is not None for each in done) == 1
        assert await house.files() == []

    async def test_who_loses_the_turn_stops(self, house: House, clock: ManualClock) -> None:
        media_ids = [MediaId(new_id()) for _ in range(3 * BATCH)]
        intents = [(media_id, MediaKind.RESULT) for media_id in media_ids]
        await house.storage.media.intend(intents, slot_id=A_SLOT, ttl=timedelta(0))
        takers: list[asyncio.Task[bool]] = []

        def fall_asleep(_: Swept) -> None:
            clock.advance(TURN)
            takers.append(asyncio.ensure_future(house.storage.housekeeping.take_turn("another", lease=TURN)))

        done = await house.sweep(on_batch=fall_asleep)
        assert done is not None
        assert not done.is_finished
        assert done.deleted_files.total() == BATCH
        assert [await taker for taker in takers] == [True]
        assert (await house.sweep.last()).swept_ago is None

    async def test_a_store_that_is_down_ends_the_sweep_and_gives_the_turn_back(
        self, house: House, clock: ManualClock
    ) -> None:
        await house.submit()
        clock.advance(timedelta(seconds=48))
        house.storage.files.is_down = True
        with pytest.raises(StorageUnavailable):
            await house.sweep()
        house.storage.files.is_down = False
        assert (await house.sweep.last()).swept_ago is None
        clock.advance(timedelta(seconds=31))
        assert (await swept(house)).deleted_files == {MediaKind.PAYLOAD: 1}
