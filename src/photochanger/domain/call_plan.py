"""The call plan: after what has happened to a job so far, which provider to call next, or none.

The plan is a pure rule. It knows the ways to a picture, which are the models of the slot's own call and then
those of its fallback, the slot's retry policy, and what became of the attempts so far; it is told the time
left and what stands against each way now. Whoever carries it out does nothing of its own accord.

    after …                              the plan …
    a refusal, a rejected request        leaves the provider; the fallback may do
    no picture                           asks again: at once the first time, then after a pause
    a failure                            asks again after a pause; once only, where another way is open
    quota exhausted                      waits if that leaves time for a call, else takes the next way
    a model that is gone                 takes the next model
    a key that is not accepted           leaves the provider
    a call that may have been charged    leaves the provider, unless the slot's policy says otherwise

Repetitions, apart from the first try of each way, are bounded by the retry policy, for the slot's own call
and for its fallback separately.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from photochanger.domain.breaker import Hindrance, Target
from photochanger.domain.errors import (
    DeadlineExceeded,
    PhotoChangerError,
    ProviderFault,
    ProviderMisconfigured,
    ProviderModelGone,
    ProviderNoImage,
    ProviderQuotaExhausted,
    ProviderRefused,
    ProviderRejected,
)
from photochanger.domain.slot import ProviderCall, RetryPolicy

MAX_BACKOFF_SEC: Final = 10.0

CUTTING_SHORT_SEC: Final = 0.25
"""What it may take to end a call, over and above the time that the fallback is left."""

PATIENCE_SEC: Final = 10.0
"""How long it is worth waiting for a provider that is kept from calls, where there is no other way."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """A way to a picture: the slot's call or its fallback, with one of the models.

    With less than `least_useful_sec` left, it is not worth taking.
    """

    call: ProviderCall
    model: str | None = None
    is_fallback: bool = False
    least_useful_sec: float = 0.5

    @property
    def target(self) -> Target:
        """The provider and model that are called: what is down, is down for every job and slot."""
        return self.call.provider, self.model


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """A way that was taken, and why there is no picture; `ended_at` is in monotonic seconds.

    `jitter`, a random number from 0 to 1, spreads the pauses of jobs that failed together. `was_called` is
    false where the provider was not reached, because our own quota stood against it.
    """

    route: Route
    fault: ProviderFault
    ended_at: float
    jitter: float = 1.0
    was_called: bool = True


@dataclass(frozen=True, slots=True)
class Call:
    """Take this way now, for at most so many seconds."""

    route: Route
    limit_sec: float


@dataclass(frozen=True, slots=True)
class Pause:
    """Wait so many seconds, then ask again."""

    seconds: float


@dataclass(frozen=True, slots=True)
class GiveUp:
    """There will be no picture, for this reason."""

    error: PhotoChangerError


Decision: TypeAlias = Call | Pause | GiveUp
Hindrances: TypeAlias = Callable[[Route], Hindrance | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class CallPlan:
    """The ways to a picture, the best first, and how persistently to try them."""

    routes: Sequence[Route]
    retry: RetryPolicy

    def next(
        self, attempts: Sequence[Attempt], *, now: float, deadline: float, hindrance: Hindrances
    ) -> Decision:
        """Return what to do at `now`, with `hindrance` saying what stands against each way."""
        ways = [_Way(route, self.retry, attempts, hindrance) for route in self.routes]
        left = [way for way in ways if way.remains]
        open_ways = [
            way for way in left if way.is_open and way.ready_at(now) + way.least_useful_sec <= deadline
        ]
        if open_ways:
            # After two failures the others come first; when they have failed too, it is the best there is.
            way = next((way for way in open_ways if not way.has_failed_twice), open_ways[0])
            if (ready_at := way.ready_at(now)) > now:
                return Pause(ready_at - now)
            later = open_ways[open_ways.index(way) + 1 :]
            return Call(way.route, _limit(way, later, deadline - now))
        waits = [wait for way in left if (wait := way.worthwhile_wait(deadline - now)) is not None]
        return Pause(min(waits)) if waits else GiveUp(self._reason(attempts, hindrance))

    def _reason(self, attempts: Sequence[Attempt], hindrance: Hindrances) -> PhotoChangerError:
        """Return the fault of the slot's own call where it was tried, else the last, else what hindered."""
        own = [attempt.fault for attempt in attempts if not attempt.route.is_fallback]
        if faults := own or [attempt.fault for attempt in attempts]:
            return faults[-1]
        hindered = [found for route in self.routes if (found := hindrance(route))]
        return hindered[0].fault if hindered else DeadlineExceeded()


