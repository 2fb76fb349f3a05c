"""The circuit breaker: when it opens, for how long, and how it finds out."""

import itertools
from dataclasses import dataclass

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from photochanger.domain.breaker import (
    FAILURES_TO_OPEN,
    FIRST_PAUSE_SEC,
    LONG_PAUSE_SEC,
    LONGEST_PAUSE_SEC,
    CircuitBreaker,
    CircuitBreakers,
    Trial,
)
from photochanger.domain.errors import (
    ProviderError,
    ProviderFault,
    ProviderMisconfigured,
    ProviderModelGone,
    ProviderNoImage,
    ProviderQuotaExhausted,
    ProviderRefused,
    ProviderRejected,
)


@dataclass
class Watched:
    """A breaker, and a time that is easy to let pass."""

    breaker: CircuitBreaker
    now: float = 1_000.0

    def call(self, fault: ProviderFault | None = None) -> None:
        assert self.breaker.hindrance(self.now) is None
        self.breaker.end(self.breaker.begin(self.now), fault, self.now)

    def fail(self, times: int = FAILURES_TO_OPEN) -> None:
        for _ in range(times):
            self.call(ProviderError())

    def pause_sec(self) -> float:
        hindrance = self.breaker.hindrance(self.now)
        return 0.0 if hindrance is None else hindrance.seconds


@pytest.fixture
def watched() -> Watched:
    return Watched(CircuitBreaker())


def test_it_opens_after_failures_in_a_row(watched: Watched) -> None:
    watched.fail(FAILURES_TO_OPEN - 1)
    assert not watched.breaker.is_open
    watched.fail(1)
    assert watched.pause_sec() == FIRST_PAUSE_SEC


def test_a_success_between_them_starts_the_count_anew(watched: Watched) -> None:
    watched.fail(FAILURES_TO_OPEN - 1)
    watched.call()
    watched.fail(FAILURES_TO_OPEN - 1)
    assert not watched.breaker.is_open


@pytest.mark.parametrize("fault", [ProviderRefused(), ProviderNoImage(), ProviderRejected()])
def test_what_is_the_photos_fault_is_neutral(watched: Watched, fault: ProviderFault) -> None:
    watched.fail(FAILURES_TO_OPEN - 1)
    for _ in range(20):
        watched.call(fault)
    assert not watched.breaker.is_open
    watched.fail(1)
    assert watched.breaker.is_open, "a neutral outcome is no success either"


def test_a_call_that_we_cut_short_is_neutral(watched: Watched) -> None:
    watched.fail(FAILURES_TO_OPEN - 1)
    for _ in range(20):
        watched.breaker.abandon(watched.breaker.begin(watched.now))
    assert not watched.breaker.is_open


def test_one_probe_at_a_time_when_the_pause_is_over(watched: Watched) -> None:
    watched.fail()
    watched.now += FIRST_PAUSE_SEC

    probe = watched.breaker.begin(watched.now)

    assert watched.pause_sec() > 0
    watched.breaker.end(probe, None, watched.now)
    assert not watched.breaker.is_open
    assert watched.pause_sec() == 0


@pytest.mark.parametrize("outcome", ["refused", "abandoned"])
def test_a_probe_that_tells_nothing_makes_room_for_another(watched: Watched, outcome: str) -> None:
    watched.fail()
    watched.now += FIRST_PAUSE_SEC

    probe = watched.breaker.begin(watched.now)
    if outcome == "refused":
        watched.breaker.end(probe, ProviderRefused(), watched.now)
    else:
        watched.breaker.abandon(probe)

    assert watched.breaker.is_open
    assert watched.pause_sec() == 0


def test_a_probe_that_hangs_keeps_others_away_for_a_while_only(watched: Watched) -> None:
    watched.fail()
    watched.now += FIRST_PAUSE_SEC
    hanging = watched.breaker.begin(watched.now)
    watched.now += LONGEST_PAUSE_SEC

    assert watched.pause_sec() == 0
    second = watched.breaker.begin(watched.now)
    assert watched.pause_sec() > 0
    watched.breaker.end(hanging, ProviderError(), watched.now)
    assert watched.pause_sec() == 0.5, "the one that hung tells nothing new"
    watched.breaker.end(second, None, watched.now)
    assert not watched.breaker.is_open


def test_pauses_grow_to_a_bound_and_begin_small_after_a_success(watched: Watched) -> None:
    watched.fail()
    pauses = []
    for _ in range(5):
        pauses.append(watched.pause_sec())
        watched.now += pauses[-1]
        watched.fail(1)

    assert pauses == [5, 10, 20, 25, 25]
    assert LONGEST_PAUSE_SEC == 25
    watched.now += watched.pause_sec()
    watched.call()
    watched.fail()
    assert watched.pause_sec() == FIRST_PAUSE_SEC


def test_failures_of_calls_begun_before_it_opened_do_not_prolong_the_pause(watched: Watched) -> None:
    late = [watched.breaker.begin(watched.now) for _ in range(10)]
    watched.fail()
    for trial in late:
        watched.breaker.end(trial, ProviderError(), watched.now + 3)
    assert watched.pause_sec() == FIRST_PAUSE_SEC


def test_successes_of_calls_that_were_under_way_do_not_disprove_the_failures(watched: Watched) -> None:
    late = [watched.breaker.begin(watched.now) for _ in range(FAILURES_TO_OPEN)]
    watched.now += 1
    for trial in late:
        watched.fail(1)
        if not watched.breaker.is_open:
            watched.breaker.end(trial, None, watched.now)
    assert watched.breaker.is_open


