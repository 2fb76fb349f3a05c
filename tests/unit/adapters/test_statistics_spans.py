"""How a period is cut into what is added up and what is not."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from photochanger.adapters.postgres.statistics import Span, spans_of
from photochanger.domain.statistics import BUCKETS, HOUR, MAX_BUCKETS, Period, bucket_of

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
DAY = timedelta(days=1)
JOBS = timedelta(0)


@given(
    st.datetimes(datetime(2026, 1, 1), datetime(2026, 3, 1), timezones=st.just(UTC)),  # noqa: DTZ001 - hypothesis adds the zone
    st.sampled_from(sorted(BUCKETS.values())),
    st.floats(0.0001, MAX_BUCKETS - 2),  # the minute below, and a start within a bucket, need one each
    st.integers(-100, 6000),
)
def test_spans_cover_a_period_once_and_read_no_sum_that_is_not_whole(
    start: datetime, bucket: timedelta, buckets: float, hours: int
) -> None:
    period = Period(start=start, end=start + buckets * bucket + MINUTE, bucket=bucket)
    until = bucket_of(start, HOUR) + hours * HOUR
    spans = sorted(spans_of(period, until), key=lambda span: span.start)
    assert [span.start for span in spans] == [period.start, *(span.end for span in spans[:-1])]
    assert spans[-1].end == period.end
    for span in spans:
        if span.length:
            assert span.length <= bucket
            assert bucket_of(span.start, span.length) == span.start
            assert bucket_of(span.end, span.length) == span.end <= until


@given(st.sampled_from(sorted(BUCKETS.values())), st.floats(0.5, MAX_BUCKETS - 1))
def test_what_is_long_over_is_read_one_by_one_for_half_an_hour_at_most(
    bucket: timedelta, buckets: float
) -> None:
    period = Period(start=NOON + 7 * MINUTE, end=NOON + 8 * MINUTE + buckets * bucket, bucket=bucket)
    one_by_one = [span for span in spans_of(period, NOON + 300 * DAY) if not span.length]
    if bucket >= HOUR / 4:
        assert sum((span.end - span.start for span in one_by_one), JOBS) <= HOUR / 2
    else:
        assert one_by_one == [Span(JOBS, period.start, period.end)]


@pytest.mark.parametrize("until", [datetime(1970, 1, 1, tzinfo=UTC), NOON])
def test_without_sums_all_is_read_one_by_one(until: datetime) -> None:
    period = Period(start=NOON, end=NOON + DAY, bucket=HOUR)
    assert spans_of(period, until) == [Span(JOBS, NOON, NOON + DAY)]


def test_a_day_is_read_from_days_and_its_ends_from_what_is_shorter() -> None:
    midnight = NOON + DAY / 2
    period = Period(start=NOON + 40 * MINUTE, end=midnight + 3 * DAY + 80 * MINUTE, bucket=DAY)
    assert sorted(spans_of(period, midnight + 3 * DAY + HOUR), key=lambda span: span.start) == [
        Span(JOBS, NOON + 40 * MINUTE, NOON + 45 * MINUTE),
        Span(HOUR / 4, NOON + 45 * MINUTE, NOON + HOUR),
        Span(HOUR, NOON + HOUR, NOON + 6 * HOUR),
        Span(6 * HOUR, NOON + 6 * HOUR, midnight),
        Span(DAY, midnight, midnight + 3 * DAY),
        Span(HOUR, midnight + 3 * DAY, midnight + 3 * DAY + HOUR),
        Span(JOBS, midnight + 3 * DAY + HOUR, midnight + 3 * DAY + 80 * MINUTE),
    ]
