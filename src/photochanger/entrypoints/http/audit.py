"""The audit log, for whoever may read it."""

from typing import Annotated, Any

from litestar import get
from litestar.di import NamedDependency
from msgspec import Meta, Struct, to_builtins

from photochanger.application.ports import AuditFilter, AuditLog
from photochanger.domain.audit import AuditAction, AuditEvent
from photochanger.domain.errors import Problem, ValidationFailed
from photochanger.domain.permissions import Permission
from photochanger.entrypoints.http.endpoints import endpoint
from photochanger.entrypoints.http.schemas import Moment, Timestamp
from photochanger.entrypoints.http.timestamps import rfc3339


class AuditQuery(Struct, kw_only=True, forbid_unknown_fields=True, rename={"since": "from", "until": "to"}):
    """Which events, and how many at once."""

    action: AuditAction | None = None
    actor: Annotated[str, Meta(max_length=200)] | None = None
    subject: Annotated[str, Meta(max_length=200)] | None = None
    since: Annotated[Moment | None, Meta(description="At this time or later")] = None
    until: Annotated[Moment | None, Meta(description="Before this time")] = None
    limit: Annotated[int, Meta(ge=1, le=200)] = 50
    cursor: Annotated[str, Meta(max_length=20, description="`next_cursor` of the page before")] | None = None

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


@get(
    "/api/audit",
    tags=["audit"],
    summary="Read the audit log",
    **endpoint(Permission.AUDIT_READ, query=AuditQuery),
)
async def read_audit_log(
    wanted: NamedDependency[AuditQuery], audit_log: NamedDependency[AuditLog]
) -> AuditPage:
    """Return a page of the log, the newest event first."""
    found = await audit_log.page(wanted.filter(), limit=wanted.limit + 1)
    shown = found[: wanted.limit]
    return AuditPage(
        items=[AuditEventView.of(event) for event in shown],
        next_cursor=str(shown[-1].event_id) if len(found) > len(shown) else None,
    )


def _event_id(cursor: str) -> int:
    if not (cursor.isascii() and cursor.isdigit() and len(cursor) <= 18):
        raise ValidationFailed([Problem(field="cursor", code="unknown", message="is not a cursor of ours")])
    return int(cursor)
