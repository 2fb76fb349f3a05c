"""`photochanger stats`: how many photos came, how they ended, and how long they took."""

from collections.abc import Sequence

import rich_click as click
from rich.console import RenderableType

from photochanger.domain.errors import SlotNotFound
from photochanger.domain.job import JobState
from photochanger.domain.slot import parse_slot_id
from photochanger.domain.statistics import BUCKETS
from photochanger.entrypoints.cli.administration.desk import Desk, Opened, administrative
from photochanger.entrypoints.cli.administration.jobs import query_of
from photochanger.entrypoints.cli.administration.moments import period_options
from photochanger.entrypoints.cli.administration.tables import bar, megabytes, moment, rows
from photochanger.entrypoints.cli.options import CONTEXT, EXIT_STATUSES
from photochanger.entrypoints.documents.jobs import JobView
from photochanger.entrypoints.documents.reading import read_value
from photochanger.entrypoints.documents.statistics import (
    AllSlotsStatisticsView,
    PointView,
    SlotStatisticsView,
    StatisticsQuery,
    SystemStatisticsView,
    TallyView,
)

_TOTALS = ("JOBS", "COMPLETED", "TIMED OUT", "FAILED", "CANCELLED", "P50", "P95", "P99")
_NO_JOBS = "No booth's job ended in this time."


@click.command(context_settings=CONTEXT, epilog=EXIT_STATUSES)
@click.option("--slot", metavar="SLOT", help="Of this slot only.")
@click.option("--slots", "by_slot", is_flag=True, help="Slot by slot.")
@period_options
@click.option(
    "--bucket", type=click.Choice([*BUCKETS]), help="In steps of this length; default: about fifty."
)
@administrative
def stats(desk: Desk, /, slot: str | None, by_slot: bool, **wanted: object) -> None:
    """Show how many photos came, how they ended, and how long they took.

    Counted are jobs of booths by the time at which they ended, without test runs; by default those of the
    last 24 hours. Shares are of the jobs that nobody cancelled. Percentiles are of completed jobs, to 2.5 %.

    \b
    Examples:
      photochanger stats --from 3d
      photochanger stats --slot slot-001 --from 2h --bucket 5m
      photochanger stats --slots --json
    """
    if slot is not None and by_slot:
        raise click.UsageError("Say either --slot or --slots")
    period = read_value(query_of(wanted), StatisticsQuery).period()
    if slot is None and not by_slot:

        async def of_all(opened: Opened) -> SystemStatisticsView:
            return SystemStatisticsView.of(
                await opened.container.read_statistics().system(**period), opened.links
            )

        whole = desk.run(of_all)
        desk.answer(whole, *_whole(whole))
        return
    if slot is not None and parse_slot_id(slot) is None:
        raise SlotNotFound

    async def of_each(opened: Opened) -> AllSlotsStatisticsView:
        return AllSlotsStatisticsView.of(
            await opened.container.read_statistics().slots(**period), opened.links
        )

    found = desk.run(of_each)
    found.items = [item for item in found.items if slot in {None, item.slot_id}]
    desk.answer(found, _period(found), "", *(_each(found.items) if by_slot else _one(found.items[0])))


def _whole(found: SystemStatisticsView) -> Sequence[RenderableType]:
    waiting = f", the oldest for {found.oldest_wait_sec:.0f} s" if found.queue_depth else ""
    now = f"Now: {found.queue_depth} waiting{waiting}, {found.under_way} under way"
    quotas = [
        (quota.provider, _used(quota.this_minute, quota.per_minute), _used(quota.today, quota.per_day))
        for quota in found.quotas
    ]
    return (
        _period(found),
        "",
        *_tally(found.totals, found.series),
        "",
        f"{now}, {megabytes(found.media_bytes)} stored.",
        "",
        rows(("CALLS OF", "THIS MINUTE", "TODAY"), quotas, empty="There are no providers."),
        "",
        _failures(found.last_failures),
    )


def _one(found: SlotStatisticsView) -> Sequence[RenderableType]:
    failures = [] if found.last_failure is None else [found.last_failure]
    return (*_tally(found.totals, found.series), "", _failures(failures))


def _each(found: Sequence[SlotStatisticsView]) -> Sequence[RenderableType]:
    lines = [(slot.slot_id, *_totals(slot.totals)) for slot in found]
    failures = [slot.last_failure for slot in found if slot.last_failure is not None]
    return rows(("SLOT", *_TOTALS), lines, empty=""), "", _failures(failures)


def _period(found: SystemStatisticsView | AllSlotsStatisticsView) -> str:
    return f"{moment(found.start)} to {moment(found.end)} UTC, in steps of {found.bucket}"


def _tally(totals: TallyView, series: Sequence[PointView]) -> Sequence[RenderableType]:
    if totals.total == 0:
        return (_NO_JOBS,)
    most = max(point.total for point in series)
    steps = [
        (
            moment(point.start)[:16],
            point.total or "",
            bar(_completed(point), point.total, most),
            _seconds(point.p95_sec),
        )
        for point in series
    ]
    return (
        rows(_TOTALS, [_totals(totals)], empty=""),
        "",
        rows(("WHEN (UTC)", "JOBS", "COMPLETED, AND NOT", "P95"), steps, empty=""),
    )


def _totals(tally: TallyView) -> tuple[object, ...]:
    states = tally.by_status
    failed = states[JobState.FAILED_PROVIDER] + states[JobState.FAILED_INTERNAL]
    return (
        tally.total,
        _counted(_completed(tally), tally.success_share),
        _counted(states[JobState.FAILED_TIMEOUT], tally.timeout_share),
        _counted(failed, tally.error_share),
        states[JobState.CANCELLED],
        *map(_seconds, (tally.p50_sec, tally.p95_sec, tally.p99_sec)),
    )


def _completed(tally: TallyView) -> int:
    return tally.by_status[JobState.COMPLETED]


def _counted(number: int, share: float | None) -> str:
    return str(number) if not share else f"{number} {share:.1%}"


def _seconds(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds:.1f} s"


def _used(number: int, limit: int | None) -> str:
    return str(number) if limit is None else f"{number} of {limit}"


def _failures(jobs: Sequence[JobView]) -> RenderableType:
    lines = [(moment(job.created_at)[5:], job.slot_id, job.job_id, job.failure_reason or "") for job in jobs]
    return rows(("LAST FAILURES", "SLOT", "JOB", "WHY"), lines, empty="Nothing has failed.")


COMMAND = stats
