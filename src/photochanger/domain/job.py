"""The job: one photo on its way through PhotoChanger, as one state machine.

Rule 1: every state, event and guard is in `TRANSITIONS`, and nowhere else. The chart in `docs/` is drawn
from this table, the PostgreSQL adapter derives its compare-and-set conditions from it, and the tests walk
all of it.

Rule 2: a final job never changes, and of two finalisers exactly one wins. Success needs the lease and a
`now` before the deadline; a timeout needs a `now` at or after it. So from the deadline on the outcome is
settled, whoever writes it down.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final, NewType, TypeVar, assert_never

from photochanger.domain.errors import InvalidTransition
from photochanger.domain.media import MediaId, StoredImage
from photochanger.domain.retention import has_passed, result_expires_at
from photochanger.domain.slot import SlotConfiguration, SlotId

JobId = NewType("JobId", str)

MAX_CLAIMS: Final = 3
"""A job whose worker died this often is not tried again: it may be what kills them."""

_ID = re.compile(r"[0-9a-f]{32}")
_T = TypeVar("_T")


def parse_job_id(text: str) -> JobId | None:
    """Return `text` as a job id (32 hexadecimal digits, 128 random bits), or None where it is not one."""
    return JobId(text) if _ID.fullmatch(text) else None


class JobState(StrEnum):
    """Where a job is."""

    PENDING = "pending"
    """The photo is stored; the job waits for a worker."""
    PROCESSING = "processing"
    """A worker holds the lease and is at it."""
    COMPLETED = "completed"
    """The result is stored and public until `result_expires_at`."""
    FAILED_TIMEOUT = "failed_timeout"
    """The deadline came first."""
    FAILED_PROVIDER = "failed_provider"
    """The provider did not deliver a picture."""
    FAILED_INTERNAL = "failed_internal"
    """We could not do our part."""
    CANCELLED = "cancelled"
    """An administrator stopped it."""


class JobEvent(StrEnum):
    """What can happen to a job."""

    CLAIMED = "claimed"
    """A worker takes the job under a lease."""
    RENEWED = "renewed"
    """The worker extends its lease."""
    RELEASED = "released"
    """The worker hands the job back, because it is shutting down."""
    SUCCEEDED = "succeeded"
    PROVIDER_FAILED = "provider_failed"
    INTERNALLY_FAILED = "internally_failed"
    DEADLINE_PASSED = "deadline_passed"
    CANCEL_REQUESTED = "cancel_requested"


class Guard(StrEnum):
    """A condition on the moment (`now`) or on who asks (`fence`)."""

    BEFORE_DEADLINE = "before_deadline"
    """now < deadline"""
    DEADLINE_REACHED = "deadline_reached"
    """now ≥ deadline"""
    LEASE_HELD = "lease_held"
    """The caller's fence is the job's, and now < lease_expires_at."""
    LEASE_LAPSED = "lease_lapsed"
    """now ≥ lease_expires_at"""
    CLAIMS_LEFT = "claims_left"
    """The job has been claimed fewer than `MAX_CLAIMS` times."""


@dataclass(frozen=True, slots=True)
class Transition:
    """One row of the table: in `source`, `event` leads to `target` if all `guards` hold."""

    source: JobState
    event: JobEvent
    target: JobState
    guards: frozenset[Guard] = frozenset()


def _row(source: JobState, event: JobEvent, target: JobState, *guards: Guard) -> Transition:
    return Transition(source, event, target, frozenset(guards))


TRANSITIONS: Final = (
    _row(JobState.PENDING, JobEvent.CLAIMED, JobState.PROCESSING, Guard.BEFORE_DEADLINE),
    _row(JobState.PENDING, JobEvent.DEADLINE_PASSED, JobState.FAILED_TIMEOUT, Guard.DEADLINE_REACHED),
    _row(JobState.PENDING, JobEvent.CANCEL_REQUESTED, JobState.CANCELLED, Guard.BEFORE_DEADLINE),
    _row(
        JobState.PROCESSING,
        JobEvent.CLAIMED,
        JobState.PROCESSING,
        Guard.BEFORE_DEADLINE,
        Guard.LEASE_LAPSED,
        Guard.CLAIMS_LEFT,
    ),
    _row(
        JobState.PROCESSING,
        JobEvent.RENEWED,
        JobState.PROCESSING,
        Guard.BEFORE_DEADLINE,
        Guard.LEASE_HELD,
    ),
    _row(JobState.PROCESSING, JobEvent.RELEASED, JobState.PENDING, Guard.LEASE_HELD),
    _row(
        JobState.PROCESSING,
        JobEvent.SUCCEEDED,
        JobState.COMPLETED,
        Guard.BEFORE_DEADLINE,
        Guard.LEASE_HELD,
    ),
    _row(
        JobState.PROCESSING,
        JobEvent.PROVIDER_FAILED,
        JobState.FAILED_PROVIDER,
        Guard.BEFORE_DEADLINE,
        Guard.LEASE_HELD,
    ),
    _row(
        JobState.PROCESSING,
        JobEvent.INTERNALLY_FAILED,
        JobState.FAILED_INTERNAL,
        Guard.BEFORE_DEADLINE,
        Guard.LEASE_HELD,
    ),
    _row(JobState.PROCESSING, JobEvent.DEADLINE_PASSED, JobState.FAILED_TIMEOUT, Guard.DEADLINE_REACHED),
    _row(JobState.PROCESSING, JobEvent.CANCEL_REQUESTED, JobState.CANCELLED, Guard.BEFORE_DEADLINE),
)

_BY_SOURCE_AND_EVENT: Final[Mapping[tuple[JobState, JobEvent], Transition]] = {
    (row.source, row.event): row for row in TRANSITIONS
}

FINAL_STATES: Final = frozenset(JobState) - {row.source for row in TRANSITIONS}


FAILURE_REASON_OF: Final[Mapping[JobEvent, str]] = {
    JobEvent.DEADLINE_PASSED: "timeout",
    JobEvent.CANCEL_REQUESTED: "cancelled",
}
"""The `failure_reason` of the events that bring none of their own."""


class JobSource(StrEnum):
    """Who sent the photo."""

    BOOTH = "booth"
    TEST = "test"


class ResultSource(StrEnum):
    """Where the delivered picture comes from."""

    PROVIDER = "provider"
    FALLBACK = "fallback"
    ORIGINAL = "original"
    """The booth's own photo, as a stand-in: everything had failed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobResult:
    """The picture that a final job delivers: the finished one, or the stand-in of a job that failed."""

    image: StoredImage
    preview: StoredImage
    source: ResultSource = ResultSource.PROVIDER


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One photo, from its acceptance to its final state.

    `configuration` is the slot's as it was when the photo came: later changes do not touch the job.
    `fence` counts the claims; it is the fencing token of the present lease. `attempts` counts the calls of
    the provider. `content_hash` is the SHA-256 of the photo, hexadecimal. `trace_context` carries the
    request's trace to the worker (a W3C `traceparent`).
    """

    job_id: JobId
    slot_id: SlotId
    slot_version: int
    configuration: SlotConfiguration
    payload_id: MediaId
    content_hash: str
    created_at: datetime
    deadline: datetime
    retention: timedelta
    source: JobSource = JobSource.BOOTH
    idempotency_key: str | None = None
    trace_context: str | None = None
    state: JobState = JobState.PENDING
    fence: int = 0
    lease_expires_at: datetime | None = None
    started_at: datetime | None = None
    finalized_at: datetime | None = None
    attempts: int = 0
    failure_reason: str | None = None
    result: JobResult | None = None

    @property
    def is_finalized(self) -> bool:
        """Whether the job has reached a state that it never leaves."""
        return self.state in FINAL_STATES

    @property
    def result_expires_at(self) -> datetime | None:
        """When the result ends; None while there is none."""
        if self.result is None or self.finalized_at is None:
            return None
        return result_expires_at(self.finalized_at, self.retention)

    @property
    def visible_until(self) -> datetime | None:
        """When the operator's view of the job ends; None while the job is not final."""
        return None if self.finalized_at is None else result_expires_at(self.finalized_at, self.retention)

    def can_answer_again(self, *, now: datetime) -> bool:
        """Say whether the same photo, sent once more, gets this job: it is under way, or has a result."""
        if not self.is_finalized:
            return True
        end = self.result_expires_at
        return self.state is JobState.COMPLETED and end is not None and not has_passed(end, now=now)

    def answers_for_its_key(self, *, now: datetime) -> bool:
        """Say whether its Idempotency-Key still means this job; afterwards the key is free."""
        return self.visible_until is None or not has_passed(self.visible_until, now=now)

    def apply(
        self,
        event: JobEvent,
        *,
        now: datetime,
        fence: int | None = None,
        lease: timedelta | None = None,
        attempts: int = 0,
        failure_reason: str | None = None,
        result: JobResult | None = None,
    ) -> "Job":
        """Return this job after `event`, or raise `InvalidTransition` and change nothing.

        `fence` is the caller's fencing token, for events that only the lease holder may cause; `lease` is
        the length of the lease, for `CLAIMED` and `RENEWED`. Raises `ValueError` for a `result` that the
        event cannot bring (see `can_bring`).
        """
        row = _BY_SOURCE_AND_EVENT.get((self.state, event))
        if row is None:
            raise InvalidTransition(f"a {self.state.value} job does not take {event.value}")
        for guard in sorted(row.guards):
            if not self._holds(guard, now=now, fence=fence):
                raise InvalidTransition(f"{event.value} of a {self.state.value} job needs {guard.value}")
        after = replace(self, state=row.target)
        at = max(
            now, self.started_at or self.created_at
        )  # a clock set back must not make a job end before it began
        if row.target in FINAL_STATES:
            after = replace(after, finalized_at=at, lease_expires_at=None)
        match event:
            case JobEvent.CLAIMED:
                after = replace(
                    after,
                    fence=self.fence + 1,
                    lease_expires_at=now + _given(lease),
                    started_at=self.started_at or at,
                )
            case JobEvent.RENEWED:
                after = replace(
                    after, lease_expires_at=now + _given(lease), attempts=max(self.attempts, attempts)
                )
            case JobEvent.RELEASED:
                after = replace(after, lease_expires_at=None)
            case JobEvent.SUCCEEDED:
                after = replace(after, attempts=attempts, result=_fit(event, result))
            case JobEvent.PROVIDER_FAILED | JobEvent.INTERNALLY_FAILED:
                after = replace(
                    after,
                    attempts=attempts,
                    failure_reason=_given(failure_reason),
                    result=_fit(event, result),
                )
            case JobEvent.DEADLINE_PASSED | JobEvent.CANCEL_REQUESTED:
                after = replace(after, failure_reason=FAILURE_REASON_OF[event])
            case _:
                assert_never(event)
        return after

    def _holds(self, guard: Guard, *, now: datetime, fence: int | None) -> bool:
        lapsed = self.lease_expires_at is None or has_passed(self.lease_expires_at, now=now)
        match guard:
            case Guard.BEFORE_DEADLINE:
                return not has_passed(self.deadline, now=now)
            case Guard.DEADLINE_REACHED:
                return has_passed(self.deadline, now=now)
            case Guard.LEASE_HELD:
                return fence == self.fence and not lapsed
            case Guard.LEASE_LAPSED:
                return lapsed
            case Guard.CLAIMS_LEFT:
                return self.fence < MAX_CLAIMS
            case _:
                assert_never(guard)


def can_bring(event: JobEvent, result: JobResult | None) -> bool:
    """Say whether a worker's event fits what it brings.

    Success brings a picture of a provider's; a failure brings nothing, or the booth's photo as a stand-in.
    """
    if event is JobEvent.SUCCEEDED:
        return result is not None and result.source is not ResultSource.ORIGINAL
    return result is None or result.source is ResultSource.ORIGINAL


def _fit(event: JobEvent, result: JobResult | None) -> JobResult | None:
    if not can_bring(event, result):
        raise ValueError(f"{event.value} cannot bring this result")
    return result


def _given(value: _T | None) -> _T:
    if value is None:
        raise TypeError("this event needs a value that was not given")
    return value
