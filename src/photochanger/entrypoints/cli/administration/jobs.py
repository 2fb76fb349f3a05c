"""`photochanger jobs`: the photos on their way, and those that were."""

from datetime import datetime

import msgspec
import rich_click as click

from photochanger.domain.errors import JobNotFound
from photochanger.domain.job import JobSource, JobState, parse_job_id
from photochanger.entrypoints.cli.administration.desk import Desk, Opened, administrative, confirm
from photochanger.entrypoints.cli.administration.moments import period_options
from photochanger.entrypoints.cli.administration.tables import fields, moment, rows
from photochanger.entrypoints.cli.options import CONTEXT, EXIT_STATUSES, yes_option
from photochanger.entrypoints.documents.jobs import JobPage, JobQuery, JobView
from photochanger.entrypoints.documents.reading import read_value


@click.group(context_settings=CONTEXT, epilog=EXIT_STATUSES)
def jobs() -> None:
    """Look at jobs, and cancel them."""


@jobs.command("list", epilog=EXIT_STATUSES)
@click.option("--slot", "slot_id", help="Of this slot.")
@click.option("--status", type=click.Choice([state.value for state in JobState]), help="In this state.")
@click.option(
    "--source", type=click.Choice([source.value for source in JobSource]), help="Of booths, or tests."
)
@period_options
@click.option("--limit", type=int, default=50, show_default=True, help="So many at most; 1 to 200.")
@click.option("--cursor", help="Go on after a page: its `next_cursor`.")
@administrative
def list_jobs(desk: Desk, /, **wanted: object) -> None:
    """List jobs, the newest first.

    \b
    Examples:
      photochanger jobs list --status failed_provider --from 2h
      photochanger jobs list --slot slot-001 --from 2026-01-14T18:00:00Z --to 2026-01-14T23:00:00Z --json
    """
    query = read_value(query_of(wanted), JobQuery)
    which, after = query.filter(), query.after()

    async def read(opened: Opened) -> JobPage:
        found = await opened.container.history().page(which, limit=query.limit + 1, after=after)
        return JobPage.of(found, query, opened.links)

    page = desk.run(read)
    heads = ("JOB", "WHEN (UTC)", "SLOT", "OUTCOME")
    found = rows(heads, map(_row, page.items), empty="There are no such jobs.")
    desk.answer(page, found, *going_on(page.next_cursor))


@jobs.command(epilog=EXIT_STATUSES)
@click.argument("job_id", metavar="ID")
@administrative
def show(desk: Desk, job_id: str) -> None:
    """Show the job ID, also after its result has expired.

    \b
    Example:
      photochanger jobs show 0123456789abcdef0123456789abcdef
    """
    known = parse_job_id(job_id)
    if known is None:
        raise JobNotFound

    async def read(opened: Opened) -> JobView:
        reading = await opened.container.jobs().get(known)
        if reading is None:
            raise JobNotFound
        return JobView.of(reading.job, opened.links)

    found = desk.run(read)
    desk.answer(found, fields(msgspec.to_builtins(found)))


@jobs.command(epilog=EXIT_STATUSES)
@click.argument("job_id", metavar="ID")
@yes_option
@administrative
def cancel(desk: Desk, job_id: str, yes: bool) -> None:
    """End the job ID before it is final. The booth that waits for its picture gets an error at once.

    \b
    Example:
      photochanger jobs cancel 0123456789abcdef0123456789abcdef --yes
    """
    confirm(f"Cancel the job {job_id}?", yes=yes)

    async def end(opened: Opened) -> JobView:
        reading = await opened.container.cancel_job()(job_id, opened.actor)
        return JobView.of(reading.job, opened.links)

    ended = desk.run(end)
    desk.answer(ended, f"The job {ended.job_id} is {ended.status.value}.")


def query_of(options: dict[str, object]) -> dict[str, object]:
    """Return the options that were given as the query that HTTP would read."""
    given = {name: value for name, value in options.items() if value is not None}
    return {{"since": "from", "until": "to"}.get(name, name): value for name, value in given.items()}


def going_on(next_cursor: str | None) -> list[str]:
    """Return how to see the next page, where there is one."""
    return [] if next_cursor is None else ["", f"There are more: --cursor {next_cursor}"]


def _row(job: JobView) -> tuple[object, ...]:
    return job.job_id, moment(job.created_at)[5:], job.slot_id, _outcome(job)


def _outcome(job: JobView) -> str:
    """Return how the job stands in a few words; a failure's reason says more than its state."""
    outcome = job.failure_reason or job.status.value
    if job.status is JobState.COMPLETED and job.finalized_at is not None:
        took = datetime.fromisoformat(job.finalized_at) - datetime.fromisoformat(job.created_at)
        outcome += f" {took.total_seconds():.1f} s"
    return f"{outcome} (test)" if job.source == JobSource.TEST else outcome


COMMAND = jobs