def test_a_success_of_a_call_begun_before_it_opened_does_not_close_it(watched: Watched) -> None:
    late = watched.breaker.begin(watched.now)
    watched.fail()
    watched.breaker.end(late, None, watched.now)
    assert watched.pause_sec() == FIRST_PAUSE_SEC


@pytest.mark.parametrize("fault", [ProviderMisconfigured(), ProviderModelGone()])
def test_what_somebody_has_to_put_right_opens_it_at_once_and_long(
    watched: Watched, fault: ProviderFault
) -> None:
    watched.call(fault)
    assert watched.pause_sec() == LONG_PAUSE_SEC
    hindrance = watched.breaker.hindrance(watched.now)
    assert hindrance is not None
    assert hindrance.fault is fault


@pytest.mark.parametrize(("retry_after", "pause"), [(37, 37), (0, 0.5), (36_000, LONG_PAUSE_SEC)])
def test_a_quota_opens_it_for_as_long_as_the_provider_says(
    watched: Watched, retry_after: float, pause: float
) -> None:
    watched.call(ProviderQuotaExhausted(retry_after_sec=retry_after))
    assert watched.pause_sec() == pause


class TestSeveralModels:
    A, B = ("gemini", "a"), ("gemini", "b")
    OTHER = ("turbotext", None)

    @pytest.fixture
    def breakers(self) -> CircuitBreakers:
        """All three are down, since the moment nought."""
        breakers = CircuitBreakers()
        for target in (self.A, self.B, self.OTHER):
            for _ in range(FAILURES_TO_OPEN):
                breakers.end(target, breakers.begin(target, 0), ProviderError(), 0)
        assert set(breakers.open()) == {self.A, self.B, self.OTHER}
        return breakers

    def test_while_one_is_probed_the_others_of_the_provider_wait(self, breakers: CircuitBreakers) -> None:
        probe = breakers.begin(self.A, 5)
        assert breakers.hindrance(self.B, 5) is not None
        assert breakers.hindrance(self.OTHER, 5) is None
        breakers.end(self.A, probe, ProviderError(), 6)
        assert breakers.hindrance(self.B, 5 + LONGEST_PAUSE_SEC - 1) is not None

    def test_then_it_is_their_turn(self, breakers: CircuitBreakers) -> None:
        probed: list[tuple[tuple[str, str], float]] = []
        now = 5.0
        while len(probed) < 4:
            for target in (self.A, self.B):
                if breakers.hindrance(target, now) is None:
                    probed.append((target, now))
                    breakers.end(target, breakers.begin(target, now), ProviderError(), now + 1)
            now += 1
        assert {target for target, _ in probed} == {self.A, self.B}
        moments = [at for _, at in probed]
        assert all(b - a >= LONGEST_PAUSE_SEC for a, b in itertools.pairwise(moments))

    def test_when_one_is_back_the_others_need_not_wait(self, breakers: CircuitBreakers) -> None:
        breakers.end(self.A, breakers.begin(self.A, 5), None, 6)
        assert breakers.hindrance(self.A, 6) is None
        assert breakers.hindrance(self.B, 6) is None

    @pytest.mark.parametrize("how", ["refused", "abandoned"])
    def test_a_probe_that_tells_nothing_is_soon_followed_by_another(
        self, breakers: CircuitBreakers, how: str
    ) -> None:
        probe = breakers.begin(self.A, 5)
        if how == "refused":
            breakers.end(self.A, probe, ProviderRefused(), 6)
        else:
            breakers.abandon(self.A, probe)
        assert breakers.hindrance(self.A, 6) is None

    def test_what_was_never_called_has_nothing_against_it(self) -> None:
        assert CircuitBreakers().hindrance(self.A, 0) is None


class AnyHistory(RuleBasedStateMachine):
    """Whatever happens in whatever order: one probe, bounded pauses, and a way back."""

    def __init__(self) -> None:
        super().__init__()
        self.breaker, self.now = CircuitBreaker(), 0.0
        self.running: list[Trial] = []
        self.probes: list[float] = []
        self.endings = 0

    @rule(seconds=st.floats(0, 400))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @precondition(lambda self: self.breaker.hindrance(self.now) is None)
    @rule()
    def begin(self) -> None:
        if self.breaker.is_open:
            self.probes.append(self.now)
        self.running.append(self.breaker.begin(self.now))

    @precondition(lambda self: self.running)
    @rule(
        index=st.integers(0, 1000),
        fault=st.sampled_from([None, ProviderError(), ProviderRefused(), ProviderQuotaExhausted()]),
    )
    def end(self, index: int, fault: ProviderFault | None) -> None:
        self.endings += 1
        self.breaker.end(self.running.pop(index % len(self.running)), fault, self.now)

    @precondition(lambda self: self.running)
    @rule()
    def abandon(self) -> None:
        self.endings += 1
        self.breaker.abandon(self.running.pop())

    @invariant()
    def probes_do_not_come_in_herds(self) -> None:
        recent = [at for at in self.probes if at > self.now - LONGEST_PAUSE_SEC]
        assert len(recent) <= 1 + self.endings

    @invariant()
    def it_is_never_shut_for_longer_than_the_longest_pause(self) -> None:
        assert self.breaker.hindrance(self.now + LONG_PAUSE_SEC) is None


TestAnyHistory = AnyHistory.TestCase
