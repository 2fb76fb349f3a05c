"""What the suites for records need beside the ports: time that can be let pass, and examples."""

import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final, Protocol

import pytest

from photochanger.application.ports.administration import (
    AuditFilter,
    AuditLog,
    JobHistory,
    LoginThrottle,
    SessionRepository,
    Statistics,
)
from photochanger.application.ports.admission import IngestGate
from photochanger.application.ports.configuration import (
    SettingsRepository,
    SlotRepository,
    TemplateRepository,
)
from photochanger.application.ports.housekeeping import Housekeeping
from photochanger.application.ports.jobs import (
    JobReading,
    JobRepository,
    JobSubmission,
    ResultReading,
    Verdict,
)
from photochanger.application.ports.media import MediaRegistry
from photochanger.application.ports.providers import ProviderUsage
from photochanger.application.ports.signals import Signals, Subscription
from photochanger.domain.audit import COMMAND_LINE, Actor, AuditAction, AuditEntry
from photochanger.domain.image import ImageInfo, ImageType
from photochanger.domain.job import JobEvent, JobId, JobResult, JobSource, JobState, ResultSource
from photochanger.domain.media import MediaId, MediaKind, StoredFile, StoredImage
from photochanger.domain.slot import (
    OnFailure,
    ProviderCall,
    RetryPolicy,
    Slot,
    SlotConfiguration,
    SlotId,
    TemplateBinding,
)
from photochanger.domain.template import Template

A_SLOT = SlotId("slot-001")
ANOTHER_SLOT = SlotId("slot-002")
SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
AN_INSTANT = timedelta(microseconds=1)


class Records(Protocol):
    """The repositories over one set of records, and control over the time that judges them.

    `time_passes` makes every stored moment lie that much further back, or sets the store's clock forward.
    """

    @property
    def jobs(self) -> JobRepository: ...
    @property
    def media(self) -> MediaRegistry: ...
    @property
    def slots(self) -> SlotRepository: ...
    @property
    def settings(self) -> SettingsRepository: ...
    @property
    def templates(self) -> TemplateRepository: ...
    @property
    def usage(self) -> ProviderUsage: ...
    @property
    def audit(self) -> AuditLog: ...
    @property
    def history(self) -> JobHistory: ...
    @property
    def statistics(self) -> Statistics: ...
    @property
    def sessions(self) -> SessionRepository: ...
    @property
    def housekeeping(self) -> Housekeeping: ...
    @property
    def throttle(self) -> LoginThrottle: ...
    @property
    def gate(self) -> IngestGate: ...
    @property
    def signals(self) -> Signals: ...
    async def time_passes(self, by: timedelta) -> None: ...


class AsyncContract:
    """Base of all suites: their tests are coroutines, run by anyio's plugin on asyncio."""

    pytestmark = pytest.mark.anyio

    @pytest.fixture
    def anyio_backend(self) -> str:
        """Run on asyncio."""
        return "asyncio"


class RecordsContract(AsyncContract):
    """Base of the suites for records."""

    @pytest.fixture
    def records(self) -> Records:
        """Return fresh records: nothing but the slots as they are made, and the default settings."""
        raise NotImplementedError("override the fixture `records`")


def new_id() -> str:
    """Return a new job or media id."""
    return secrets.token_hex(16)


def an_entry(
    actor: str | None = "serg", action: AuditAction = AuditAction.SETTINGS_CHANGED, subject: str = ""
) -> AuditEntry:
    """Return an entry of the audit log, as of something done on the command line."""
    return AuditEntry(action=action, actor=Actor(name=actor, origin=COMMAND_LINE), subject=subject)


async def entries(records: Records) -> Sequence[AuditEntry]:
    """Return what the audit log holds, the oldest first."""
    events = await records.audit.page(AuditFilter(), limit=1_000)
    return [event.entry for event in events][::-1]


