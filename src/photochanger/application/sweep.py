"""Ending what nobody ended, deleting what nobody may keep, and forgetting what is long over."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

from photochanger.application.compare_media import CompareMedia, media_of
from photochanger.application.identifiers import new_sweeper_id
from photochanger.application.ports.clock import Clock
from photochanger.application.ports.housekeeping import Due, Forgotten, Housekeeping, LastSweep
from photochanger.application.ports.jobs import JobRepository
from photochanger.application.ports.media import MediaRegistry, MediaStore
from photochanger.domain.consistency import Code
from photochanger.domain.errors import DatabaseUnavailable, StorageUnavailable
from photochanger.domain.media import MediaKind
from photochanger.domain.settings import CleanupSettings

BATCH: Final = 100
"""How many records or files are worked on at once."""

TURN: Final = timedelta(seconds=20)
"""How long a sweeper may be silent before it is another's turn: a dead one is replaced within a minute."""

COMPARE_EVERY: Final = timedelta(hours=1)
"""How often files and rows are compared. A crash leaves nothing to be found; backups and people may."""

REST: Final = 1.0
"""How long a sweeper rests after each batch, as a multiple of the time that it took: photos come first."""

REST_FROM_COMPARING: Final = 4.0
"""The same for a page of a comparison, which computes for as long as it takes; a deletion mostly waits."""

LONGEST_REST_SEC: Final = 1.0

_HISTORY: Final = CleanupSettings().history


@dataclass(kw_only=True)
class Swept:
    """What one sweep did. `undeleted_files` could not be deleted, and are tried again next time.

    `stray_files` were there without a row that expected them, and `lost_files` were not where they were
    stored. `is_finished` is false where the turn went to somebody else in the middle. `not_compared` says why
    a comparison could not be made, or not to its end; the rest was done all the same.
    """

    ended_jobs: int = 0
    deleted_files: Counter[MediaKind] = field(default_factory=Counter)
    deleted_bytes: int = 0
    undeleted_files: int = 0
    stray_files: int = 0
    lost_files: int = 0
    forgotten_jobs: int = 0
    forgotten_files: int = 0
    has_compared: bool = False
    not_compared: StorageUnavailable | None = None
    is_finished: bool = False


def _say_nothing(_swept: Swept) -> None:
    pass


