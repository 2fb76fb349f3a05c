"""The records that the in-memory repositories share: what a database would hold.

Methods here are plain functions: inside one event loop nothing can come between two of their lines, so each
call of a repository is a transaction of its own.
"""

from collections.abc import Collection, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from datetime import datetime

from photochanger.application.ports.clock import Clock
from photochanger.application.ports.jobs import JobReading
from photochanger.application.signal_hub import SignalHub
from photochanger.domain.account import Session, SessionId
from photochanger.domain.audit import AuditEntry, AuditEvent
from photochanger.domain.errors import InternalError
from photochanger.domain.job import Job, JobId, JobResult, JobState
from photochanger.domain.media import (
    MediaEvent,
    MediaId,
    MediaKind,
    MediaObject,
    StoredImage,
    state_after,
    states_before,
)
from photochanger.domain.retention import has_passed
from photochanger.domain.settings import Settings
from photochanger.domain.slot import SLOT_IDS, ProviderCall, Slot, SlotConfiguration, SlotId
from photochanger.domain.statistics import EPOCH
from photochanger.domain.template import Template


@dataclass(frozen=True, slots=True)
class MediaRow:
    """A media object, and when it is next offered for deletion; None where it has no end."""

    media: MediaObject
    offer_at: datetime | None


@dataclass(frozen=True, slots=True)
class ProviderPlace:
    """The provider that a job under way has a place at, or waits for one at."""

    provider: str
    is_awaited: bool = False


@dataclass(frozen=True, slots=True)
class Usage:
    """When a provider was last called, and how often in the minute and on the day of that call."""

    counted_at: datetime
    in_minute: int
    on_day: int


@dataclass(frozen=True, slots=True)
class Attempts:
    """How many logins count for a key of the throttle, how many of them have failed, and until when."""

    count: int
    failures: int
    ends_at: datetime


