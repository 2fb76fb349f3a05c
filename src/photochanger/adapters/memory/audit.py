"""The audit log in memory."""

from collections.abc import Sequence
from copy import deepcopy
from itertools import islice

from photochanger.adapters.memory.records import MemoryRecords
from photochanger.application.ports.administration import AuditFilter, AuditLog
from photochanger.domain.audit import AuditEntry, AuditEvent


class MemoryAuditLog(AuditLog):
    """The log as a list."""

    def __init__(self, records: MemoryRecords) -> None:
        self._records = records

    async def add(self, entry: AuditEntry) -> None:
        """Add an entry, at the store's time."""
        self._records.log(entry)

    async def page(self, wanted: AuditFilter, *, limit: int) -> Sequence[AuditEvent]:
        """Return up to `limit` events, the newest first."""
        found = (event for event in reversed(self._records.events) if _is_wanted(event, wanted))
        return deepcopy(list(islice(found, limit)))


def _is_wanted(event: AuditEvent, wanted: AuditFilter) -> bool:
    return (
        wanted.action in {None, event.entry.action}
        and wanted.actor in {None, event.entry.actor.name}
        and wanted.subject in {None, event.entry.subject}
        and (wanted.since is None or event.at >= wanted.since)
        and (wanted.until is None or event.at < wanted.until)
        and (wanted.before is None or event.event_id < wanted.before)
    )
