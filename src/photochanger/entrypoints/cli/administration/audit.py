"""`photochanger audit`: who did what, when and from where."""

import rich_click as click

from photochanger.domain.audit import AuditAction
from photochanger.entrypoints.cli.administration.desk import Desk, Opened, administrative
from photochanger.entrypoints.cli.administration.jobs import going_on, query_of
from photochanger.entrypoints.cli.administration.moments import period_options
from photochanger.entrypoints.cli.administration.tables import moment, rows, written
from photochanger.entrypoints.cli.options import CONTEXT, EXIT_STATUSES
from photochanger.entrypoints.documents.audit import AuditEventView, AuditPage, AuditQuery
from photochanger.entrypoints.documents.reading import read_value


@click.command(context_settings=CONTEXT, epilog=EXIT_STATUSES)
@click.option(
    "--action",
    type=click.Choice([action.value for action in AuditAction]),
    metavar="ACTION",
    help=f"What was done: {', '.join(AuditAction)}.",
)
@click.option("--actor", help="By whom: an account, or a user of this machine.")
@click.option("--subject", help="To what: the id of a slot, job, template or file, or an account.")
@period_options
@click.option("--limit", type=int, default=50, show_default=True, help="So many at most; 1 to 200.")
@click.option("--cursor", help="Go on after a page: its `next_cursor`.")
@administrative
def audit(desk: Desk, /, **wanted: object) -> None:
    """Show who did what, when and from where.

    The newest comes first. Of a secret it is only told that it was changed.

    \b
    Examples:
      photochanger audit --from 1d
      photochanger audit --action slot_changed --subject slot-001 --json
    """
    query = read_value(query_of(wanted), AuditQuery)
    which = query.filter()

    async def read(opened: Opened) -> AuditPage:
        return AuditPage.of(await opened.container.audit().page(which, limit=query.limit + 1), query)

    page = desk.run(read)
    found = rows(("WHEN (UTC)", "WHO", "WHAT"), map(_row, page.items), empty="There are no such events.")
    desk.answer(page, found, *going_on(page.next_cursor))


def _row(event: AuditEventView) -> tuple[object, ...]:
    changes = [
        f"{path}: {written(change['old'])} → {written(change['new'])}"
        for path, change in event.changes.items()
    ]
    what = "\n".join([f"{event.action.value} {event.subject}".rstrip(), *changes])
    return moment(event.at), f"{event.actor or '(nobody)'}\n{event.origin}".rstrip(), what


COMMAND = audit
