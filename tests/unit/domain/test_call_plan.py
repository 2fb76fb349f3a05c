"""The call plan: what next, after every kind of failure, with and without time."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from photochanger.domain.breaker import Hindrance
from photochanger.domain.call_plan import Attempt, Call, CallPlan, Decision, GiveUp, Pause, Route
from photochanger.domain.errors import (
    DeadlineExceeded,
    ProviderError,
    ProviderFault,
    ProviderMisconfigured,
    ProviderModelGone,
    ProviderNoImage,
    ProviderQuotaExhausted,
    ProviderRefused,
    ProviderRejected,
)
from photochanger.domain.slot import ProviderCall, RetryPolicy

GEMINI = ProviderCall(provider="gemini", operation="edit_image")
BEST = Route(call=GEMINI, model="best", least_useful_sec=10)
NEXT = Route(call=GEMINI, model="next", least_useful_sec=10)
FALLBACK = Route(
    call=ProviderCall(provider="rehearsal", operation="photo_effect"), is_fallback=True, least_useful_sec=1
)


@dataclass
class Story:
    """A job's calls, told attempt by attempt: what the plan wants, and what then happens."""

    routes: Sequence[Route] = (BEST, NEXT, FALLBACK)
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    deadline: float = 48.0
    now: float = 0.0
    attempts: list[Attempt] = field(default_factory=list)
    hindrances: dict[tuple[str, str | None], Hindrance] = field(default_factory=dict)

    def next(self) -> Decision:
        plan = CallPlan(routes=self.routes, retry=self.retry)
        return plan.next(
            self.attempts,
            now=self.now,
            deadline=self.deadline,
            hindrance=lambda route: self.hindrances.get(route.target),
        )

    def fails(self, fault: ProviderFault, *, took: float = 1.0, was_called: bool = True) -> "Story":
        """Let the planned call, after the planned pauses, fail."""
        decision = self.next()
        while isinstance(decision, Pause):
            self.now += decision.seconds
            decision = self.next()
        assert isinstance(decision, Call), decision
        self.now += took
        self.attempts.append(
            Attempt(route=decision.route, fault=fault, ended_at=self.now, was_called=was_called)
        )
        return self

    @property
    def taken(self) -> list[str]:
        return [attempt.route.model or "fallback" for attempt in self.attempts]


def test_the_first_way_comes_first() -> None:
    assert Story().next() == Call(BEST, 46.75)


def test_a_refusal_is_never_repeated_and_leaves_the_provider() -> None:
    story = Story().fails(ProviderRefused())
    assert story.next() == Call(FALLBACK, 47)


@pytest.mark.parametrize("fault", [ProviderRefused(), ProviderRejected(), ProviderMisconfigured()])
def test_without_a_fallback_what_is_final_ends_the_job_at_once(fault: ProviderFault) -> None:
    decision = Story(routes=[BEST, NEXT]).fails(fault).next()
    assert isinstance(decision, GiveUp)
    assert decision.error is fault


def test_no_picture_is_asked_for_again_at_once_then_after_pauses() -> None:
    story = Story(retry=RetryPolicy(max_attempts=3, backoff_ms=500)).fails(ProviderNoImage(), took=1.2)
    assert story.next() == Call(BEST, 45.55)
    story.fails(ProviderNoImage(), took=1.2)
    assert story.next() == Pause(1.0)
    story.fails(ProviderNoImage()).fails(ProviderNoImage())
    assert story.taken == ["best"] * 4
    assert story.next() == Call(NEXT, story.deadline - story.now - 1.25)


def test_an_empty_answer_is_repeated_once() -> None:
    story = Story(retry=RetryPolicy(max_attempts=5)).fails(ProviderNoImage(once=True))
    story.fails(ProviderNoImage(once=True)).fails(ProviderNoImage(once=True))
    assert story.taken == ["best", "best", "next"]