class _Way:
    """A route in the light of the attempts so far."""

    def __init__(
        self, route: Route, retry: RetryPolicy, attempts: Sequence[Attempt], hindrance: Hindrances
    ) -> None:
        self.route = route
        self.least_useful_sec = route.least_useful_sec
        self._retry = retry
        self._attempts = attempts
        self._own = [attempt for attempt in attempts if attempt.route == route]
        self._tries = sum(attempt.was_called for attempt in self._own)
        self._hindrance = hindrance(route)

    @property
    def remains(self) -> bool:
        """Whether what has happened, and the policy, let it be taken (again)."""
        if any(_closes(attempt, self.route, self._retry) for attempt in self._attempts):
            return False
        if sum(_asks_for_one_repetition(attempt.fault) for attempt in self._own) > 1:
            return False
        return self._tries == 0 or self._repetitions < self._retry.max_attempts

    @property
    def _repetitions(self) -> int:
        """How many attempts of this call, with any model, were not the first of their way."""
        tried = [
            attempt.route
            for attempt in self._attempts
            if attempt.was_called and attempt.route.is_fallback == self.route.is_fallback
        ]
        return len(tried) - len({route.model for route in tried})

    @property
    def is_open(self) -> bool:
        """Whether nothing stands against it but a quota that this job itself has met, and may wait for."""
        return self._hindrance is None or self._waits_for_quota

    @property
    def _waits_for_quota(self) -> bool:
        met = bool(self._own) and isinstance(self._own[-1].fault, ProviderQuotaExhausted)
        return met and self._hindrance is not None

    @property
    def has_failed_twice(self) -> bool:
        """Whether it has had two ordinary failures."""
        return sum(_is_ordinary(attempt.fault) for attempt in self._own) > 1

    def ready_at(self, now: float) -> float:
        """When it may be taken (again)."""
        ready_at = now if self._hindrance is None else now + self._hindrance.seconds
        if not self._own:
            return ready_at
        last = self._own[-1]
        return max(ready_at, last.ended_at + self._pause_after(last))

    def _pause_after(self, last: Attempt) -> float:
        if last.fault.retry_after_sec is not None:
            return last.fault.retry_after_sec
        if isinstance(last.fault, ProviderNoImage) and self._tries == 1:
            return 0.0
        backoff = self._retry.backoff_ms / 1000 * 2.0 ** max(0, self._tries - 1)
        return min(backoff, MAX_BACKOFF_SEC) * (0.5 + last.jitter / 2)

    def worthwhile_wait(self, time_left: float) -> float | None:
        """How long to wait for the provider to be open again; None where that is not worth it."""
        if self._hindrance is None:
            return None
        seconds = self._hindrance.seconds
        fits = seconds <= PATIENCE_SEC and seconds + self.least_useful_sec <= time_left
        return seconds if fits else None


def _closes(attempt: Attempt, route: Route, retry: RetryPolicy) -> bool:
    """Whether what came of `attempt` rules `route` out for the rest of the job."""
    fault = attempt.fault
    if isinstance(fault, ProviderModelGone):
        return attempt.route == route
    leaves_provider = isinstance(fault, ProviderRefused | ProviderRejected | ProviderMisconfigured) or (
        fault.maybe_billed and not retry.repeat_maybe_billed
    )
    return leaves_provider and attempt.route.call.provider == route.call.provider


def _asks_for_one_repetition(fault: ProviderFault) -> bool:
    return isinstance(fault, ProviderNoImage) and fault.once


def _is_ordinary(fault: ProviderFault) -> bool:
    return not isinstance(fault, ProviderNoImage | ProviderQuotaExhausted)


def _limit(way: _Way, later: Sequence[_Way], time_left: float) -> float:
    """Return how long the call may take: so long that a fallback at another provider still has its time.

    Another model of the same provider is no reason to stop: a call that was cut short may be charged.
    """
    reserves = [
        other.least_useful_sec + CUTTING_SHORT_SEC
        for other in later
        if other.route.call.provider != way.route.call.provider
    ]
    limit = time_left - min(reserves, default=0.0)
    return limit if limit >= way.least_useful_sec else time_left
