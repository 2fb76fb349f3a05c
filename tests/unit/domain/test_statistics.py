"""Buckets, histograms, and what is told of counts."""

import math
from collections import Counter
from datetime import UTC, datetime, timedelta, timezone
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from photochanger.domain.errors import ValidationFailed
from photochanger.domain.job import FINAL_STATES, Job, JobId, JobState
from photochanger.domain.media import MediaId
from photochanger.domain.slot import SLOT_IDS, ProviderCall, SlotConfiguration
from photochanger.domain.statistics import (
    BUCKETS,
    CLASS_RATIO,
    EPOCH,
    HOUR,
    MAX_BUCKETS,
    Period,
    Tally,
    added,
    bucket_of,
    class_of,
    counted,
    middle_of,
    shortest_bucket,
)

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
DAY = timedelta(days=1)
A_MICROSECOND = timedelta(microseconds=1)
A_MILLISECOND = timedelta(milliseconds=1)
LENGTHS = sorted(BUCKETS.values())

moments = st.datetimes(EPOCH.replace(tzinfo=None), datetime(2200, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - hypothesis adds the zone
lengths = st.sampled_from(LENGTHS)
durations = st.timedeltas(A_MILLISECOND, timedelta(hours=1))
tallies = st.builds(
    Tally,
    by_state=st.dictionaries(st.sampled_from(sorted(FINAL_STATES)), st.integers(1, 1000)),
    durations=st.dictionaries(st.integers(0, 300), st.integers(1, 1000)),
)


def a_job(state: JobState, took: timedelta = HOUR) -> Job:
    call = ProviderCall(provider="rehearsal", operation="photo_effect")
    return Job(
        job_id=JobId("a" * 32),
        slot_id=SLOT_IDS[0],
        slot_version=1,
        configuration=SlotConfiguration(call=call),
        payload_id=MediaId("b" * 32),
        content_hash="c",
        created_at=NOON,
        deadline=NOON + HOUR,
        retention=DAY,
        state=state,
        finalized_at=NOON + took,
    )


class TestBuckets:
    """The lengths, and the beginnings of the buckets."""

    def test_each_length_divides_the_next_and_a_day(self) -> None:
        assert all(longer % shorter == timedelta(0) for shorter, longer in pairwise([*LENGTHS, DAY]))
        assert list(BUCKETS.values()) == LENGTHS

    @given(moments, lengths)
    def test_a_moment_is_in_the_bucket_that_begins_last(self, moment: datetime, length: timedelta) -> None:
        start = bucket_of(moment, length)
        assert start <= moment < start + length
        assert (start - start.replace(hour=0, minute=0, second=0, microsecond=0)) % length == timedelta(0)

    def test_buckets_begin_at_round_times_of_utc_wherever_the_caller_is(self) -> None:
        kathmandu = timezone(timedelta(hours=5, minutes=45))
        at = datetime(2026, 11, 21, 2, 30, tzinfo=kathmandu)
        assert bucket_of(at, HOUR) == datetime(2026, 11, 20, 20, tzinfo=UTC)
        assert bucket_of(at, DAY) == datetime(2026, 11, 20, tzinfo=UTC)
        assert bucket_of(at, DAY).tzinfo is UTC


class TestPeriod:
    """What a period may be, and its buckets."""

    @given(moments, lengths, st.integers(1, MAX_BUCKETS - 1), st.floats(0.001, 1))
    def test_its_buckets_cover_it_without_a_gap(
        self, start: datetime, bucket: timedelta, buckets: int, part: float
    ) -> None:
        period = Period(start=start, end=start + (buckets - 1 + part) * bucket, bucket=bucket)
        begins = period.moments()
        assert begins[0] <= period.start < begins[0] + bucket
        assert begins[-1] < period.end <= begins[-1] + bucket
        assert all(after - before == bucket for before, after in pairwise(begins))

    def test_a_bucket_that_begins_at_the_end_is_not_in_it(self) -> None:
        period = Period(start=NOON, end=NOON + 2 * HOUR, bucket=HOUR)
        assert period.moments() == [NOON, NOON + HOUR]

    def test_one_instant_has_a_bucket(self) -> None:
        period = Period(start=NOON + MINUTE, end=NOON + MINUTE + A_MICROSECOND, bucket=HOUR)
        assert period.moments() == [NOON]

    @pytest.mark.parametrize("bucket", LENGTHS)
    def test_so_many_buckets_and_no_more(self, bucket: timedelta) -> None:
        start = bucket_of(NOON, DAY)
        fits = Period(start=start, end=start + MAX_BUCKETS * bucket, bucket=bucket)
        assert len(fits.moments()) == MAX_BUCKETS
        with pytest.raises(ValidationFailed) as caught:
            Period(start=start, end=fits.end + A_MICROSECOND, bucket=bucket)
        assert [(problem.field, problem.code) for problem in caught.value.problems] == [
            ("bucket", "too_small")
        ]

    @pytest.mark.parametrize(
        ("start", "end", "bucket", "problems"),
        [
            (NOON, NOON, HOUR, ["to"]),
            (NOON, NOON - HOUR, HOUR, ["to"]),
            (NOON, NOON + DAY, 2 * HOUR, ["bucket"]),
            (NOON, NOON + DAY, timedelta(0), ["bucket"]),
            (NOON, NOON, -HOUR, ["to", "bucket"]),
            (datetime(1969, 12, 31, 23, tzinfo=UTC), EPOCH, HOUR, ["from"]),
            (datetime.min.replace(tzinfo=timezone(DAY / 2)), NOON, HOUR, ["from"]),
            (NOON, datetime.max.replace(tzinfo=timezone(-DAY / 2)), DAY, ["to"]),
            (EPOCH, datetime(9999, 1, 1, tzinfo=UTC), MINUTE, ["bucket"]),
        ],
    )
    def test_what_cannot_be_is_refused_with_every_problem(
        self, start: datetime, end: datetime, bucket: timedelta, problems: list[str]
    ) -> None:
        with pytest.raises(ValidationFailed) as caught:
            Period(start=start, end=end, bucket=bucket)
        assert [problem.field for problem in caught.value.problems] == problems

    @pytest.mark.parametrize(
        ("length", "bucket"),
        [
            (MINUTE, "1m"),
            (HOUR, "5m"),
            (4 * HOUR, "5m"),
            (12 * HOUR, "15m"),
            (DAY, "1h"),
            (2 * DAY, "1h"),
            (7 * DAY, "6h"),
            (30 * DAY, "1d"),
            (300 * DAY, "1d"),
        ],
    )
    def test_the_shortest_bucket_makes_some_fifty_points(self, length: timedelta, bucket: str) -> None:
        assert shortest_bucket(NOON, NOON + length) == BUCKETS[bucket]

    @given(moments, st.timedeltas(A_MICROSECOND, 50 * DAY))
    def test_the_shortest_bucket_is_always_allowed(self, start: datetime, length: timedelta) -> None:
        period = Period(start=start, end=start + length, bucket=shortest_bucket(start, start + length))
        assert len(period.moments()) <= 51


class TestDurations:
    """The histogram, and percentiles out of it."""

    @given(durations)
    def test_a_class_begins_at_its_power_of_the_ratio(self, duration: timedelta) -> None:
        number = class_of(duration)
        milliseconds = duration / A_MILLISECOND
        assert CLASS_RATIO**number <= milliseconds * (1 + 1e-12)
        assert milliseconds < CLASS_RATIO ** (number + 1) * (1 + 1e-12)

    def test_whatever_is_shorter_than_a_millisecond_is_in_the_first_class(self) -> None:
        assert [class_of(duration) for duration in (timedelta(0), A_MICROSECOND, A_MILLISECOND)] == [0, 0, 0]
        assert class_of(timedelta(microseconds=1050)) == 1

    @given(durations)
    def test_the_middle_of_a_class_is_within_2_5_percent_of_all_that_is_in_it(
        self, duration: timedelta
    ) -> None:
        assert middle_of(class_of(duration)) == pytest.approx(duration.total_seconds(), rel=0.025)

    @given(st.lists(durations, min_size=1, max_size=300), st.sampled_from([0.01, 0.5, 0.95, 0.99, 1.0]))
    def test_a_percentile_is_within_2_5_percent_of_the_nearest_rank(
        self, took: list[timedelta], share: float
    ) -> None:
        tally = Tally(durations=Counter(map(class_of, took)))
        nearest = sorted(took)[math.ceil(share * len(took)) - 1]
        assert tally.percentile(share) == pytest.approx(nearest.total_seconds(), rel=0.025)

    def test_without_a_completed_job_there_is_no_percentile(self) -> None:
        assert Tally(by_state={JobState.FAILED_TIMEOUT: 3}).percentile(0.5) is None

    @pytest.mark.parametrize("state", sorted(FINAL_STATES))
    def test_only_completed_jobs_have_a_duration_that_counts(self, state: JobState) -> None:
        tally = counted([a_job(state, HOUR), a_job(state, MINUTE), a_job(state, HOUR)])
        assert tally.by_state == {state: 3}
        expected = {class_of(HOUR): 2, class_of(MINUTE): 1} if state is JobState.COMPLETED else {}
        assert tally.durations == expected


class TestTally:
    """Sums and shares."""

    def test_shares_leave_out_what_was_cancelled(self) -> None:
        tally = Tally(
            by_state={
                JobState.COMPLETED: 12,
                JobState.FAILED_TIMEOUT: 1,
                JobState.FAILED_PROVIDER: 2,
                JobState.FAILED_INTERNAL: 5,
                JobState.CANCELLED: 80,
            }
        )
        assert tally.total == 100
        assert (tally.success_share, tally.timeout_share, tally.error_share) == (0.6, 0.05, 0.35)

    @pytest.mark.parametrize("by_state", [{}, {JobState.CANCELLED: 7}])
    def test_without_a_job_to_judge_there_is_no_share(self, by_state: dict[JobState, int]) -> None:
        tally = Tally(by_state=by_state)
        assert (tally.success_share, tally.timeout_share, tally.error_share) == (None, None, None)

    @given(tallies)
    def test_shares_make_a_whole(self, tally: Tally) -> None:
        shares = [tally.success_share, tally.timeout_share, tally.error_share]
        given_shares = [share for share in shares if share is not None]
        assert not given_shares or sum(given_shares) == pytest.approx(1)

    @given(st.lists(st.tuples(st.sampled_from(sorted(FINAL_STATES)), durations), max_size=50), st.data())
    def test_a_sum_of_parts_is_the_count_of_the_whole(
        self, ended: list[tuple[JobState, timedelta]], data: st.DataObject
    ) -> None:
        jobs = [a_job(state, took) for state, took in ended]
        cut = data.draw(st.integers(0, len(jobs)))
        assert added([counted(jobs[:cut]), counted(jobs[cut:])]) == counted(jobs)

    def test_nothing_adds_up_to_nothing(self) -> None:
        assert added([]) == Tally() == counted([])
        assert Tally().total == 0

    @given(st.lists(tallies, max_size=5))
    def test_adding_changes_no_part(self, parts: list[Tally]) -> None:
        before = [(dict(part.by_state), dict(part.durations)) for part in parts]
        added(parts)
        assert [(part.by_state, part.durations) for part in parts] == before
