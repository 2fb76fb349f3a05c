"""The audit log, for whoever may read it."""

from litestar import get
from litestar.di import NamedDependency

from photochanger.application.ports import AuditLog
from photochanger.domain.permissions import Permission
from photochanger.entrypoints.documents.audit import AuditPage, AuditQuery
from photochanger.entrypoints.http.endpoints import Port, endpoint


@get(
    "/api/audit",
    tags=["audit"],
    summary="Read the audit log",
    **endpoint(Permission.AUDIT_READ, query=AuditQuery),
)
async def read_audit_log(wanted: NamedDependency[AuditQuery], audit_log: Port[AuditLog]) -> AuditPage:
    """Return a page of the log, the newest event first."""
    return AuditPage.of(await audit_log.page(wanted.filter(), limit=wanted.limit + 1), wanted)
