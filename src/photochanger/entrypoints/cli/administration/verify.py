"""`photochanger verify`: whether database and media store agree."""

import sys

import rich_click as click

from photochanger.domain.consistency import Discrepancy
from photochanger.entrypoints.cli.administration.desk import Desk, Opened, administrative
from photochanger.entrypoints.cli.administration.progress import Progress
from photochanger.entrypoints.cli.administration.tables import rows
from photochanger.entrypoints.cli.exit_codes import ExitCode
from photochanger.entrypoints.cli.options import CONTEXT, EXIT_STATUSES
from photochanger.entrypoints.documents.housekeeping import VerificationView


@click.command(context_settings=CONTEXT, epilog=EXIT_STATUSES)
@click.option("--contents", is_flag=True, help="Read every file as well, and compare its bytes' hash.")
@administrative
def verify(desk: Desk, contents: bool) -> None:
    """Look whether database and media store agree with each other, and change nothing.

    Prints everything that may not be: files without a record, records without their file, jobs and files
    whose time is over. Servers may be running meanwhile. Ends with status 1 where there is anything; most of
    it goes away by `photochanger cleanup`.

    \b
    Examples:
      photochanger verify
      photochanger verify --contents --json
    """

    async def look(opened: Opened) -> VerificationView:
        found: list[Discrepancy] = []
        compared = 0
        with Progress("Compared files:") as progress:
            async for page in opened.container.verify()(contents=contents):
                found += page.discrepancies
                compared += page.files
                progress.show(compared)
        return VerificationView.of(compared, found)

    view = desk.run(look)
    lines = [(each.code, each.subject, each.meaning) for each in view.discrepancies]
    heads = ("WHAT", "OF WHAT", "THAT IS")
    files = "1 file" if view.compared_files == 1 else f"{view.compared_files} files"
    desk.answer(view, rows(heads, lines, empty=f"All is as it should be: {files} compared."))
    if not view.clean:
        sys.exit(ExitCode.DEFECT)


COMMAND = verify
