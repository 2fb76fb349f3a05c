"""Masking: what a log line must not contain is taken out here, whoever wrote it there.

Fields are judged by their names, texts by their patterns, and objects are not looked into at all. Where in
doubt, too much is masked. What cannot be recognised is a bare secret in the middle of a sentence: messages of
errors must not hold any (see `photochanger.domain.errors`).
"""

import math
import re
from collections.abc import Mapping, Set
from datetime import date, timedelta
from functools import lru_cache
from pathlib import PurePath
from typing import Any, Final
from uuid import UUID

from structlog.typing import EventDict, WrappedLogger

MASK: Final = "***"

PERSONAL_FIELDS: Final = frozenset({"id", "name", "user_id", "userid", "profile", "status"})
"""The booth's form fields that say something about a guest."""

_SECRET_PARTS: Final = (
    "password",
    "passwd",
    "passphrase",
    "secret",
    "token",
    "authorization",
    "cookie",
    "credential",
    "api_key",
    "apikey",
    "dsn",
    "conninfo",
    "database_url",
)
_SECRET_NAMES: Final = frozenset({"key", "keys", "pwd", "auth"})
_SECRET_ENDINGS: Final = ("_key", "_keys")

_NEVER_RENDERED: Final = frozenset({"_record", "_from_structlog"})
"""What structlog carries along for later processors and takes out itself."""

_MAX_TEXT: Final = 16_384
_MAX_ITEMS: Final = 64
_MAX_DEPTH: Final = 6

_SHORT: Final = 80
_HARMLESS = re.compile(r"(?!.*(?:bearer|basic|eyJ|AIza|row contains))[\w ./-]*", re.IGNORECASE)
"""What none of the patterns below can match, told at a fraction of their cost."""

_MAX_SEEN: Final = 1024
_seen_harmless: Final[set[str]] = set()
"""Short texts in which no pattern has found anything; looked up before any pattern is tried."""

_VALUE = r"""(?:"(?:\\.|[^"\\])*"?|'(?:\\.|[^'\\])*'?|(?:(?:bearer|basic|digest)\s+)?[^\s&]+)"""
_SEPARATOR = r"""(?:["']?\s{0,8}[=:]\s{0,8}|["']\s{0,8},\s{0,8})b?"""
_WORDS = "|".join(part.replace("_", "[_-]?") for part in (*_SECRET_PARTS, "pwd"))

_PATTERNS: Final = tuple(
    (re.compile(pattern, re.IGNORECASE), replacement)
    for pattern, replacement in (
        (r"""((?:authorization|cookie)["']?\s{0,8}[=:,]).*""", rf"\1 {MASK}"),
        (r"(://[^\s:/@]{0,256}:)\S{1,1024}@", rf"\1{MASK}@"),
        (r"://[^\s/?#@:]{1,1024}@", f"://{MASK}@"),
        (rf"((?:{_WORDS})[\w-]{{0,64}}{_SEPARATOR}){_VALUE}", rf"\1{MASK}"),
        (rf"""((?<![a-z])keys?(?:["']\s{{0,8}}[:,]|["']?\s?=)\s{{0,8}}b?){_VALUE}""", rf"\1{MASK}"),
        (rf"([?&](?:{'|'.join(sorted(PERSONAL_FIELDS))})=)[^\s&\"']*", rf"\1{MASK}"),
        (r"\b(bearer|basic)\s+[\w.~+/=-]{8,}", rf"\1 {MASK}"),
        (r"\beyJ[\w-]{8,}\.[\w-]+\.[\w-]*", MASK),
        (r"\bAIza[\w-]{30,}", MASK),
        (r"\$argon2[a-z]{1,2}\$\S+", MASK),
        (r"(\bKey \([^)]{1,256}\)=)\(.*\)", rf"\1({MASK})"),
        (r"(Failing row contains ).*", rf"\1{MASK}"),
    )
)


@lru_cache(maxsize=1024)
def is_sensitive(name: str) -> bool:
    """Say whether the value of a field called `name` must not be logged, whatever it is."""
    plain = name.lower().replace("-", "_")
    return (
        plain in PERSONAL_FIELDS
        or plain in _SECRET_NAMES
        or plain.endswith(_SECRET_ENDINGS)
        or any(part in plain for part in _SECRET_PARTS)
    )


def masked(text: str) -> str:
    """Return `text` with everything that looks like a secret masked, and at most 16 384 characters of it."""
    if len(text) <= _SHORT:
        return text if text in _seen_harmless or _HARMLESS.fullmatch(text) else _masked_short(text)
    text = _without_secrets(text)
    if len(text) <= _MAX_TEXT:
        return text
    half = _MAX_TEXT // 2
    return f"{text[:half]}… {len(text) - _MAX_TEXT} characters left out …{text[-half:]}"


def _masked_short(text: str) -> str:
    """Remember what needs no masking, as names of routes and events; what does need it is not kept."""
    found = _without_secrets(text)
    if found == text:
        if len(_seen_harmless) >= _MAX_SEEN:
            _seen_harmless.clear()
        _seen_harmless.add(text)
    return found


def _without_secrets(text: str) -> str:
    for pattern, replacement in _PATTERNS:
        text = pattern.sub(replacement, text)
    return text


def loggable(value: object, depth: int = 0) -> Any:  # noqa: PLR0911 -- one line per kind of value
    """Return what may be logged of `value`, made of JSON types only.

    Bytes become their length, and an object of an unknown type its type's name: its `repr` may hold anything.
    """
    match value:
        case None | bool() | int():
            return value
        case float():
            return value if math.isfinite(value) else str(value)
        case str():
            return masked(str(value))
        case bytes() | bytearray() | memoryview():
            return f"<{memoryview(value).nbytes} bytes>"
        case date() | timedelta() | UUID() | PurePath():
            return masked(str(value))
        case BaseException():
            return masked(f"{type(value).__name__}: {value}")
        case Mapping() | list() | tuple() | Set() if depth < _MAX_DEPTH:
            return _loggable_items(value, depth + 1)
    return f"<{type(value).__name__}>"


def _loggable_items(
    value: Mapping[Any, object] | list[object] | tuple[object, ...] | Set[object], depth: int
) -> Any:
    if not isinstance(value, Mapping):
        return [loggable(item, depth) for item, _ in zip(value, range(_MAX_ITEMS), strict=False)]
    names = [name for name, _ in zip(value, range(_MAX_ITEMS), strict=False)]
    return {
        masked(str(name)): MASK if is_sensitive(str(name)) else loggable(value[name], depth) for name in names
    }


def loggable_argument(value: object) -> object:
    """Return an argument of a `%` format without bytes and without sensitive items.

    Everything else stays as it is, so that `%d` still finds its number; the text made of it is masked later.
    """
    if isinstance(value, bytes | bytearray | memoryview | Mapping | list | tuple | Set):
        return loggable(value)
    return value


def redact(_logger: WrappedLogger, _method: str, event_dict: EventDict) -> EventDict:
    """Mask every field of a log line: the structlog processor to run before anything is rendered."""
    return {
        name: value if name in _NEVER_RENDERED else MASK if is_sensitive(name) else loggable(value)
        for name, value in event_dict.items()
    }