def an_image(*, content: str | None = None) -> StoredImage:
    """Return an image with an id of its own; `content` stands for its bytes."""
    return StoredImage(
        media_id=MediaId(new_id()),
        file=StoredFile(size_bytes=3_141_592, sha256=content or secrets.token_hex(32)),
        info=ImageInfo(image_type=ImageType.PNG, width=6000, height=4000),
    )


def a_configuration(template_id: str = "t-1") -> SlotConfiguration:
    """Return a configuration in which no field has its default; it binds this template."""
    call = ProviderCall(
        provider="gemini",
        operation="style_transfer",
        params={"prompt": "Акварель, «тёплая» ☀", "strength": 0.25, "steps": 7, "sharp": True},
        template_media=(TemplateBinding(role="style", template_id=template_id),),
    )
    return SlotConfiguration(
        call=call,
        display_name="Фотозона № 1",
        is_active=True,
        size_limit_mb=12,
        sync_response_timeout_sec=33,
        max_concurrency=3,
        retry=RetryPolicy(max_attempts=3, backoff_ms=250, repeat_maybe_billed=True),
        fallback=ProviderCall(provider="rehearsal", operation="photo_effect"),
        on_failure=OnFailure.ORIGINAL,
        public_gallery=False,
    )


def a_slot(slot_id: SlotId = A_SLOT) -> Slot:
    """Return a slot as a submission carries it."""
    return Slot(slot_id=slot_id, configuration=a_configuration(), version=7)


async def announced(records: Records, kind: MediaKind, *, content: str | None = None) -> StoredImage:
    """Return an image whose media row is pending for an hour."""
    image = an_image(content=content)
    slot_id = None if kind is MediaKind.TEMPLATE else A_SLOT
    await records.media.intend([(image.media_id, kind)], slot_id=slot_id, ttl=HOUR)
    return image


async def a_template(records: Records, *, name: str = "Рамка «Зима»") -> Template:
    """Return a template that was added."""
    image, preview = [await announced(records, kind) for kind in (MediaKind.TEMPLATE, MediaKind.PREVIEW)]
    return await records.templates.add(image, preview=preview, name=name, entry=an_entry("игорь"))


async def a_submission(
    records: Records,
    *,
    slot: Slot | None = None,
    content: str | None = None,
    time_left: timedelta = MINUTE,
    idempotency_key: str | None = None,
    source: JobSource = JobSource.TEST,
    deduplicate: bool = False,
) -> JobSubmission:
    """Return a submission that is ready to be made, its payload announced."""
    return JobSubmission(
        job_id=JobId(new_id()),
        slot=slot or a_slot(),
        payload=await announced(records, MediaKind.PAYLOAD, content=content),
        time_left=time_left,
        retention=timedelta(hours=72),
        source=source,
        idempotency_key=idempotency_key,
        trace_context="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        deduplicate=deduplicate,
    )


async def announced_at(records: Records, submission: JobSubmission) -> datetime:
    """Return when the payload of a submission was announced, by the store's clock."""
    row = await records.media.get(submission.payload.media_id)
    assert row is not None
    return row.created_at


async def a_pending_job(records: Records, *, time_left: timedelta = MINUTE) -> JobReading:
    """Return a job that waits."""
    submitted = await records.jobs.submit(await a_submission(records, time_left=time_left))
    return submitted.reading


async def a_processing_job(
    records: Records, *, time_left: timedelta = MINUTE, lease: timedelta = 10 * SECOND, claims: int = 1
) -> JobReading:
    """Return a job that was claimed `claims` times, the last time with `lease`. It has to be the only one."""
    await a_pending_job(records, time_left=time_left)
    for _ in range(claims - 1):
        await records.jobs.claim(limit=1, lease=SECOND)
        await records.time_passes(2 * SECOND)
    [reading] = await records.jobs.claim(limit=1, lease=lease)
    return reading


async def success(records: Records) -> Verdict:
    """Return the verdict of a worker that has written a result and its preview."""
    result = await a_result(records, ResultSource.FALLBACK)
    return Verdict(event=JobEvent.SUCCEEDED, attempts=2, result=result)