def test_a_failure_is_repeated_once_then_the_next_ways_are_tried() -> None:
    story = Story(retry=RetryPolicy(max_attempts=2))
    for _ in range(4):
        story.fails(ProviderError())
    assert story.taken == ["best", "best", "next", "next"]
    story.fails(ProviderError())
    assert story.taken[4:] == ["fallback"]


def test_where_all_have_failed_the_first_is_tried_again_while_the_policy_lasts() -> None:
    story = Story(routes=[BEST, FALLBACK], retry=RetryPolicy(max_attempts=3, backoff_ms=0))
    for _ in range(8):
        story.fails(ProviderError())
    assert story.taken == ["best", "best", "fallback", "fallback", "best", "best", "fallback", "fallback"]
    assert isinstance(story.next(), GiveUp)


def test_without_repetitions_every_way_is_still_tried_once() -> None:
    story = Story(retry=RetryPolicy(max_attempts=0))
    for fault in (ProviderNoImage(), ProviderError(), ProviderError()):
        story.fails(fault)
    assert story.taken == ["best", "next", "fallback"]
    assert isinstance(story.next(), GiveUp)


def test_pauses_double_and_are_spread() -> None:
    story = Story(routes=[BEST], retry=RetryPolicy(max_attempts=5, backoff_ms=1000))
    pauses = []
    for _ in range(3):
        story.fails(ProviderError(), took=0)
        decision = story.next()
        assert isinstance(decision, Pause)
        pauses.append(decision.seconds)
    assert pauses == [1, 2, 4]
    story.attempts[-1] = replace(story.attempts[-1], jitter=0)
    assert story.next() == Pause(2)


def test_a_gone_model_is_replaced_by_the_next_without_counting() -> None:
    story = Story(retry=RetryPolicy(max_attempts=0)).fails(ProviderModelGone())
    assert story.next() == Call(NEXT, 45.75)
    story.fails(ProviderModelGone())
    assert story.next() == Call(FALLBACK, 46)


def test_a_quota_is_waited_for_where_a_call_fits_behind_it() -> None:
    story = Story().fails(ProviderQuotaExhausted(retry_after_sec=37))
    assert story.next() == Pause(37)
    assert Story(deadline=47.9).fails(ProviderQuotaExhausted(retry_after_sec=37)).next() == Call(
        NEXT, 47.9 - 1 - 1.25
    )


def test_a_quota_that_does_not_fit_means_the_fallback_now() -> None:
    story = Story(routes=[BEST, FALLBACK]).fails(ProviderQuotaExhausted(retry_after_sec=60))
    assert story.next() == Call(FALLBACK, 47)


def test_a_quota_that_also_opened_the_breaker_is_still_waited_for_by_the_job_that_met_it() -> None:
    fault = ProviderQuotaExhausted(retry_after_sec=20)
    story = Story().fails(fault)
    story.hindrances = {BEST.target: Hindrance(fault, 20)}
    assert story.next() == Pause(20)


def test_other_jobs_take_the_next_way_meanwhile() -> None:
    story = Story(hindrances={BEST.target: Hindrance(ProviderQuotaExhausted(retry_after_sec=20), 20)})
    assert story.next() == Call(NEXT, 46.75)


def test_our_own_quota_costs_no_repetition() -> None:
    story = Story(routes=[BEST], retry=RetryPolicy(max_attempts=0))
    story.fails(ProviderQuotaExhausted(retry_after_sec=3), took=0, was_called=False)
    assert story.next() == Pause(3)
    story.now += 3
    assert story.next() == Call(BEST, 45)


def test_a_call_that_may_have_been_charged_is_not_repeated() -> None:
    story = Story().fails(ProviderError(maybe_billed=True))
    assert story.next() == Call(FALLBACK, 47)


def test_unless_the_policy_says_so() -> None:
    story = Story(retry=RetryPolicy(repeat_maybe_billed=True, backoff_ms=0))
    assert story.fails(ProviderError(maybe_billed=True)).next() == Call(BEST, 45.75)


