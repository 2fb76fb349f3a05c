"""`photochanger adopt-media`: a media store that the start is refused on becomes this database's."""

from typing import Final

import rich_click as click

from photochanger.application.media_ownership import Owner
from photochanger.entrypoints.cli.administration.desk import Desk, Opened, administrative, confirm
from photochanger.entrypoints.cli.options import CONTEXT, EXIT_STATUSES, yes_option
from photochanger.entrypoints.documents.housekeeping import MediaAdoption

_QUESTION: Final = (
    "Make the media store this database's? Files that it does not know will be deleted, and results whose"
    " files are missing will end."
)
_FOLLOWS: Final = (
    "The next clean-up deletes files that this database does not know, and ends results whose files are"
    " missing. Before anything is started, photochanger verify tells which."
)
_DONE: Final = {
    Owner.NOBODY: "The media store is this database's now. It had no mark.",
    Owner.ANOTHER_DATABASE: "The media store is this database's now. It had another one's mark.",
    Owner.THIS_DATABASE: "The media store was this database's already.",
}


@click.command("adopt-media", context_settings=CONTEXT, epilog=EXIT_STATUSES)
@yes_option
@administrative
def adopt_media(desk: Desk, yes: bool) -> None:
    """Make the media store this database's, whosever it was.

    A media store and a database belong together, and a mark in the store says so. Where the mark is gone, or
    names another database, nothing starts: a disk may not be mounted, or the wrong folder or bucket be named.
    Look at that first. Where the files really are gone, or this database is to have another's store, this
    writes the mark anew. Then the next clean-up deletes files that this database does not know, and ends
    results whose files are missing.

    \b
    Examples:
      photochanger adopt-media
      photochanger adopt-media --yes --json
    """
    confirm(_QUESTION, yes=yes)

    async def adopt(opened: Opened) -> Owner:
        return await opened.container.adopt_media()()

    was = desk.run(adopt, whosever_media=True)
    told = [_DONE[was]] if was is Owner.THIS_DATABASE else [_DONE[was], _FOLLOWS]
    desk.answer(MediaAdoption(previous_owner=was.value), *told)


COMMAND = adopt_media
