"""Moments as they are written on the wire."""

from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime


def rfc3339(moment: datetime) -> str:
    """Return `moment` in UTC with milliseconds, as in `2026-01-14T09:30:00.123Z`."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def rfc3339_or_none(moment: datetime | None) -> str | None:
    """Return the same, and None for None."""
    return None if moment is None else rfc3339(moment)


def http_date(moment: datetime) -> str:
    """Return `moment` as HTTP headers write it, to the second."""
    return format_datetime(moment.astimezone(UTC), usegmt=True)


def parse_http_date(text: str) -> datetime | None:
    """Return the moment that an HTTP header names, or None where it cannot be read."""
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
