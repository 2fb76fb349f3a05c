"""`photochanger slots`: the fifteen slots."""

from pathlib import Path
from typing import Any

import msgspec
import rich_click as click

from photochanger.domain.errors import VersionConflict
from photochanger.domain.slot import Slot
from photochanger.entrypoints.cli.administration.desk import Desk, Opened, administrative, confirm
from photochanger.entrypoints.cli.administration.edits import Edits, edit_options, read_edits
from photochanger.entrypoints.cli.administration.passwords import asked_password
from photochanger.entrypoints.cli.administration.tables import (
    differences,
    fields,
    megabytes,
    moment,
    rows,
)
from photochanger.entrypoints.cli.options import CONTEXT, EXIT_STATUSES, yes_option
from photochanger.entrypoints.documents.slots import CleanedUp, SlotUpdate, SlotView, SlotWithResults


@click.group(context_settings=CONTEXT, epilog=EXIT_STATUSES)
def slots() -> None:
    """Look at the fifteen slots, set them up, delete their results.

    A change is in force at once, in every process that serves.
    """


@slots.command("list", epilog=EXIT_STATUSES)
@administrative
def list_slots(desk: Desk) -> None:
    """List the slots.

    \b
    Example:
      photochanger slots list
    """

    async def read(opened: Opened) -> list[SlotView]:
        settings = await opened.container.settings().get()
        found = await opened.container.slots().list()
        return [SlotView.of(slot, settings, opened.links) for slot in found]

    found = desk.run(read)
    heads = ("SLOT", "ON", "NAME", "CALLS", "TIME-OUT", "VERSION")
    desk.answer(found, rows(heads, map(_row, found), empty="There are no slots."))


@slots.command(epilog=EXIT_STATUSES)
@click.argument("slot")
@administrative
def show(desk: Desk, slot: str) -> None:
    """Show how SLOT is set up, by the names that `set` takes, and its latest results.

    \b
    Example:
      photochanger slots show slot-001
    """
    found = desk.run(lambda opened: _shown_with_results(opened, slot))
    fields_of_it = msgspec.to_builtins(found)
    results = fields_of_it.pop("recent_results")
    lines = [
        (moment(result["created_at"]), result["job_id"], moment(result["expires_at"])) for result in results
    ]
    heads = ("WHEN (UTC)", "JOB", "UNTIL (UTC)")
    desk.answer(found, fields(fields_of_it), "", rows(heads, lines, empty="There are no results."))


@slots.command("set", epilog=EXIT_STATUSES)
@click.argument("slot")
@edit_options
@click.option("--password", "has_password", is_flag=True, help="Ask for a password of the slot's own.")
@click.option("--no-password", is_flag=True, help="Have the slot use the general password again.")
@administrative
def set_slot(
    desk: Desk,
    slot: str,
    assignments: tuple[str, ...],
    unset: tuple[str, ...],
    file: Path | None,
    has_password: bool,
    no_password: bool,
) -> None:
    """Set SLOT up: change what is named, and leave the rest as it is.

    KEY is as `show` prints it. VALUE is JSON where it is JSON, else text; write text that looks like a number
    as '"2026"'. `params` and `fallback` may be given as a whole. With `version=N` nothing is changed unless
    that is the slot's version. The password is asked for, or is the first line of standard input. A file
    holds the JSON that `show --json` prints, or a part of it; it may be another slot's.

    \b
    Examples:
      photochanger slots set slot-004 is_active=true display_name="Comic strip"
      photochanger slots set slot-004 provider=rehearsal operation=photo_effect 'params={"effect": "sepia"}'
      photochanger slots set slot-004 fallback=null retry.max_attempts=1 --unset params.intensity
      photochanger slots set slot-004 --from-file slot.json
    """
    if has_password and (no_password or str(file) == "-"):
        raise click.UsageError("--password goes neither with --no-password nor with a file on standard input")
    edits = read_edits(assignments, unset, file, kept_out="ingest_password", instead="use --password")
    if edits.from_file.get("slot_id", slot) != slot:
        edits.from_file.pop("version", None)  # another slot's set-up is copied
    if not (edits or has_password or no_password):
        raise click.UsageError("There is nothing to change: give KEY=VALUE, --from-file or --password")
    more: dict[str, object] = {}
    if has_password or no_password:
        more["ingest_password"] = asked_password(f"Password of {slot}") if has_password else None

    before, after = desk.run(lambda opened: _change(opened, slot, edits, more))
    desk.answer(after, f"{after.slot_id} is version {after.version} now.", differences(before, after))


@slots.command(epilog=EXIT_STATUSES)
@click.argument("slot")
@yes_option
@administrative
def cleanup(desk: Desk, slot: str, yes: bool) -> None:
    """Delete all results of SLOT before their time; their links answer 410 from this moment on.

    \b
    Example:
      photochanger slots cleanup slot-004 --yes
    """
    confirm(f"Delete all results of {slot}?", yes=yes)

    async def clean(opened: Opened) -> CleanedUp:
        ended = await opened.container.clean_slot()(slot, opened.actor)
        return CleanedUp(deleted_results=ended.results, deleted_bytes=ended.size_bytes)

    done = desk.run(clean)
    results = "1 result" if done.deleted_results == 1 else f"{done.deleted_results} results"
    desk.answer(done, f"Deleted {results}, {megabytes(done.deleted_bytes)}.")


async def _change(
    opened: Opened, slot_id: str, edits: Edits, more: dict[str, Any]
) -> tuple[SlotWithResults, SlotWithResults]:
    edit_slot = opened.container.edit_slot()
    before = await _shown_with_results(opened, slot_id)
    update = edits.of(before, SlotUpdate, **more)
    try:
        saved = await edit_slot(slot_id, update.edit(), opened.actor)
    except VersionConflict as conflict:
        now = await edit_slot.find(slot_id)
        raise VersionConflict(
            f"{slot_id} is version {now.version}, and the change is of version {update.version}: "
            f"look at it again with photochanger slots show {slot_id}"
        ) from conflict
    return before, await _with_results(opened, saved)


async def _shown_with_results(opened: Opened, slot_id: str) -> SlotWithResults:
    return await _with_results(opened, await opened.container.edit_slot().find(slot_id))


async def _with_results(opened: Opened, slot: Slot) -> SlotWithResults:
    settings = await opened.container.settings().get()
    jobs = await opened.container.show_gallery().recent(slot.slot_id)
    return SlotWithResults.of_results(jobs, slot, settings, opened.links)


def _row(slot: SlotView) -> tuple[object, ...]:
    return (
        slot.slot_id,
        "on" if slot.is_active else "-",
        slot.display_name,
        f"{slot.provider} {slot.operation}",
        f"{slot.effective_timeout_sec} s",
        slot.version,
    )


COMMAND = slots