class Sweep:
    """Ends overdue jobs, deletes every doomed file, and forgets old records; at most one at a time, anywhere.

    It goes on in small batches and rests between them. It may be killed anywhere, and then somebody else
    goes on: a file is marked, deleted, and confirmed, in this order.
    """

    def __init__(
        self,
        *,
        jobs: JobRepository,
        registry: MediaRegistry,
        store: MediaStore,
        housekeeping: Housekeeping,
        compare: CompareMedia,
        clock: Clock,
    ) -> None:
        self._jobs = jobs
        self._registry = registry
        self._store = store
        self._housekeeping = housekeeping
        self._compare = compare
        self._clock = clock

    async def __call__(
        self,
        *,
        history: timedelta = _HISTORY,
        compare: bool | None = None,
        on_batch: Callable[[Swept], None] = _say_nothing,
    ) -> Swept | None:
        """Do all there is to do now, or nothing and return None while somebody else is at it.

        Records older than `history` are forgotten. Files and rows are compared if `compare` says so; by
        default if that was not done for `COMPARE_EVERY`. `on_batch` is told what was done so far.
        """
        turn, swept = _Turn(self._housekeeping, self._clock), Swept()
        if not await turn.begins():
            return None
        try:
            if compare is None:
                compare = await self._is_time_to_compare()
            for step, rest in self._steps(swept, history, compare=compare):
                async for _ in step:
                    on_batch(swept)
                    if not await turn.goes_on(rest):
                        return swept
            swept.is_finished = True
        finally:
            await turn.end(swept)
        return swept

    async def expire_jobs(self) -> int:
        """End the overdue jobs that nobody else has ended, whoever's turn it is; return how many."""
        swept = Swept()
        async for _ in self._end_jobs(swept):
            pass
        return swept.ended_jobs

    async def due(self, *, history: timedelta) -> Due:
        """Return what there is to do now, apart from what a comparison would find."""
        return await self._housekeeping.due(history=history)

    async def last(self) -> LastSweep:
        """Return how long ago a sweep was last finished, by whoever."""
        return await self._housekeeping.last_sweep()

    async def _is_time_to_compare(self) -> bool:
        compared_ago = (await self._housekeeping.last_sweep()).compared_ago
        return compared_ago is None or compared_ago >= COMPARE_EVERY

    def _steps(
        self, swept: Swept, history: timedelta, *, compare: bool
    ) -> Sequence[tuple[AsyncIterator[None], float]]:
        """Return what is to be done, one after the other, in batches, each with the rest after a batch."""
        steps = [
            (self._end_jobs(swept), REST),
            (self._delete_files(swept), REST),
            (self._forget(swept, history), REST),
        ]
        comparing = [
            (self._settle_differences(swept), REST_FROM_COMPARING),
            (self._delete_files(swept), REST),
        ]
        return [*steps, *comparing] if compare else steps

    async def _end_jobs(self, swept: Swept) -> AsyncIterator[None]:
        while ended := await self._jobs.expire_overdue(limit=BATCH):
            swept.ended_jobs += len(ended)
            yield

    async def _delete_files(self, swept: Swept) -> AsyncIterator[None]:
        while doomed := await self._registry.doomed(limit=BATCH):
            clear = await self._store.delete([media.key for media in doomed])
            deleted = [media for media in doomed if media.key in clear]
            await self._registry.confirm_deleted([media.media_id for media in deleted])
            swept.deleted_files.update(media.kind for media in deleted)
            swept.deleted_bytes += sum(media.size_bytes or 0 for media in deleted)
            swept.undeleted_files += len(doomed) - len(deleted)
            yield

    async def _forget(self, swept: Swept, history: timedelta) -> AsyncIterator[None]:
        while (forgotten := await self._housekeeping.forget(history=history, limit=BATCH)) != Forgotten():
            swept.forgotten_jobs += forgotten.jobs
            swept.forgotten_files += forgotten.files
            yield

    async def _settle_differences(self, swept: Swept) -> AsyncIterator[None]:
        """Take over files that no row expects, to be deleted next; write off those that are not there.

        Where the store is not to be trusted, photos go on, and so must the deletion of what is known: it is
        left for next time, and remembered.
        """
        try:
            async for _ in self._settle_pages(swept):
                yield
        except StorageUnavailable as error:
            swept.not_compared = error
        else:
            swept.has_compared = True

    async def _settle_pages(self, swept: Swept) -> AsyncIterator[None]:
        async for compared in self._compare():
            missing = {Code.ROW_WITHOUT_FILE}
            strays = [each.subject for each in compared.discrepancies if each.code not in missing]
            lost = [each.subject for each in compared.discrepancies if each.code in missing]
            if strays:
                files = [(media_id, kind) for kind, media_id in map(media_of, strays)]
                swept.stray_files += len(await self._registry.found(files))
            if lost:
                swept.lost_files += len(await self._registry.lost([media_of(key)[1] for key in lost]))
            yield


class _Turn:
    """A sweeper's turn: taken, kept while batches take their time, and given back."""

    def __init__(self, housekeeping: Housekeeping, clock: Clock) -> None:
        self._housekeeping = housekeeping
        self._clock = clock
        self._holder = new_sweeper_id()
        self._taken_at = self._batch_began_at = clock.monotonic()

    async def begins(self) -> bool:
        """Say whether it is this sweeper's turn now."""
        return await self._housekeeping.take_turn(self._holder, lease=TURN)

    async def goes_on(self, rest: float) -> bool:
        """Rest `rest` times as long as the batch took, and say whether it is still this sweeper's turn."""
        took = self._clock.monotonic() - self._batch_began_at
        await asyncio.sleep(min(took * rest, LONGEST_REST_SEC))
        now = self._batch_began_at = self._clock.monotonic()
        if now - self._taken_at < TURN.total_seconds() / 3:
            return True
        self._taken_at = now
        return await self.begins()

    async def end(self, swept: Swept) -> None:
        """Give the turn back. Where the database is away, it ends by itself."""
        is_complete = swept.is_finished and swept.undeleted_files == 0
        with suppress(DatabaseUnavailable):
            await self._housekeeping.end_turn(
                self._holder, swept=is_complete, compared=swept.is_finished and swept.has_compared
            )
