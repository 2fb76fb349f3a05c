"""Times on the command line: as the clock tells them, or as how long ago."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import rich_click as click

_AGE = re.compile(r"(\d{1,9})([smhdw])", re.ASCII)
_UNIT = {
    "s": timedelta(seconds=1),
    "m": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
    "w": timedelta(weeks=1),
}


class Moment(click.ParamType[datetime]):
    """A time as RFC 3339 writes it, or an age: `90s`, `30m`, `2h`, `3d`, `1w` ago."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """Return the moment."""
        if isinstance(value, datetime):
            return value
        try:
            if age := _AGE.fullmatch(value):
                return datetime.now(UTC) - int(age[1]) * _UNIT[age[2]]
            moment = datetime.fromisoformat(value)
        except (ValueError, OverflowError):
            self.fail(
                "is neither a time such as 2026-01-14T09:30:00Z nor an age such as 2h or 3d", param, ctx
            )
        if moment.tzinfo is None:
            self.fail("must say its zone: 2026-01-14T09:30:00Z, or +03:00 instead of Z", param, ctx)
        return moment


def period_options(command: Any) -> Any:
    """Add `--from` and `--to`."""
    command = click.option("--to", "until", type=Moment(), help="Before this time; RFC 3339, or an age.")(
        command
    )
    return click.option(
        "--from", "since", type=Moment(), help="At this time or later; RFC 3339, or an age such as 2h or 3d."
    )(command)
