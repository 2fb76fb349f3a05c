"""The records as a whole in memory."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import islice
from typing import Final

from photochanger.adapters.memory.records import MemoryRecords
from photochanger.application.ports.housekeeping import Due, Forgotten, Housekeeping, LastSweep
from photochanger.domain.consistency import FILE_OVERDUE_AFTER, JOB_OVERDUE_AFTER, Code, Discrepancy
from photochanger.domain.job import Job, JobId
from photochanger.domain.media import MediaEvent, MediaId, MediaKind, MediaObject, MediaState, states_before
from photochanger.domain.retention import has_passed
from photochanger.domain.statistics import EPOCH


class MemoryHousekeeping(Housekeeping):
    """Whose turn it is, and what is counted out of dictionaries."""

    def __init__(self, records: MemoryRecords) -> None:
        self._records = records
        self._holder: str | None = None
        self._lease_expires_at = EPOCH
        self._swept_at: datetime | None = None
        self._compared_at: datetime | None = None

    async def take_turn(self, holder: str, *, lease: timedelta) -> bool:
        """Make it `holder`'s turn to sweep, unless it is another's."""
        now = self._records.clock.now()
        if self._holder not in {None, holder} and not has_passed(self._lease_expires_at, now=now):
            return False
        self._holder, self._lease_expires_at = holder, now + lease
        return True

    async def end_turn(self, holder: str, *, swept: bool, compared: bool = False) -> None:
        """Give the turn back, and record what was finished."""
        if self._holder != holder:
            return
        now, self._holder = self._records.clock.now(), None
        self._swept_at = now if swept else self._swept_at
        self._compared_at = now if compared else self._compared_at

    async def last_sweep(self) -> LastSweep:
        """Return how long ago a round was last finished."""
        return LastSweep(swept_ago=self._ago(self._swept_at), compared_ago=self._ago(self._compared_at))

    def _ago(self, moment: datetime | None) -> timedelta | None:
        return None if moment is None else max(timedelta(0), self._records.clock.now() - moment)

    async def due(self, *, history: timedelta) -> Due:
        """Count what a sweep would find to do now."""
        now = self._records.clock.now()
        files = [row.media for row in self._records.media.values() if _is_due(row.media, row.offer_at, now)]
        return Due(
            jobs=sum(has_passed(job.deadline, now=now) for job in self._records.unfinished()),
            files=Counter(media.kind for media in files),
            size_bytes=sum(media.size_bytes or 0 for media in files),
            forgotten=Forgotten(jobs=len(self._old_jobs(history)), files=len(self._old_files(history))),
        )

    async def forget(self, *, history: timedelta, limit: int) -> Forgotten:
        """Remove records of what was over `history` ago."""
        jobs, files = self._old_jobs(history)[:limit], self._old_files(history)[:limit]
        for job_id in jobs:
            self._records.forget(job_id)
        for media_id in files:
            del self._records.media[media_id]
        return Forgotten(jobs=len(jobs), files=len(files))

    def _old_jobs(self, history: timedelta) -> list[JobId]:
        then = min(self._records.clock.now() - history, self._records.added_up_until)
        final = [(job.created_at, job.job_id, job.finalized_at) for job in self._records.jobs.values()]
        return [job_id for _, job_id, ended in sorted(final) if ended is not None and ended < then]

    def _old_files(self, history: timedelta) -> list[MediaId]:
        then = self._records.clock.now() - history
        media = (row.media for row in self._records.media.values())
        over = [each for each in media if each.state in states_before(MediaEvent.FORGOTTEN)]
        old = [(each.created_at, each.media_id) for each in over if each.created_at < then]
        return [media_id for _, media_id in sorted(old)]

    async def discrepancies(self, *, limit: int) -> Sequence[Discrepancy]:
        """Return up to `limit` contradictions of each kind between records."""
        return [
            Discrepancy(code=code, subject=subject)
            for code, check in _CHECKS.items()
            for subject in islice(check(self._records), limit)
        ]


def _is_due(media: MediaObject, offer_at: datetime | None, now: datetime) -> bool:
    if media.state in {MediaState.DELETED, MediaState.DELETING}:
        return media.state is MediaState.DELETING
    return offer_at is not None and has_passed(offer_at, now=now)


def _media(records: MemoryRecords) -> Sequence[MediaObject]:
    return sorted((row.media for row in records.media.values()), key=lambda media: media.key)


def _is_stored(records: MemoryRecords, media_id: MediaId, *, until: datetime | None) -> bool:
    row = records.media.get(media_id)
    return row is not None and row.media.state is MediaState.STORED and row.media.expires_at == until


def _overdue_jobs(records: MemoryRecords) -> Iterator[str]:
    limit = records.clock.now() - JOB_OVERDUE_AFTER
    return (job.job_id for job in records.unfinished() if job.deadline <= limit)


def _jobs_without_photo(records: MemoryRecords) -> Iterator[str]:
    for job in records.unfinished():
        row = records.media.get(job.payload_id)
        if row is None or row.media.state is not MediaState.STORED:
            yield job.job_id


def _jobs_with_photo_left(records: MemoryRecords) -> Iterator[str]:
    left = {MediaState.PENDING, MediaState.STORED}
    for job in records.jobs.values():
        row = records.media.get(job.payload_id)
        if job.is_finalized and row is not None and row.media.state in left:
            yield job.job_id


def _jobs_without_picture(records: MemoryRecords) -> Iterator[str]:
    for job in records.jobs.values():
        end = job.result_expires_at
        if job.result is None or end is None or has_passed(end, now=records.clock.now()):
            continue
        if not _is_stored(records, job.result.image.media_id, until=end):
            yield job.job_id


def _templates_without_image(records: MemoryRecords) -> Iterator[str]:
    return (
        template_id
        for template_id, template in sorted(records.templates.items())
        if not _is_stored(records, template.image.media_id, until=None)
    )


def _overdue_files(records: MemoryRecords) -> Iterator[str]:
    limit = records.clock.now() - FILE_OVERDUE_AFTER
    return (
        media.key
        for media in _media(records)
        if media.state is not MediaState.DELETED
        and media.expires_at is not None
        and media.expires_at <= limit
    )


def _files_without_owner(records: MemoryRecords) -> Iterator[str]:
    owned = {media_id for job in records.jobs.values() for media_id in _files_of(job)}
    for template in records.templates.values():
        owned |= {template.image.media_id, template.preview.media_id}
    now = records.clock.now()
    return (
        media.key
        for media in _media(records)
        if media.state is MediaState.STORED
        and media.kind is not MediaKind.PROVIDER_LINK
        and not (media.expires_at is not None and has_passed(media.expires_at, now=now))
        and media.media_id not in owned
    )


def _files_of(job: Job) -> set[MediaId]:
    images = [] if job.result is None else [job.result.image, job.result.preview]
    return {job.payload_id, *(image.media_id for image in images)}


_CHECKS: Final[Mapping[Code, Callable[[MemoryRecords], Iterator[str]]]] = {
    Code.JOB_OVERDUE: _overdue_jobs,
    Code.PHOTO_MISSING: _jobs_without_photo,
    Code.PHOTO_LEFT: _jobs_with_photo_left,
    Code.RESULT_MISSING: _jobs_without_picture,
    Code.TEMPLATE_MISSING: _templates_without_image,
    Code.FILE_OVERDUE: _overdue_files,
    Code.FILE_WITHOUT_OWNER: _files_without_owner,
}
