"""Retention, images, media, settings and errors."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from photochanger.domain import errors
from photochanger.domain.errors import InvalidImage, ValidationFailed
from photochanger.domain.image import ImageInfo, ImageLimits, ImageRequirements, ImageType, image_type_of
from photochanger.domain.media import MediaId, MediaKind, media_key, parse_media_id, parse_media_key
from photochanger.domain.quota import Quota, QuotaWindow
from photochanger.domain.retention import has_passed, result_expires_at, time_left
from photochanger.domain.settings import LimitSettings, Settings, password_problems, validate_settings
from photochanger.domain.slot import ProviderCall, SlotConfiguration

NOW = datetime(2026, 1, 14, 9, 30, tzinfo=UTC)
A_MICROSECOND = timedelta(microseconds=1)
SLOT = SlotConfiguration(call=ProviderCall(provider="rehearsal", operation="photo_effect"))


def test_a_time_to_live_is_over_at_its_end_and_not_before() -> None:
    assert not has_passed(NOW, now=NOW - A_MICROSECOND)
    assert has_passed(NOW, now=NOW)


@given(st.datetimes(timezones=st.just(UTC), max_value=datetime(2100, 1, 1)), st.integers(24, 168))  # noqa: DTZ001 - hypothesis adds the zone
def test_a_result_lives_exactly_its_retention(finalized_at: datetime, hours: int) -> None:
    assert result_expires_at(finalized_at, timedelta(hours=hours)) - finalized_at == timedelta(hours=hours)


def test_time_left_is_never_negative() -> None:
    assert time_left(NOW, now=NOW - timedelta(seconds=2)) == timedelta(seconds=2)
    assert time_left(NOW, now=NOW + timedelta(seconds=2)) == timedelta(0)


def an_info(width: int = 8000, height: int = 6250, frames: int = 1) -> ImageInfo:
    return ImageInfo(image_type=ImageType.PNG, width=width, height=height, frames=frames)


def test_fifty_megapixels_are_allowed() -> None:
    ImageLimits().check(an_info())


@pytest.mark.parametrize(
    "info",
    [an_info(width=8001), an_info(width=0), an_info(height=0), an_info(frames=2), an_info(20_000, 20_000)],
)
def test_an_image_beyond_the_limits_is_refused(info: ImageInfo) -> None:
    with pytest.raises(InvalidImage):
        ImageLimits().check(info)


def test_requirements_are_met_up_to_their_bounds() -> None:
    needed = ImageRequirements(types=frozenset({ImageType.PNG}), max_side_px=100, max_bytes=1000)

    assert needed.are_met_by(an_info(100, 50), 1000)
    assert not needed.are_met_by(an_info(100, 50), 1001)
    assert not needed.are_met_by(an_info(50, 101), 1000)
    assert not needed.are_met_by(replace(an_info(10, 10), image_type=ImageType.WEBP), 10)
    assert needed.preferred_type is ImageType.PNG
    assert ImageRequirements().preferred_type is ImageType.JPEG


def test_a_provider_that_accepts_nothing_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="at least one"):
        ImageRequirements(types=frozenset())


def test_a_media_key_is_made_of_our_own_id() -> None:
    assert media_key(MediaKind.RESULT, MediaId("ab" * 16)) == "result/ab/" + "ab" * 16


@given(st.text())
def test_no_key_is_made_of_anything_else(text: str) -> None:
    with pytest.raises(ValueError, match="not a media id"):
        media_key(MediaKind.PAYLOAD, MediaId(text + "/"))


@pytest.mark.parametrize("kind", MediaKind)
def test_a_media_key_says_what_it_was_made_of(kind: MediaKind) -> None:
    media_id = MediaId("0123456789abcdef" * 2)
    assert parse_media_key(media_key(kind, media_id)) == (kind, media_id)


@pytest.mark.parametrize(
    "key",
    [
        "",
        "result",
        "result/ab",
        f"result/ac/{'ab' * 16}",
        f"result/ab/{'ab' * 15}",
        f"result/ab/{'ab' * 16}.part",
        f"result/ab/{'ab' * 16}\n",
        f"/result/ab/{'ab' * 16}",
        f"results/ab/{'ab' * 16}",
        f"Result/ab/{'ab' * 16}",
        f"provider/ab/{'ab' * 16}",
        f"installation/00/{'0' * 32}",
        "result/\u0660\u0660/" + "\u0660" * 32,
    ],
)
def test_what_is_not_a_media_key_says_nothing(key: str) -> None:
    assert parse_media_key(key) is None


@pytest.mark.parametrize("text", ["", "A" * 32, "a" * 31, "a" * 33, "a" * 32 + "\n", "../" + "a" * 29])
def test_what_is_not_a_media_id_is_refused(text: str) -> None:
    assert parse_media_id(text) is None
    assert parse_media_id("0123456789abcdef" * 2) == "0123456789abcdef" * 2


@pytest.mark.parametrize(
    ("now", "minute", "day"),
    [
        ("2026-01-14T12:34:56.789Z", "2026-01-14T12:34Z", "2026-01-14T00:00Z"),
        ("2026-01-14T00:00:00Z", "2026-01-14T00:00Z", "2026-01-14T00:00Z"),
        ("2026-01-14T02:59:59.999999+03:00", "2026-01-13T23:59Z", "2026-01-13T00:00Z"),
    ],
)
def test_calls_are_counted_by_minutes_and_days_of_utc(now: str, minute: str, day: str) -> None:
    moment = datetime.fromisoformat(now)

    for window, begins in ((QuotaWindow.MINUTE, minute), (QuotaWindow.DAY, day)):
        assert window.start(moment) == datetime.fromisoformat(begins)
        assert window.end(moment) == window.start(moment) + window.length
        assert window.start(window.end(moment)) == window.end(moment)


def test_a_provider_without_limits_has_a_quota_without_bounds() -> None:
    limits = LimitSettings(quota_per_minute={"gemini": 60}, quota_per_day={"gemini": 900, "turbotext": 5})

    assert limits.quota("gemini") == Quota(per_minute=60, per_day=900)
    assert limits.quota("turbotext") == Quota(per_minute=None, per_day=5)
    assert limits.quota("rehearsal") == Quota()


def test_the_default_settings_are_valid() -> None:
    validate_settings(Settings(), providers=())


def test_all_problems_of_the_settings_are_reported_at_once() -> None:
    settings = Settings()
    bad = replace(
        settings,
        ingest=replace(settings.ingest, sync_response_timeout_sec=61, max_upload_mb=2049, rate_limit_rps=0),
        results=replace(settings.results, retention_hours=23, gallery_size=0),
        limits=replace(settings.limits, per_provider={"gemini": 0}, max_waiting=0),
        cleanup=replace(settings.cleanup, interval_sec=0, history_days=7),
    )

    with pytest.raises(ValidationFailed) as failed:
        validate_settings(bad, providers={"gemini"}, password="short")

    assert [problem.field for problem in failed.value.problems] == [
        "ingest.sync_response_timeout_sec",
        "ingest.rate_limit_rps",
        "ingest.max_upload_mb",
        "results.retention_hours",
        "results.gallery_size",
        "cleanup.interval_sec",
        "cleanup.history_days",
        "limits.max_waiting",
        "limits.per_provider.gemini",
        "ingest.dslr_password",
    ]


def test_only_installed_providers_have_limits() -> None:
    limits = LimitSettings(per_provider={"gemini": 3}, quota_per_day={"nobody": 5})

    with pytest.raises(ValidationFailed) as failed:
        validate_settings(Settings(limits=limits), providers={"gemini"})

    assert [problem.field for problem in failed.value.problems] == ["limits.quota_per_day.nobody"]


def test_a_slot_may_have_a_time_out_of_its_own() -> None:
    assert Settings().sync_response_timeout_sec(SLOT) == 48
    assert Settings().sync_response_timeout_sec(replace(SLOT, sync_response_timeout_sec=20)) == 20


def test_the_smaller_upload_limit_counts() -> None:
    settings = Settings()
    small = replace(settings, ingest=replace(settings.ingest, max_upload_mb=20))

    assert settings.upload_limit_bytes(SLOT) == 50_000_000
    assert small.upload_limit_bytes(SLOT) == 20_000_000


@pytest.mark.parametrize("password", ["x" * 7, "x" * 129])
def test_a_password_has_a_sensible_length(password: str) -> None:
    [problem] = password_problems(password, "ingest_password")
    assert (problem.field, problem.code) == ("ingest_password", "out_of_range")
    assert not [*password_problems(password[:128].ljust(8, "x"), "ingest_password")]


def test_codes_are_unique_and_every_leaf_has_one() -> None:
    ours = [cls for cls in errors.error_classes() if cls.__module__ == errors.__name__]
    leaves = [cls for cls in ours if not any(issubclass(other, cls) for other in ours if other is not cls)]
    own_codes = [cls.code for cls in ours if "code" in cls.__dict__]

    assert all(cls.code for cls in leaves)
    assert len(set(own_codes)) == len(own_codes)


def test_an_error_is_found_by_its_code() -> None:
    assert errors.error_with_code("provider_refused") is errors.ProviderRefused
    assert errors.error_with_code("timeout") is errors.DeadlineExceeded
    assert errors.error_with_code("never heard of") is errors.InternalError


def test_the_tree_in_the_docstring_names_every_class() -> None:
    documented = errors.__doc__ or ""

    ours = [cls.__name__ for cls in errors.error_classes() if cls.__module__ == errors.__name__]
    assert [name for name in ours if name not in documented] == []


@pytest.mark.parametrize(
    ("beginning", "image_type"),
    [
        (b"\xff\xd8\xff\xe0\0\x10JFIF\0\1", ImageType.JPEG),
        (b"\x89PNG\r\n\x1a\n\0\0\0\r", ImageType.PNG),
        (b"RIFF\x24\0\0\0WEBP", ImageType.WEBP),
        (b"RIFF\x24\0\0\0WAVE", None),
        (b"\xff\xd8", None),
        (b"<!DOCTYPE ht", None),
        (b"", None),
    ],
)
def test_the_first_bytes_claim_a_type(beginning: bytes, image_type: ImageType | None) -> None:
    assert image_type_of(beginning) is image_type
