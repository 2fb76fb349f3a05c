"""The audit log: which events are asked for, and how they are shown."""

from collections.abc import Sequence
from typing import Annotated, Any, Final

from msgspec import Meta, Struct, to_builtins

from photochanger.application.ports import AuditFilter
from photochanger.domain.audit import AuditAction, AuditEvent
from photochanger.domain.errors import Problem, ValidationFailed
from photochanger.entrypoints.documents.bounds import NO_NUL
from photochanger.entrypoints.documents.timestamps import Moment, Timestamp, rfc3339

_Name = Annotated[str, Meta(max_length=200, extra_json_schema={"pattern": NO_NUL})]
_CURSOR: Final = "`next_cursor` of the page before; other texts are refused (422)"


class AuditQuery(Struct, kw_only=True, forbid_unknown_fields=True, rename={"since": "from", "until": "to"}):
    """Which events, and how many at once."""

    action: Annotated[AuditAction | None, Meta(description="What was done")] = None
    actor: Annotated[_Name | None, Meta(description="Who did it: a user name")] = None
    subject: Annotated[_Name | None, Meta(description="What it was done to: a slot, a job, an account …")] = (
        None
    )
    since: Annotated[Moment | None, Meta(description="At this time or later")] = None
    until: Annotated[Moment | None, Meta(description="Before this time")] = None
    limit: Annotated[int, Meta(ge=1, le=200, description="So many events at most")] = 50
    cursor: Annotated[Annotated[str, Meta(max_length=20)] | None, Meta(description=_CURSOR)] = None

    def filter(self) -> AuditFilter:
        """Return which events are wanted. Raises `ValidationFailed` for a cursor that is none of ours."""
        return AuditFilter(
            action=self.action,
            actor=self.actor,
            subject=self.subject,
            since=self.since,
            until=self.until,
            before=None if self.cursor is None else _event_id(self.cursor),
        )


class AuditEventView(Struct, kw_only=True):
    """Who did what, when and from where. `changes` are by the field's path, each with `old` and `new`."""

    event_id: int
    at: Timestamp
    action: AuditAction
    actor: str | None
    origin: str
    subject: str
    changes: dict[str, dict[str, Any]]

    @classmethod
    def of(cls, event: AuditEvent) -> "AuditEventView":
        """Return an event as it is shown."""
        entry = event.entry
        return cls(
            event_id=event.event_id,
            at=rfc3339(event.at),
            action=entry.action,
            actor=entry.actor.name,
            origin=entry.actor.origin,
            subject=entry.subject,
            changes=to_builtins(entry.changes),
        )


class AuditPage(Struct, kw_only=True):
    """Events, the newest first. `next_cursor` leads to the page that follows; null on the last."""

    items: list[AuditEventView]
    next_cursor: str | None

    @classmethod
    def of(cls, found: Sequence[AuditEvent], wanted: AuditQuery) -> "AuditPage":
        """Return a page of what was found: one event more than `wanted.limit` where others follow."""
        shown = found[: wanted.limit]
        return cls(
            items=[AuditEventView.of(event) for event in shown],
            next_cursor=str(shown[-1].event_id) if len(found) > len(shown) else None,
        )


def _event_id(cursor: str) -> int:
    if not (cursor.isascii() and cursor.isdigit() and len(cursor) <= 18):
        raise ValidationFailed([Problem(field="cursor", code="unknown", message="is not a cursor of ours")])
    return int(cursor)
