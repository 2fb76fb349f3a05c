"""What Gemini's error answers mean: ai.google.dev/gemini-api/docs/troubleshooting and google.rpc.Code.

The texts of the faults hold statuses that are known by name, and nothing else of what the provider wrote.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from photochanger.domain.errors import (
    ProviderError,
    ProviderFault,
    ProviderMisconfigured,
    ProviderModelGone,
    ProviderQuotaExhausted,
    ProviderRejected,
)

MINUTE_SEC: Final = 60.0
HOUR_SEC: Final = 3600.0
DAY_SEC: Final = 24 * HOUR_SEC
_READ_AT_MOST: Final = 256 * 1024

_STATUSES: Final = frozenset(
    {
        "ABORTED",
        "ALREADY_EXISTS",
        "CANCELLED",
        "DATA_LOSS",
        "DEADLINE_EXCEEDED",
        "FAILED_PRECONDITION",
        "INTERNAL",
        "INVALID_ARGUMENT",
        "NOT_FOUND",
        "OUT_OF_RANGE",
        "PERMISSION_DENIED",
        "RESOURCE_EXHAUSTED",
        "UNAUTHENTICATED",
        "UNAVAILABLE",
        "UNIMPLEMENTED",
        "UNKNOWN",
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Complaint:
    """What an error answer says. `status`, `text` (in lower case) and `details` may be empty."""

    code: int
    status: str = ""
    text: str = ""
    details: tuple[Mapping[str, Any], ...] = ()
    retry_after: str = ""

    @property
    def name(self) -> str:
        """The code, and the status where it is a known one: fit to be shown."""
        return f"{self.code} {self.status}" if self.status in _STATUSES else str(self.code)

    def values(self, key: str) -> Iterator[Any]:
        """Yield what the details hold under `key`."""
        return (detail[key] for detail in self.details if key in detail)


def complaint(body: bytes | bytearray, *, code: int = 0, retry_after: str = "") -> Complaint:
    """Return what the error envelope in `body` says, by itself or in a list.

    `code` is the answer's own status; without it the envelope's counts, and it is 0 where there is none.
    """
    error = _envelope(body)
    inner, details = error.get("code"), error.get("details")
    return Complaint(
        code=code or (inner if isinstance(inner, int) else 0),
        status=_text(error.get("status")),
        text=_text(error.get("message")).lower(),
        details=tuple(item for item in details if isinstance(item, dict))
        if isinstance(details, list)
        else (),
        retry_after=retry_after,
    )


def _envelope(body: bytes | bytearray) -> Mapping[str, Any]:
    if len(body) > _READ_AT_MOST:
        return {}
    try:
        document = msgspec.json.decode(body)
    except (msgspec.DecodeError, ValueError, RecursionError):
        return {}
    if isinstance(document, list) and document:
        document = document[0]
    error = document.get("error") if isinstance(document, dict) else None
    return error if isinstance(error, dict) else {}


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def fault_of(said: Complaint) -> ProviderFault:
    """Return the fault that an error answer means. None of them was billed: no picture was made."""
    if trouble := _set_up_wrong(said):
        return ProviderMisconfigured(f"{trouble} ({said.name})")
    if said.code in {402, 429}:
        return _exhausted(said)
    if said.code == 404:
        return ProviderModelGone(f"Gemini does not have this model ({said.name})")
    if said.code >= 500 or said.code in {408, 499}:
        return ProviderError(f"Gemini failed ({said.name})", retry_after_sec=_retry_after(said))
    return ProviderRejected(f"Gemini does not take this request ({said.name})")


def _set_up_wrong(said: Complaint) -> str | None:
    if said.code < 400:
        return "There is no Gemini at GEMINI_BASE_URL"
    if said.code == 400 and said.status == "FAILED_PRECONDITION":
        return "Gemini does not serve this account: no billing, or not from the server's country"
    if said.code in {401, 403} or (said.code == 400 and _is_about_the_key(said)):
        return "Gemini does not accept GEMINI_API_KEY"
    return None


def _is_about_the_key(said: Complaint) -> bool:
    return "API_KEY_INVALID" in said.values("reason") or bool(
        re.search(r"api key (not valid|expired)", said.text)
    )


def _exhausted(said: Complaint) -> ProviderQuotaExhausted:
    given = _retry_after(said)
    if kind := "the credits are used up" if said.code == 402 else _lasting_quota(said):
        text = f"Gemini takes no more calls: {kind} ({said.name})"
        return ProviderQuotaExhausted(text, retry_after_sec=max(HOUR_SEC, given or 0))
    text = f"Gemini takes no more calls for now ({said.name})"
    return ProviderQuotaExhausted(text, retry_after_sec=MINUTE_SEC if given is None else given)


def _lasting_quota(said: Complaint) -> str | None:
    """Return which quota is used up, where it is one that does not fill up again within minutes."""
    violations = [
        violation
        for found in said.values("violations")
        if isinstance(found, list)
        for violation in found
        if isinstance(violation, dict)
    ]
    if re.search(r"limit: 0\b(?!\.)", said.text) or any(v.get("quotaValue") == "0" for v in violations):
        return "this account has no quota for images"
    if any("perday" in _text(violation.get("quotaId")).lower() for violation in violations):
        return "the requests of this day are used up"
    if re.search(r"per day|daily limit", said.text):
        return "the requests of this day are used up"
    # There are spending limits of ten minutes too, which fill up again: they are no matter of hours.
    if re.search(r"spend|credits|monthly", said.text) and "minute" not in said.text:
        return "the account's spending cap is reached"
    return None


def _retry_after(said: Complaint) -> float | None:
    """Return the longest wait that the answer asks for, in seconds, up to a day."""
    waits = [_duration(_text(delay)) for delay in said.values("retryDelay")]
    waits.append(_duration(said.retry_after.strip() + "s"))
    if found := re.search(r"retry in (\S{1,40})", said.text):
        waits.append(_duration(found[1].rstrip(".,")))
    known = [wait for wait in waits if wait is not None]
    return min(DAY_SEC, max(known)) if known else None


_DURATION: Final = re.compile(
    r"(?:([0-9]{1,6})h)?(?:([0-9]{1,6})m)?(?:([0-9]{1,9}(?:\.[0-9]{1,9})?)(m?s))?", re.ASCII
)


def _duration(text: str) -> float | None:
    """Return `10h17m5.7s`, `37s` or `482.5ms` in seconds; None for what is not written like that."""
    found = _DURATION.fullmatch(text)
    if not found or not text:
        return None
    hours, minutes, seconds, unit = found.groups()
    rest = float(seconds or 0) / (1000 if unit == "ms" else 1)
    return int(hours or 0) * HOUR_SEC + int(minutes or 0) * 60 + rest
