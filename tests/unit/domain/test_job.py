"""The state machine: every row of its table, and what must hold whatever happens."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TypeAlias

import pytest
from hypothesis import given
from hypothesis import strategies as st

from photochanger.domain.errors import InvalidTransition
from photochanger.domain.image import ImageInfo, ImageType
from photochanger.domain.job import (
    FINAL_STATES,
    MAX_CLAIMS,
    TRANSITIONS,
    Guard,
    Job,
    JobEvent,
    JobId,
    JobResult,
    JobState,
    ResultSource,
    Transition,
    can_bring,
    parse_job_id,
)
from photochanger.domain.media import MediaId, StoredFile, StoredImage
from photochanger.domain.slot import ProviderCall, SlotConfiguration, SlotId

START = datetime(2026, 1, 14, 9, 30, tzinfo=UTC)
DEADLINE = START + timedelta(seconds=48)
LEASE = timedelta(seconds=4)


def an_image(number: int) -> StoredImage:
    return StoredImage(
        media_id=MediaId(f"{number:032x}"),
        file=StoredFile(size_bytes=10, sha256="0" * 64),
        info=ImageInfo(image_type=ImageType.JPEG, width=3, height=2),
    )


RESULT = JobResult(image=an_image(1), preview=an_image(2))
STAND_IN = replace(RESULT, source=ResultSource.ORIGINAL)
FAILURES = (JobEvent.PROVIDER_FAILED, JobEvent.INTERNALLY_FAILED)


def a_job(state: JobState = JobState.PENDING) -> Job:
    job = Job(
        job_id=JobId("a" * 32),
        slot_id=SlotId("slot-001"),
        slot_version=1,
        configuration=SlotConfiguration(call=ProviderCall(provider="rehearsal", operation="photo_effect")),
        payload_id=MediaId("b" * 32),
        content_hash="c" * 64,
        created_at=START,
        deadline=DEADLINE,
        retention=timedelta(hours=72),
    )
    if state is JobState.PENDING:
        return job
    claimed = job.apply(JobEvent.CLAIMED, now=START, lease=LEASE)
    if state is JobState.PROCESSING:
        return claimed
    row = next(row for row in TRANSITIONS if row.target is state)
    source = job if row.source is JobState.PENDING else claimed
    return happen(source, row.event, now=DEADLINE if Guard.DEADLINE_REACHED in row.guards else START)


def happen(
    job: Job, event: JobEvent, *, now: datetime, fence: int | None = None, stand_in: bool = False
) -> Job:
    """Let `event` happen with everything it could need, as the lease holder unless `fence` is given."""
    failed = event in FAILURES
    return job.apply(
        event,
        now=now,
        fence=job.fence if fence is None else fence,
        lease=LEASE,
        attempts=1,
        failure_reason="provider_error" if failed else None,
        result=RESULT if event is JobEvent.SUCCEEDED else STAND_IN if stand_in and failed else None,
    )


Happenings: TypeAlias = list[tuple[JobEvent, datetime, int, bool]]

moments = st.timedeltas(min_value=timedelta(0), max_value=timedelta(seconds=60)).map(
    lambda delta: START + delta
)
happenings = st.lists(
    st.tuples(st.sampled_from(JobEvent), moments, st.integers(0, 4), st.booleans()), max_size=30
)


def test_the_final_states_are_those_that_the_product_names() -> None:
    assert {state.value for state in FINAL_STATES} == {
        "completed",
        "failed_timeout",
        "failed_provider",
        "failed_internal",
        "cancelled",
    }


def test_a_state_and_an_event_lead_to_one_place_only() -> None:
    pairs = [(row.source, row.event) for row in TRANSITIONS]

    assert len(pairs) == len(set(pairs))


def test_every_state_can_be_reached() -> None:
    assert {row.target for row in TRANSITIONS} | {JobState.PENDING} == set(JobState)


@pytest.mark.parametrize("state", JobState)
@pytest.mark.parametrize("event", JobEvent)
def test_an_event_follows_the_table_or_is_refused(state: JobState, event: JobEvent) -> None:
    job = a_job(state)
    row = next((row for row in TRANSITIONS if (row.source, row.event) == (state, event)), None)

    if row is None:
        with pytest.raises(InvalidTransition):
            happen(job, event, now=START)
    else:
        now = START + LEASE if Guard.LEASE_LAPSED in row.guards else START
        now = DEADLINE if Guard.DEADLINE_REACHED in row.guards else now
        assert happen(job, event, now=now).state is row.target


@pytest.mark.parametrize("row", TRANSITIONS, ids=lambda row: f"{row.source}-{row.event}")
def test_each_guard_alone_refuses(row: Transition) -> None:
    job = a_job(row.source)
    breaches = {
        Guard.BEFORE_DEADLINE: (replace(job, deadline=START), START, None),
        Guard.DEADLINE_REACHED: (job, DEADLINE - timedelta(microseconds=1), None),
        Guard.LEASE_HELD: (job, START, job.fence + 1),
        Guard.LEASE_LAPSED: (job, START + LEASE - timedelta(microseconds=1), None),
        Guard.CLAIMS_LEFT: (replace(job, fence=MAX_CLAIMS), START + LEASE, None),
    }
    for guard in row.guards:
        before, now, fence = breaches[guard]
        with pytest.raises(InvalidTransition, match=guard.value):
            happen(before, row.event, now=now, fence=fence)


def test_a_lease_is_over_at_its_end() -> None:
    job = a_job(JobState.PROCESSING)

    with pytest.raises(InvalidTransition, match="lease_held"):
        happen(job, JobEvent.SUCCEEDED, now=START + LEASE)


def test_at_the_deadline_the_job_has_timed_out_and_cannot_succeed() -> None:
    job = replace(a_job(JobState.PROCESSING), lease_expires_at=DEADLINE + LEASE)

    with pytest.raises(InvalidTransition, match="before_deadline"):
        happen(job, JobEvent.SUCCEEDED, now=DEADLINE)
    assert happen(job, JobEvent.DEADLINE_PASSED, now=DEADLINE).failure_reason == "timeout"


def test_each_claim_raises_the_fence_so_that_the_worker_before_is_shut_out() -> None:
    first = a_job(JobState.PROCESSING)
    second = happen(first, JobEvent.CLAIMED, now=START + LEASE)

    assert second.fence == first.fence + 1
    with pytest.raises(InvalidTransition, match="lease_held"):
        happen(second, JobEvent.SUCCEEDED, now=START + LEASE, fence=first.fence)


def test_a_released_job_is_pending_and_can_be_claimed_at_once() -> None:
    released = happen(a_job(JobState.PROCESSING), JobEvent.RELEASED, now=START)

    assert released.state is JobState.PENDING
    assert happen(released, JobEvent.CLAIMED, now=START).fence == released.fence + 1


@given(happenings)
def test_a_final_job_never_changes(events: Happenings) -> None:
    job = a_job()
    for event, now, fence, stand_in in events:
        before = job
        try:
            job = happen(job, event, now=now, fence=fence, stand_in=stand_in)
        except InvalidTransition:
            assert job == before
        assert not before.is_finalized or job == before


@given(happenings)
def test_there_is_exactly_one_final_state(events: Happenings) -> None:
    job = a_job()
    reached: list[JobState] = []
    for event, now, fence, stand_in in events:
        try:
            job = happen(job, event, now=now, fence=fence, stand_in=stand_in)
        except InvalidTransition:
            continue
        if job.is_finalized:
            reached.append(job.state)
    assert len(reached) <= 1


@given(happenings)
def test_time_never_runs_backwards_in_a_job_even_if_the_clock_does(events: Happenings) -> None:
    job = a_job()
    for event, now, fence, stand_in in events:
        try:
            job = happen(job, event, now=now - timedelta(seconds=30), fence=fence, stand_in=stand_in)
        except InvalidTransition:
            continue
        times = [time for time in (job.created_at, job.started_at, job.finalized_at) if time is not None]
        assert times == sorted(times)


@given(happenings)
def test_success_comes_before_the_deadline_and_timeout_not_before_it(events: Happenings) -> None:
    job = a_job()
    for event, now, fence, stand_in in events:
        try:
            job = happen(job, event, now=now, fence=fence, stand_in=stand_in)
        except InvalidTransition:
            continue
        if job.is_finalized:
            assert job.finalized_at is not None
            assert (job.state is JobState.FAILED_TIMEOUT) == (job.finalized_at >= job.deadline)


@given(happenings)
def test_a_result_is_a_providers_picture_or_the_stand_in_of_a_failure(events: Happenings) -> None:
    job = a_job()
    for event, now, fence, stand_in in events:
        try:
            job = happen(job, event, now=now, fence=fence, stand_in=stand_in)
        except InvalidTransition:
            continue
        source = None if job.result is None else job.result.source
        if job.state is JobState.COMPLETED:
            assert source is ResultSource.PROVIDER
        elif job.state in {JobState.FAILED_PROVIDER, JobState.FAILED_INTERNAL}:
            assert source is (ResultSource.ORIGINAL if stand_in else None)
        else:
            assert source is None
        assert (job.result_expires_at is None) == (job.result is None)
        if event in FAILURES:
            return


@pytest.mark.parametrize("source", ResultSource)
def test_success_never_brings_the_original_and_a_failure_nothing_else(source: ResultSource) -> None:
    result = replace(RESULT, source=source)
    is_original = source is ResultSource.ORIGINAL
    job = a_job(JobState.PROCESSING)

    for event, fits in [(JobEvent.SUCCEEDED, not is_original), *((event, is_original) for event in FAILURES)]:
        assert can_bring(event, result) is fits
        if not fits:
            with pytest.raises(ValueError, match=event.value):
                job.apply(event, now=START, fence=job.fence, failure_reason="x", result=result)


def test_success_brings_something() -> None:
    job = a_job(JobState.PROCESSING)

    with pytest.raises(ValueError, match="succeeded"):
        job.apply(JobEvent.SUCCEEDED, now=START, fence=job.fence)


@given(moments, st.integers(24, 168), st.sampled_from([JobEvent.SUCCEEDED, *FAILURES]))
def test_a_result_expires_its_retention_after_it_was_finalised(
    now: datetime, hours: int, event: JobEvent
) -> None:
    job = replace(a_job(JobState.PROCESSING), retention=timedelta(hours=hours), lease_expires_at=DEADLINE)
    if now >= job.deadline:
        return
    done = happen(job, event, now=now, stand_in=True)

    assert done.finalized_at is not None
    assert done.result_expires_at == done.finalized_at + timedelta(hours=hours)


@pytest.mark.parametrize("state", sorted(set(JobState) - {JobState.COMPLETED}))
def test_without_a_result_nothing_expires(state: JobState) -> None:
    assert a_job(state).result_expires_at is None
    assert a_job(state).result is None


@pytest.mark.parametrize("state", sorted(FINAL_STATES - {JobState.COMPLETED}))
def test_a_failure_says_why(state: JobState) -> None:
    assert a_job(state).failure_reason


@pytest.mark.parametrize(
    "text", ["", "A" * 32, "a" * 31, "a" * 33, "g" * 32, "a" * 32 + "\n", "٠" * 32, "../" + "a" * 29]
)
def test_what_is_not_a_job_id_is_refused(text: str) -> None:
    assert parse_job_id(text) is None


def test_a_job_id_is_accepted() -> None:
    assert parse_job_id("0123456789abcdef" * 2) == "0123456789abcdef" * 2
