"""Conditional and partial requests (RFC 9110, 13 and 14), as pure rules over header values."""

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from photochanger.entrypoints.http.errors import RangeNotSatisfiable
from photochanger.entrypoints.http.timestamps import parse_http_date

_RANGE = re.compile(r"bytes=[ \t]*(?:(\d{1,18})-(\d{0,18})|-(\d{1,18}))[ \t]*", re.ASCII)
_ETAG = re.compile(r'(?:W/)?("[^"]*")')


@dataclass(frozen=True, slots=True, kw_only=True)
class Validators:
    """What identifies a version of a file: a strong entity tag, and a date in whole seconds."""

    etag: str
    last_modified: datetime


@dataclass(frozen=True, slots=True)
class ByteRange:
    """Bytes from `start` up to, not including, `stop`, of `size`."""

    start: int
    stop: int
    size: int

    @property
    def content_range(self) -> str:
        """The value of `Content-Range`."""
        return f"bytes {self.start}-{self.stop - 1}/{self.size}"


def is_not_modified(
    validators: Validators, *, if_none_match: str | None, if_modified_since: str | None
) -> bool:
    """Say whether the caller already has this version. The entity tag decides where both are given."""
    if if_none_match is not None:
        return if_none_match.strip() == "*" or validators.etag in _ETAG.findall(if_none_match)
    since = parse_http_date(if_modified_since) if if_modified_since else None
    return since is not None and validators.last_modified <= since


def range_applies(validators: Validators, if_range: str | None) -> bool:
    """Say whether a range may be answered: always, unless the caller has another version than this."""
    if if_range is None:
        return True
    return if_range == validators.etag or parse_http_date(if_range) == validators.last_modified


def requested_range(header: str | None, size: int) -> ByteRange | None:
    """Return the one range that `Range` asks for.

    None where there is none, or several, or it cannot be understood: the whole file is the answer then.
    Raises `RangeNotSatisfiable` for a range without a byte of the file.
    """
    found = _RANGE.fullmatch(header) if header else None
    if found is None:
        return None
    first, last, suffix = found.groups()
    if first is None:
        start, stop = max(0, size - int(suffix)), size
    else:
        start, stop = int(first), min(size, int(last) + 1 if last else size)
        if last and int(last) < start:
            return None
    if start >= stop:
        raise RangeNotSatisfiable
    return ByteRange(start, stop, size)


NO_RANGE: Final = "bytes */{size}"
"""`Content-Range` of an answer 416."""
