"""`photochanger cleanup`: one whole sweep, now."""

import asyncio
import sys
import time
from collections import Counter
from datetime import timedelta
from typing import TYPE_CHECKING, Final

import msgspec
import rich_click as click
from rich.table import Table

from photochanger.domain.consistency import Code
from photochanger.domain.errors import Unavailable
from photochanger.entrypoints.cli.administration.desk import Desk, Opened, administrative
from photochanger.entrypoints.cli.administration.progress import Progress
from photochanger.entrypoints.cli.administration.tables import megabytes, rows
from photochanger.entrypoints.cli.exit_codes import ExitCode
from photochanger.entrypoints.cli.options import CONTEXT, EXIT_STATUSES
from photochanger.entrypoints.documents.housekeeping import CleanupView

if TYPE_CHECKING:
    from photochanger.application.sweep import Sweep, Swept
    from photochanger.entrypoints.container import Container

_PATIENCE_SEC: Final = 60.0
_LOOK_AGAIN_SEC: Final = 0.5


@click.command(context_settings=CONTEXT, epilog=EXIT_STATUSES)
@click.option("--dry-run", is_flag=True, help="Say what there is to do, and do nothing.")
@administrative
def cleanup(desk: Desk, dry_run: bool) -> None:
    """End overdue jobs, delete what has expired, and forget what is long over.

    A server does the same all the time, unless the settings say otherwise; this is for cron, and for those
    who do not want to wait. Files and records are compared as well: files that no record expects are
    deleted, and records of files that are not there any more are written off. It waits for its turn while
    somebody else is sweeping.

    \b
    Examples:
      photochanger cleanup --dry-run
      photochanger cleanup --json
    """
    if dry_run:
        to_do = desk.run(lambda opened: _look(opened.container))
        desk.answer(to_do, _told(to_do, "There is nothing to do."))
        return
    done = desk.run(_clean_up)
    desk.answer(done, _told(done, "There was nothing to do."))
    if undone := _undone(done):
        click.echo(f"photochanger: {undone}", err=True)
        sys.exit(ExitCode.UNAVAILABLE)


async def _clean_up(opened: Opened) -> CleanupView:
    history = await _history(opened.container)
    with Progress("Deleted files:") as progress:
        swept = await _in_turn(opened.container.sweep(), history, progress)
    return CleanupView.done(swept)


async def _in_turn(sweep: "Sweep", history: timedelta, progress: Progress) -> "Swept":
    """Sweep as soon as nobody else does. Raises `Unavailable` where that takes too long."""
    patient_until = time.monotonic() + _PATIENCE_SEC

    def show(swept: "Swept") -> None:
        progress.show(swept.deleted_files.total())

    while (swept := await sweep(history=history, compare=True, on_batch=show)) is None:
        if time.monotonic() > patient_until:
            raise Unavailable("Somebody else is sweeping: look again later")
        await asyncio.sleep(_LOOK_AGAIN_SEC)
    if not swept.is_finished:
        raise Unavailable("Somebody else has taken over the sweeping")
    return swept


async def _look(container: "Container") -> CleanupView:
    due = await container.sweep().due(history=await _history(container))
    counted: Counter[bool] = Counter()
    with Progress("Compared files:") as progress:
        compared = 0
        async for page in container.compare_media()():
            counted.update(each.code is Code.ROW_WITHOUT_FILE for each in page.discrepancies)
            compared += page.files
            progress.show(compared)
    return CleanupView.to_do(due, stray_files=counted[False], lost_files=counted[True])


async def _history(container: "Container") -> timedelta:
    return (await container.settings().get()).cleanup.history


def _undone(done: CleanupView) -> str | None:
    if done.not_compared is not None:
        return done.not_compared
    return f"Files that could not be deleted: {done.undeleted_files}" if done.undeleted_files else None


_WORDS: Final = {
    "ended_jobs": "Overdue jobs ended",
    "undeleted_files": "Files that could not be deleted",
    "stray_files": "Files that no record expected",
    "lost_files": "Files that were not there any more",
    "forgotten_jobs": "Old jobs forgotten",
    "forgotten_files": "Old records of deleted files forgotten",
}


def _told(view: CleanupView, nothing: str) -> Table | str:
    document = msgspec.to_builtins(view)
    lines: list[tuple[str, object]] = [
        (f"Files deleted ({kind})", n) for kind, n in view.deleted_files.items()
    ]
    if view.deleted_bytes:
        lines.append(("Room made", megabytes(view.deleted_bytes)))
    lines += [(words, document[name]) for name, words in _WORDS.items() if document[name]]
    return rows(("WHAT IS TO DO" if view.dry_run else "WHAT WAS DONE", ""), lines, empty=nothing)


COMMAND = cleanup
