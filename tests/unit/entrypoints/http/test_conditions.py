"""Ranges and conditions, by RFC 9110."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from photochanger.entrypoints.documents.timestamps import rfc3339
from photochanger.entrypoints.http.conditions import (
    ByteRange,
    Validators,
    is_not_modified,
    range_applies,
    requested_range,
)
from photochanger.entrypoints.http.errors import RangeNotSatisfiable
from photochanger.entrypoints.http.timestamps import http_date

MOMENT = datetime(2026, 1, 14, 9, 30, tzinfo=UTC)
VALIDATORS = Validators(etag='"abc"', last_modified=MOMENT)


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("bytes=0-0", (0, 1)),
        ("bytes=0-9", (0, 10)),
        ("bytes= 5-", (5, 100)),
        ("bytes=90-1000", (90, 100)),
        ("bytes=-10", (90, 100)),
        ("bytes=-1000", (0, 100)),
        ("bytes=99-99", (99, 100)),
    ],
)
def test_a_range_is_cut_to_the_file(header: str, expected: tuple[int, int]) -> None:
    assert requested_range(header, 100) == ByteRange(*expected, 100)


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "bytes",
        "bytes=",
        "bytes=-",
        "bytes=9-5",
        "bytes=0-1,5-9",
        "items=0-1",
        "bytes=a-b",
        "bytes=٠-٩",
    ],
)
def test_no_range_several_or_nonsense_mean_the_whole_file(header: str | None) -> None:
    assert requested_range(header, 100) is None


@pytest.mark.parametrize("header", ["bytes=100-", "bytes=100-200", "bytes=-0"])
def test_a_range_without_a_byte_of_the_file_is_refused(header: str) -> None:
    with pytest.raises(RangeNotSatisfiable):
        requested_range(header, 100)


@given(st.text(max_size=40), st.integers(1, 10**12))
def test_no_header_makes_it_fail_otherwise(header: str, size: int) -> None:
    try:
        found = requested_range(f"bytes={header}", size)
    except RangeNotSatisfiable:
        return
    assert found is None or 0 <= found.start < found.stop <= size


def test_a_range_says_where_it_lies() -> None:
    assert ByteRange(5, 10, 100).content_range == "bytes 5-9/100"


@pytest.mark.parametrize("header", ['"abc"', 'W/"abc"', '"x", "abc"', "*", ' "x" , W/"abc" '])
def test_a_known_entity_tag_means_not_modified(header: str) -> None:
    assert is_not_modified(VALIDATORS, if_none_match=header, if_modified_since=None)


@pytest.mark.parametrize("header", ['"x"', "abc", "", '"ab"'])
def test_another_entity_tag_decides_whatever_the_date_says(header: str) -> None:
    assert not is_not_modified(VALIDATORS, if_none_match=header, if_modified_since=http_date(MOMENT))


@pytest.mark.parametrize(
    ("since", "expected"),
    [
        (http_date(MOMENT), True),
        (http_date(MOMENT + timedelta(seconds=1)), True),
        (http_date(MOMENT - timedelta(seconds=1)), False),
        ("yesterday", False),
        ("Wed, 14 Jan 99999 09:30:00 GMT", False),
        (None, False),
    ],
)
def test_a_date_means_not_modified_from_the_last_change_on(since: str | None, expected: bool) -> None:
    assert is_not_modified(VALIDATORS, if_none_match=None, if_modified_since=since) is expected


@pytest.mark.parametrize(
    ("if_range", "expected"),
    [
        (None, True),
        ('"abc"', True),
        ('W/"abc"', False),
        ('"x"', False),
        (http_date(MOMENT), True),
        (http_date(MOMENT + timedelta(seconds=1)), False),
        ("nonsense", False),
    ],
)
def test_a_range_applies_to_the_version_it_was_meant_for(if_range: str | None, expected: bool) -> None:
    assert range_applies(VALIDATORS, if_range) is expected


def test_moments_are_written_as_the_contract_says() -> None:
    moment = datetime(2026, 1, 14, 12, 30, 0, 123_456, tzinfo=UTC)
    assert rfc3339(moment) == "2026-01-14T12:30:00.123Z"
    assert http_date(moment) == "Wed, 14 Jan 2026 12:30:00 GMT"
