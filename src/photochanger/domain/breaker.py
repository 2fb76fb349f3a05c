"""The circuit breaker: keeps calls away from a provider that is down, and finds out when it is back.

    closed ──failures in a row──▶ open ──pause over──▶ half open ──the one probe succeeds──▶ closed
                                   ▲                        │
                                   └──── the probe fails ───┘  (a longer pause)

A probe that is silent for the longest pause no longer keeps others away: behind a provider that hangs, it may
be silent until its job's deadline.

The clock is whatever monotonic seconds the caller passes as `now`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from photochanger.domain.errors import (
    ProviderError,
    ProviderFault,
    ProviderMisconfigured,
    ProviderNoImage,
    ProviderQuotaExhausted,
    ProviderRefused,
    ProviderRejected,
)

FAILURES_TO_OPEN: Final = 3
FIRST_PAUSE_SEC: Final = 5.0
LONGEST_PAUSE_SEC: Final = 25.0
"""A provider that is back is in use again after this time at most."""
LONG_PAUSE_SEC: Final = 300.0
"""The pause after a failure that somebody has to put right, such as a key that is not accepted."""
PROBE_CHECK_SEC: Final = 0.5

_NEUTRAL: Final = (ProviderRefused, ProviderNoImage, ProviderRejected)
"""The provider works; it is this photo or this request that it does not take."""


@dataclass(frozen=True, slots=True)
class Hindrance:
    """Why no call may be made now, and in how many seconds it may be worth asking again."""

    fault: ProviderFault
    seconds: float


class CircuitBreaker:
    """Watches the calls of one provider and model. Every `begin` is followed by exactly one `end`."""

    def __init__(self) -> None:
        self._failures = 0
        self._failing_since = 0.0
        self._open_until: float | None = None
        self._pause = FIRST_PAUSE_SEC
        self._cause: ProviderFault = ProviderError()
        self._probe: Trial | None = None

    @property
    def is_open(self) -> bool:
        """Whether calls are kept away, all of them or all but one probe."""
        return self._open_until is not None

    @property
    def cause(self) -> ProviderFault:
        """The fault that opened it last."""
        return self._cause

    def hindrance(self, now: float) -> Hindrance | None:
        """Return what stands against a call at `now`, or None where it may begin."""
        if self._open_until is None:
            return None
        if now < self._open_until:
            return Hindrance(self._cause, self._open_until - now)
        is_probing = self._probe is not None and now < self._probe.begun_at + LONGEST_PAUSE_SEC
        return Hindrance(self._cause, PROBE_CHECK_SEC) if is_probing else None

    def begin(self, now: float) -> "Trial":
        """Begin a call that nothing stands against; while the breaker is open, it is the probe."""
        trial = Trial(self, now)
        if self.is_open:
            self._probe = trial
        return trial

    def end(self, trial: "Trial", fault: ProviderFault | None, now: float) -> None:
        """Take note of how a call ended: `fault` is None for success."""
        is_probe = trial is self._probe
        self.abandon(trial)
        if self.is_open and not is_probe:
            return  # begun before it opened, or a probe that others have overtaken: it tells nothing new
        if fault is None:
            # The success of a call that was under way when the failures began does not disprove them.
            if trial.begun_at >= self._failing_since:
                self._close()
        elif not isinstance(fault, _NEUTRAL):
            self._fail(fault, now, is_probe=is_probe)

    def abandon(self, trial: "Trial") -> None:
        """Take note that a call was cut short by ourselves, which says nothing of the provider."""
        if trial is self._probe:
            self._probe = None

    def _close(self) -> None:
        self._failures, self._failing_since = 0, 0.0
        self._open_until, self._pause, self._probe = None, FIRST_PAUSE_SEC, None

    def _fail(self, fault: ProviderFault, now: float, *, is_probe: bool) -> None:
        if self._failures == 0:
            self._failing_since = now
        self._failures += 1
        pause = _own_pause(fault)
        if pause is None:
            if self._failures < FAILURES_TO_OPEN and not is_probe:
                return
            pause, self._pause = self._pause, min(2 * self._pause, LONGEST_PAUSE_SEC)
        self._open_until, self._cause = now + pause, fault


@dataclass(frozen=True, slots=True, eq=False)
class Trial:
    """A call that a breaker has let through."""

    breaker: CircuitBreaker
    begun_at: float


Target: TypeAlias = tuple[str, str | None]
"""A provider, and one of its models where it has any."""


class CircuitBreakers:
    """One breaker for each provider and model, and one probe in the longest pause for each provider.

    A model may be down while its neighbours work, so each has its own breaker. But where the whole provider
    is down, a probe for every model would cost so many jobs their time.
    """

    def __init__(self) -> None:
        self._breakers: dict[Target, CircuitBreaker] = {}
        self._next_probe_at: dict[str, float] = {}

    def hindrance(self, target: Target, now: float) -> Hindrance | None:
        """Return what stands against a call at `now`, or None where it may begin."""
        breaker = self._breakers.get(target)
        if breaker is None or not breaker.is_open:
            return None
        wait = self._next_probe_at.get(target[0], now) - now
        return breaker.hindrance(now) or (Hindrance(breaker.cause, wait) if wait > 0 else None)

    def begin(self, target: Target, now: float) -> Trial:
        """Begin a call that nothing stands against."""
        breaker = self._breakers.setdefault(target, CircuitBreaker())
        if breaker.is_open:
            self._next_probe_at[target[0]] = now + LONGEST_PAUSE_SEC
        return breaker.begin(now)

    def end(self, target: Target, trial: Trial, fault: ProviderFault | None, now: float) -> None:
        """Take note of how a call ended; unless it failed, the next probe need not wait."""
        trial.breaker.end(trial, fault, now)
        if fault is None or isinstance(fault, _NEUTRAL):
            self._next_probe_at.pop(target[0], None)

    def abandon(self, target: Target, trial: Trial) -> None:
        """Take note that a call was cut short by ourselves; the next probe need not wait for that."""
        trial.breaker.abandon(trial)
        self._next_probe_at.pop(target[0], None)

    def open(self) -> Sequence[Target]:
        """Return the providers and models that calls are kept away from."""
        return [target for target, breaker in self._breakers.items() if breaker.is_open]


def _own_pause(fault: ProviderFault) -> float | None:
    """Return the pause that the fault itself brings, however few they were; None for an ordinary failure."""
    match fault:
        case ProviderQuotaExhausted(retry_after_sec=float() | int() as seconds):
            return min(max(float(seconds), PROBE_CHECK_SEC), LONG_PAUSE_SEC)
        case ProviderMisconfigured():
            return LONG_PAUSE_SEC
    return None
