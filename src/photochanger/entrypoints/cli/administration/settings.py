"""`photochanger settings`: what holds for the whole installation."""

from pathlib import Path

import msgspec
import rich_click as click

from photochanger.application.edit_settings import SettingsEdit
from photochanger.domain.errors import VersionConflict
from photochanger.domain.settings import Settings
from photochanger.entrypoints.cli.administration.desk import Desk, Opened, administrative
from photochanger.entrypoints.cli.administration.edits import Edits, edit_options, read_edits
from photochanger.entrypoints.cli.administration.passwords import asked_password
from photochanger.entrypoints.cli.administration.tables import differences, fields
from photochanger.entrypoints.cli.options import CONTEXT, EXIT_STATUSES
from photochanger.entrypoints.documents.settings import SettingsUpdate, SettingsView


@click.group(context_settings=CONTEXT, epilog=EXIT_STATUSES)
def settings() -> None:
    """Look at the settings and change them; set the ingest password.

    A change is in force at once, in every process that serves.
    """


@settings.command(epilog=EXIT_STATUSES)
@administrative
def show(desk: Desk) -> None:
    """Show the settings, by the names that `set` takes. No secret is shown.

    \b
    Example:
      photochanger settings show
    """

    async def read(opened: Opened) -> SettingsView:
        return await _shown(opened, await opened.container.settings().get())

    found = desk.run(read)
    document = msgspec.to_builtins(found)
    document["accounts"] = ", ".join(account.username for account in found.accounts) or "(none)"
    desk.answer(found, fields(document))


@settings.command("set", epilog=EXIT_STATUSES)
@edit_options
@administrative
def set_settings(desk: Desk, assignments: tuple[str, ...], unset: tuple[str, ...], file: Path | None) -> None:
    """Change the settings that are named, and leave the rest as they are.

    KEY is as `show` prints it, and VALUE is JSON. With `version=N` nothing is changed unless that is the
    settings' version. A file holds the JSON that `show --json` prints, or a part of it.

    \b
    Examples:
      photochanger settings set ingest.sync_response_timeout_sec=40 results.retention_hours=48
      photochanger settings set limits.quota_per_day.gemini=1000
      photochanger settings set --unset limits.quota_per_day.gemini
    """
    edits = read_edits(
        assignments,
        unset,
        file,
        kept_out="ingest.dslr_password",
        instead="use photochanger settings password",
    )
    if not edits:
        raise click.UsageError("There is nothing to change: give KEY=VALUE, --unset or --from-file")
    before, after = desk.run(lambda opened: _change(opened, edits))
    desk.answer(after, f"The settings are version {after.version} now.", differences(before, after))


@settings.command(epilog=EXIT_STATUSES)
@administrative
def password(desk: Desk) -> None:
    """Set the ingest password that booths send. The one before it is no longer taken, from this moment on.

    On a terminal it is asked for twice; otherwise it is the first line of standard input.

    \b
    Examples:
      photochanger settings password
      photochanger settings password < password.txt
    """
    new = asked_password("New ingest password")

    async def rotate(opened: Opened) -> SettingsView:
        stored = await opened.container.settings().get()
        edit = SettingsEdit(settings=stored, ingest_password=new)
        return await _shown(opened, await opened.container.edit_settings()(edit, opened.actor))

    after = desk.run(rotate)
    desk.answer(after, f"The ingest password is a new one. The settings are version {after.version} now.")


async def _change(opened: Opened, edits: Edits) -> tuple[SettingsView, SettingsView]:
    repository = opened.container.settings()
    before = await _shown(opened, await repository.get())
    update = edits.of(before, SettingsUpdate)
    try:
        saved = await opened.container.edit_settings()(update.edit(), opened.actor)
    except VersionConflict as conflict:
        now = (await repository.get()).version
        raise VersionConflict(
            f"The settings are version {now}, and the change is of version {update.version}: "
            "look at them again with photochanger settings show"
        ) from conflict
    return before, await _shown(opened, saved)


async def _shown(opened: Opened, stored: Settings) -> SettingsView:
    accounts = await opened.container.accounts().list()
    return SettingsView.of(stored, catalogue=opened.container.catalogue(), accounts=accounts)


COMMAND = settings