class MemoryRecords:
    """Everything that is stored, with the clock that judges it and the hub that announces changes."""

    def __init__(self, *, clock: Clock, hub: SignalHub) -> None:
        self.clock = clock
        self.hub = hub
        self.jobs: dict[JobId, Job] = {}
        self.media: dict[MediaId, MediaRow] = {}
        self.slots: dict[SlotId, Slot] = {slot_id: _new_slot(slot_id) for slot_id in SLOT_IDS}
        self.settings = Settings()
        self.templates: dict[str, Template] = {}
        self.usage: dict[str, Usage] = {}
        self.events: list[AuditEvent] = []
        self.sessions: dict[SessionId, Session] = {}
        self.throttled: dict[str, Attempts] = {}
        self.forgotten: list[Job] = []
        """Jobs that were removed; only statistics remember them."""
        self.added_up_until = EPOCH
        self.tat = EPOCH
        """When the next photo would come if all came evenly (`photochanger.domain.rate`)."""
        self.workers: dict[str, tuple[int, datetime]] = {}
        """How many jobs each process can do at once, and until when that counts."""
        self.answers_again: dict[tuple[SlotId, int, str], JobId] = {}
        """The last job of each photo that is not to be done twice."""
        self.places: dict[JobId, ProviderPlace] = {}
        """Of every job that is under way."""
        self._unfinished: dict[JobId, int] = {}
        """With their numbers, in the order of their submission."""
        self._by_key: dict[tuple[SlotId, str], JobId] = {}

    def log(self, entry: AuditEntry) -> None:
        """Add an entry to the audit log."""
        event = AuditEvent(event_id=len(self.events) + 1, at=self.clock.now(), entry=deepcopy(entry))
        self.events.append(event)

    def reading(self, job: Job, *, ended_here: bool = False) -> JobReading:
        """Return a copy of the job, with the time."""
        return JobReading(job=deepcopy(job), now=self.clock.now(), ended_here=ended_here)

    def unfinished(self) -> Iterator[Job]:
        """Yield the jobs that are not final, in the order of their submission."""
        for job_id in list(self._unfinished):
            yield self.jobs[job_id]

    def is_earlier(self, job: Job, other: Job) -> bool:
        """Say whether the one of two unfinished jobs was submitted before the other."""
        return self._unfinished[job.job_id] < self._unfinished[other.job_id]

    def job_for_key(self, slot_id: SlotId, key: str | None) -> Job | None:
        """Return the slot's job that answers for this Idempotency-Key, or None."""
        job_id = None if key is None else self._by_key.get((slot_id, key))
        job = None if job_id is None else self.jobs[job_id]
        return job if job is not None and job.answers_for_its_key(now=self.clock.now()) else None

    def add(self, job: Job) -> None:
        """Add a new job. Raises `InternalError` where its id is taken."""
        if job.job_id in self.jobs:
            raise InternalError("The job id is already taken")
        self.jobs[job.job_id] = job
        self._unfinished[job.job_id] = len(self.jobs) + len(self.forgotten)
        if job.idempotency_key is not None:
            self._by_key[job.slot_id, job.idempotency_key] = job.job_id

    def replace_job(self, job: Job) -> None:
        """Put the job in the place of its earlier self; a final one condemns its payload.

        With every claim it is at the provider of its slot's own call.
        """
        before = self.jobs[job.job_id]
        self.jobs[job.job_id] = job
        if job.state is not JobState.PROCESSING:
            self.places.pop(job.job_id, None)
        elif job.fence != before.fence:
            self.places[job.job_id] = ProviderPlace(job.configuration.call.provider)
        if job.is_finalized:
            del self._unfinished[job.job_id]
            self.condemn([job.payload_id])

    def twin_of(self, slot: Slot, content_hash: str) -> Job | None:
        """Return the job that answers for the same photo, if there is one."""
        job_id = self.answers_again.get((slot.slot_id, slot.version, content_hash))
        job = None if job_id is None else self.jobs.get(job_id)
        return job if job is not None and job.can_answer_again(now=self.clock.now()) else None

    def forget(self, job_id: JobId) -> None:
        """Remove a final job."""
        job = self.jobs.pop(job_id)
        self.forgotten.append(job)
        key = job.slot_id, job.idempotency_key or ""
        if self._by_key.get(key) == job_id:
            del self._by_key[key]

    def require_announced(self, images: Sequence[StoredImage], *, kind: MediaKind | None = None) -> None:
        """Raise `InternalError` unless every image has a pending row, of this kind where one is given."""
        can_be_stored = states_before(MediaEvent.STORED)
        for image in images:
            row = self.media.get(image.media_id)
            if row is None or kind not in {None, row.media.kind} or row.media.state not in can_be_stored:
                raise InternalError("A file was not announced, or its time has run out")

    def store_images(self, images: Sequence[StoredImage], *, until: datetime | None) -> None:
        """Mark the images' rows as stored, to live until `until`; None: until they are condemned."""
        for image in images:
            media = replace(
                self.media[image.media_id].media,
                state=state_after(MediaEvent.STORED),
                expires_at=until,
                image_type=image.info.image_type,
                size_bytes=image.file.size_bytes,
                sha256=image.file.sha256,
            )
            self.media[image.media_id] = MediaRow(media, offer_at=until)

    def condemn(self, media_ids: Collection[MediaId]) -> None:
        """Mark the files for deletion that are there and not marked yet."""
        for media_id in media_ids:
            row = self.media.get(media_id)
            if row is not None and row.media.state in states_before(MediaEvent.CONDEMNED):
                now = self.clock.now()
                end = min(row.media.expires_at or now, now)
                media = replace(row.media, state=state_after(MediaEvent.CONDEMNED), expires_at=end)
                self.media[media_id] = MediaRow(media, offer_at=min(row.offer_at or now, now))

    def end_result(self, job: Job, *, spared: Collection[MediaId] = ()) -> JobResult | None:
        """End a result that has not expired, condemn its files but those `spared`, and return it."""
        now = self.clock.now()
        if job.result is None or job.finalized_at is None or job.result_expires_at is None:
            return None
        if has_passed(job.result_expires_at, now=now):
            return None
        self.jobs[job.job_id] = replace(job, retention=now - job.finalized_at)
        files = {job.result.image.media_id, job.result.preview.media_id}
        self.condemn(files - set(spared))
        return job.result


def _new_slot(slot_id: SlotId) -> Slot:
    call = ProviderCall(provider="rehearsal", operation="photo_effect")
    return Slot(slot_id=slot_id, configuration=SlotConfiguration(call=call))