def test_a_way_that_the_breaker_shuts_is_passed_over() -> None:
    down = Hindrance(ProviderError(), 12)
    assert Story(hindrances={BEST.target: down, NEXT.target: down}).next() == Call(FALLBACK, 48)


def test_a_short_hindrance_is_waited_out_where_there_is_no_other_way() -> None:
    story = Story(
        routes=[BEST, NEXT], hindrances={r.target: Hindrance(ProviderError(), 8) for r in (BEST, NEXT)}
    )
    assert story.next() == Pause(8)


def test_a_long_one_is_not() -> None:
    fault = ProviderMisconfigured()
    story = Story(routes=[BEST], hindrances={BEST.target: Hindrance(fault, 300)})
    decision = story.next()
    assert isinstance(decision, GiveUp)
    assert decision.error is fault


def test_without_time_for_anything_it_is_the_deadlines_fault() -> None:
    decision = Story(deadline=0.9).next()
    assert isinstance(decision, GiveUp)
    assert isinstance(decision.error, DeadlineExceeded)


def test_with_little_time_the_quick_fallback_is_taken_straight_away() -> None:
    assert Story(deadline=9).next() == Call(FALLBACK, 9)


def test_a_call_leaves_the_fallback_its_time() -> None:
    slow = replace(FALLBACK, least_useful_sec=6)
    assert Story(routes=[BEST, slow]).next() == Call(BEST, 41.75)
    assert Story(routes=[BEST, slow], deadline=12).next() == Call(BEST, 12), "not at its own cost"
    assert Story(routes=[BEST, NEXT]).next() == Call(BEST, 48), "not for the same provider"


def test_the_reason_is_the_slots_own_calls() -> None:
    own, other = ProviderNoImage(), ProviderError()
    story = Story(routes=[BEST, FALLBACK], retry=RetryPolicy(max_attempts=0)).fails(own).fails(other)
    decision = story.next()
    assert isinstance(decision, GiveUp)
    assert decision.error is own


FAULTS = st.sampled_from(
    [
        ProviderError(),
        ProviderError(maybe_billed=True),
        ProviderNoImage(),
        ProviderNoImage(once=True),
        ProviderRefused(),
        ProviderRejected(),
        ProviderMisconfigured(),
        ProviderModelGone(),
        ProviderQuotaExhausted(retry_after_sec=0.5),
        ProviderQuotaExhausted(retry_after_sec=3600),
    ]
)


@given(
    faults=st.lists(st.tuples(FAULTS, st.floats(0.01, 20)), min_size=40, max_size=40),
    max_attempts=st.integers(0, 5),
    deadline=st.floats(0, 60),
    routes=st.lists(
        st.sampled_from([BEST, NEXT, FALLBACK]), min_size=1, max_size=3, unique_by=lambda route: route.target
    ),
)
def test_every_story_ends_within_its_time_and_its_policy(
    faults: list[tuple[ProviderFault, float]], max_attempts: int, deadline: float, routes: list[Route]
) -> None:
    story = Story(routes=routes, retry=RetryPolicy(max_attempts=max_attempts), deadline=deadline)
    for fault, took in faults:
        decision = story.next()
        if isinstance(decision, GiveUp):
            break
        if isinstance(decision, Pause):
            assert decision.seconds > 0
            story.now += decision.seconds
            continue
        assert decision.route.least_useful_sec <= decision.limit_sec <= story.deadline - story.now + 1e-9
        assert not any(a.route.call == decision.route.call and a.fault.maybe_billed for a in story.attempts)
        assert not any(
            a.route.call == decision.route.call and isinstance(a.fault, ProviderRefused)
            for a in story.attempts
        )
        story.fails(fault, took=min(took, decision.limit_sec))
    else:
        pytest.fail("the story does not end")
    for is_fallback in (False, True):
        own = [a for a in story.attempts if a.route.is_fallback is is_fallback]
        assert len(own) <= len({a.route.target for a in own}) + max_attempts
