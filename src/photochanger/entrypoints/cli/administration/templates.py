"""`photochanger templates`: the images that operations take beside the photo."""

from pathlib import Path

import msgspec
import rich_click as click

from photochanger.entrypoints.cli.administration.desk import Desk, Opened, administrative, confirm
from photochanger.entrypoints.cli.administration.tables import fields, megabytes, moment, rows
from photochanger.entrypoints.cli.options import CONTEXT, EXIT_STATUSES, yes_option
from photochanger.entrypoints.documents.templates import TemplateView, TemplateWithUsers

_CHUNK_BYTES = 1_000_000


@click.group(context_settings=CONTEXT, epilog=EXIT_STATUSES)
def templates() -> None:
    """Look at template images, add and remove them.

    Files are kept with the media: use the data folder, the MEDIA_ROOT or the MEDIA_URL of the processes that
    serve.
    """


@templates.command("list", epilog=EXIT_STATUSES)
@administrative
def list_templates(desk: Desk) -> None:
    """List the templates, the newest first.

    \b
    Example:
      photochanger templates list
    """

    async def read(opened: Opened) -> list[TemplateView]:
        return [TemplateView.of(template) for template in await opened.container.manage_templates().list()]

    found = desk.run(read)
    heads = ("TEMPLATE", "NAME", "PIXELS", "SIZE", "ADDED (UTC)")
    desk.answer(found, rows(heads, map(_row, found), empty="There are no templates."))


@templates.command(epilog=EXIT_STATUSES)
@click.argument("template_id", metavar="ID")
@administrative
def show(desk: Desk, template_id: str) -> None:
    """Show the template ID, and the slots that use it.

    \b
    Example:
      photochanger templates show 0123456789abcdef0123456789abcdef
    """

    async def read(opened: Opened) -> TemplateWithUsers:
        manage = opened.container.manage_templates()
        found = await manage.get(template_id)
        return TemplateWithUsers.used_by(await manage.users(found), found)

    found = desk.run(read)
    desk.answer(found, fields(msgspec.to_builtins(found)))


@templates.command(epilog=EXIT_STATUSES)
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--name", required=True, help="What people call it.")
@administrative
def add(desk: Desk, file: Path, name: str) -> None:
    """Add the image FILE (JPEG, PNG or WebP) as a template, and print its id.

    \b
    Example:
      photochanger templates add frame.png --name "Golden frame"
    """

    async def store(opened: Opened) -> TemplateView:
        manage = opened.container.manage_templates()
        with file.open("rb") as source, manage.receiving() as received:
            while chunk := source.read(_CHUNK_BYTES):
                received.write(chunk)
            return TemplateView.of(await manage.add(received, name=name, actor=opened.actor))

    added = desk.run(store)
    desk.answer(added, added.template_id)


@templates.command(epilog=EXIT_STATUSES)
@click.argument("template_id", metavar="ID")
@click.option("--force", is_flag=True, help="Take it out of the slots that use it.")
@yes_option
@administrative
def remove(desk: Desk, template_id: str, force: bool, yes: bool) -> None:
    """Remove the template ID. While a slot uses it, only with --force; jobs under way that need it fail.

    \b
    Example:
      photochanger templates remove 0123456789abcdef0123456789abcdef --yes
    """
    confirm(f"Remove the template {template_id}?", yes=yes)

    async def take_away(opened: Opened) -> None:
        await opened.container.manage_templates().remove(template_id, force=force, actor=opened.actor)

    desk.run(take_away)
    desk.answer({"template_id": template_id}, f"The template {template_id} is removed.")


def _row(template: TemplateView) -> tuple[object, ...]:
    return (
        template.template_id,
        template.name,
        f"{template.width}×{template.height}",
        megabytes(template.size_bytes),
        moment(template.created_at)[:10],
    )


COMMAND = templates
