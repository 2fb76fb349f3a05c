"""The audit log: who did what, when and from where; what was added is never changed or removed."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Final, TypeAlias

JsonValue: TypeAlias = bool | int | float | str | list["JsonValue"] | dict[str, "JsonValue"] | None

COMMAND_LINE: Final = "command line"
"""The origin of what was done with the `photochanger` command."""


class AuditAction(StrEnum):
    """What was done."""

    LOGIN_SUCCEEDED = "login_succeeded"
    LOGIN_FAILED = "login_failed"
    LOGIN_BLOCKED = "login_blocked"
    """A login failed, and further ones are refused for a while."""
    LOGGED_OUT = "logged_out"
    SESSIONS_CLOSED = "sessions_closed"
    """All sessions of an account were ended."""
    ACCOUNT_ADDED = "account_added"
    ACCOUNT_CHANGED = "account_changed"
    ACCOUNT_REMOVED = "account_removed"
    SLOT_CHANGED = "slot_changed"
    SLOT_CLEANED = "slot_cleaned"
    """A slot's results were deleted before their time."""
    SETTINGS_CHANGED = "settings_changed"
    INGEST_PASSWORD_ROTATED = "ingest_password_rotated"  # noqa: S105 - the name of an action
    TEMPLATE_ADDED = "template_added"
    TEMPLATE_REMOVED = "template_removed"
    MEDIA_REGISTERED = "media_registered"
    JOB_CANCELLED = "job_cancelled"


@dataclass(frozen=True, slots=True, kw_only=True)
class Actor:
    """Who did something, and from where.

    `name` is an account's, or says what acted by itself (`first start`); None where nobody is known, as for
    a failed login of an account that does not exist. `origin` is the client's address, or `COMMAND_LINE`.
    """

    name: str | None
    origin: str = ""


@dataclass(frozen=True, slots=True)
class Change:
    """What a field held before and holds now. Of a secret it only says whether there is one."""

    old: JsonValue
    new: JsonValue


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntry:
    """Something that was done, to be added to the log. It never holds a secret.

    `subject` names what it was done to: a slot's, job's, template's or media object's id, or an account's
    name. `changes` are by the path of the field, such as `retry.max_attempts`.
    """

    action: AuditAction
    actor: Actor
    subject: str = ""
    changes: Mapping[str, Change] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEvent:
    """An entry of the log. The order of the log is that of the ids, whatever the clock did."""

    event_id: int
    at: datetime
    entry: AuditEntry


def changes_between(old: Mapping[str, JsonValue], new: Mapping[str, JsonValue]) -> dict[str, Change]:
    """Return what differs between two documents, by path; lists are compared as a whole."""
    return dict(sorted(_differences(old, new, "")))


def _differences(
    old: Mapping[str, JsonValue], new: Mapping[str, JsonValue], prefix: str
) -> Iterator[tuple[str, Change]]:
    for name in old.keys() | new.keys():
        before, after = old.get(name), new.get(name)
        if isinstance(before, dict) and isinstance(after, dict):
            yield from _differences(before, after, f"{prefix}{name}.")
        elif before != after or type(before) is not type(after):
            yield f"{prefix}{name}", Change(before, after)
