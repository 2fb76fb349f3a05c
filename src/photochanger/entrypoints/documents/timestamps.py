"""Moments as they are written in JSON."""

from datetime import UTC, datetime
from typing import Annotated

from msgspec import Meta

Timestamp = Annotated[
    str,
    Meta(
        description="RFC 3339, UTC, milliseconds",
        examples=["2026-01-14T09:30:00.123Z"],
        extra_json_schema={"format": "date-time"},
    ),
]

Moment = Annotated[
    datetime, Meta(tz=True, description="RFC 3339, with its zone", examples=["2026-01-14T09:30:00Z"])
]


def rfc3339(moment: datetime) -> str:
    """Return `moment` in UTC with milliseconds, as in `2026-01-14T09:30:00.123Z`."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def rfc3339_or_none(moment: datetime | None) -> str | None:
    """Return the same, and None for None."""
    return None if moment is None else rfc3339(moment)