async def a_result(records: Records, source: ResultSource) -> JobResult:
    """Return a result whose files are announced."""
    return JobResult(
        image=await announced(records, MediaKind.RESULT),
        preview=await announced(records, MediaKind.PREVIEW),
        source=source,
    )


def failure(event: JobEvent = JobEvent.PROVIDER_FAILED) -> Verdict:
    """Return the verdict of a worker that got no picture."""
    return Verdict(event=event, attempts=3, failure_reason="provider_no_image")


async def stand_in(records: Records, event: JobEvent = JobEvent.PROVIDER_FAILED) -> Verdict:
    """Return the verdict of a worker that got no picture and has written the booth's photo in its place."""
    return replace(failure(event), result=await a_result(records, ResultSource.ORIGINAL))


async def _internal_failure(_records: Records) -> Verdict:
    return failure(JobEvent.INTERNALLY_FAILED)


_VERDICTS: Final[Mapping[JobState, Callable[[Records], Awaitable[Verdict]]]] = {
    JobState.COMPLETED: success,
    JobState.FAILED_PROVIDER: stand_in,
    JobState.FAILED_INTERNAL: _internal_failure,
}


async def a_completed_job(records: Records) -> JobReading:
    """Return a job with a result."""
    return await an_ended_job(records, await success(records))


async def an_ended_job(records: Records, verdict: Verdict) -> JobReading:
    """Return a job that a worker has ended so."""
    claimed = await a_processing_job(records)
    finished = await records.jobs.finalize(claimed.job.job_id, verdict, fence=claimed.job.fence)
    assert finished is not None
    return finished


async def a_job_in(
    records: Records,
    state: JobState,
    *,
    slot_id: SlotId = A_SLOT,
    source: JobSource = JobSource.BOOTH,
    took: timedelta = SECOND,
) -> JobReading:
    """Return a job in this state, which may be any but `CANCELLED`. No other may be claimable meanwhile.

    One that is final has taken as long as `took`, and where time is real a little longer.
    """
    time_left = took if state is JobState.FAILED_TIMEOUT else took + 1000 * HOUR
    submission = await a_submission(records, slot=a_slot(slot_id), time_left=time_left, source=source)
    pending = (await records.jobs.submit(submission)).reading
    if state is JobState.PENDING:
        return pending
    if state is JobState.FAILED_TIMEOUT:
        await records.time_passes(took)
        await records.jobs.expire([pending.job.job_id])
        return await present(records, pending)
    [claimed] = await records.jobs.claim(limit=1, lease=took + 1000 * HOUR)
    if state is JobState.PROCESSING:
        return claimed
    await records.time_passes(took)
    verdict = await _VERDICTS[state](records)
    ended = await records.jobs.finalize(claimed.job.job_id, verdict, fence=claimed.job.fence)
    assert ended is not None
    return ended


async def present(records: Records, reading: JobReading) -> JobReading:
    """Return the job as it is now."""
    now = await records.jobs.get(reading.job.job_id)
    assert now is not None
    return now


async def present_result(records: Records, reading: JobReading) -> ResultReading:
    """Return what the job's result needs as it is now, which is what the whole job says of it."""
    before = await present(records, reading)
    found = await records.jobs.get_result(reading.job.job_id)
    after = await present(records, reading)
    assert found is not None
    assert before.now <= found.now <= after.now
    assert found == replace(ResultReading.of(after), now=found.now)
    return found


async def doomed_ids(records: Records) -> set[MediaId]:
    """Return the ids of all files that must go."""
    return {media.media_id for media in await records.media.doomed(limit=100)}


async def until_quiet(subscription: Subscription) -> None:
    """Take in the signals of what was done before; they may come late."""
    while await subscription.wait(0.1):
        continue


def with_payload_of(submission: JobSubmission, other: JobSubmission) -> JobSubmission:
    """Return `submission` with the same bytes as `other`, in a file of its own."""
    return replace(submission, payload=replace(submission.payload, file=other.payload.file))
