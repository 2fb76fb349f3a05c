"""`photochanger account`: who may administer the installation."""

import asyncio
from collections.abc import Sequence

import msgspec
import rich_click as click

from photochanger.domain.account import Account
from photochanger.domain.permissions import Permission
from photochanger.entrypoints.cli.administration.desk import Desk, Opened, administrative, confirm
from photochanger.entrypoints.cli.administration.passwords import asked_password, generated_password
from photochanger.entrypoints.cli.administration.tables import rows
from photochanger.entrypoints.cli.options import CONTEXT, EXIT_STATUSES, yes_option
from photochanger.entrypoints.documents.settings import AccountView

ALL = "everything"


@click.group(context_settings=CONTEXT, epilog=EXIT_STATUSES)
def account() -> None:
    """Look at the administrators' accounts, add and remove them, log them out.

    They are in the credentials file: $CREDENTIALS_FILE, or secrets/runtime_credentials.json in the data
    folder. Changes count from the next request on, in every process that serves, and are in the audit log.
    """


@account.command("list", epilog=EXIT_STATUSES)
@administrative
def list_accounts(desk: Desk) -> None:
    """List the accounts, and what they may do. Needs the credentials file only, and no database.

    \b
    Example:
      photochanger account list
    """
    from photochanger.adapters.credentials_file import CredentialsFile  # noqa: PLC0415

    file = CredentialsFile(desk.environment.credentials_path)
    file.check()

    async def read() -> Sequence[Account]:
        return await file.list()

    found = [AccountView.of(account) for account in asyncio.run(read())]
    empty = f"There are no accounts in {desk.environment.credentials_path}."
    desk.answer(found, rows(("ACCOUNT", "MAY"), map(_row, found), empty=empty))


@account.command(epilog=EXIT_STATUSES)
@click.argument("name")
@click.option(
    "--permission",
    "permissions",
    multiple=True,
    type=click.Choice([permission.value for permission in Permission]),
    metavar="PERMISSION",
    help=f"One thing that it may do; may be repeated: {', '.join(Permission)}.",
)
@click.option("--all", "has_all", is_flag=True, help="It may do everything.")
@click.option("--generate", is_flag=True, help="Make a password up, and print it, this once.")
@click.option(
    "--replace", "replaces", is_flag=True, help="Change the password and permissions of an account."
)
@administrative
def add(
    desk: Desk, name: str, permissions: tuple[str, ...], has_all: bool, generate: bool, replaces: bool
) -> None:
    """Add the account NAME. Its password is asked for twice, or is the first line of standard input.

    \b
    Examples:
      photochanger account add serg --all
      photochanger account add igor --permission slots:read --permission stats:read --generate
    """
    if has_all == bool(permissions):
        raise click.UsageError("Say what the account may do: either --permission, or --all")
    allowed = [*Permission] if has_all else [*map(Permission, permissions)]
    password = generated_password() if generate else asked_password(f"Password of {name}")

    async def put(opened: Opened) -> Account:
        opened.container.credentials_file().check()
        edit = opened.container.edit_accounts()
        return await edit.add(name, password, allowed, replaces=replaces, actor=opened.actor)

    view = AccountView.of(desk.run(put))
    document = msgspec.to_builtins(view) | ({"password": password} if generate else {})
    made_up = [f"Password  {password}"] if generate else []
    desk.answer(document, f"The account {view.username} may do {_may(view)}.", *made_up)


@account.command(epilog=EXIT_STATUSES)
@click.argument("name")
@yes_option
@administrative
def remove(desk: Desk, name: str, yes: bool) -> None:
    """Remove the account NAME. Its sessions end at once.

    \b
    Example:
      photochanger account remove igor --yes
    """
    confirm(f"Remove the account {name}?", yes=yes)

    async def take_away(opened: Opened) -> Account:
        opened.container.credentials_file().check()
        return await opened.container.edit_accounts().remove(name, actor=opened.actor)

    gone = desk.run(take_away)
    desk.answer(AccountView.of(gone), f"The account {gone.username} is removed.")


@account.command(epilog=EXIT_STATUSES)
@click.argument("name")
@administrative
def logout(desk: Desk, name: str) -> None:
    """End all sessions of the account NAME, for a lost phone or somebody who has left.

    \b
    Example:
      photochanger account logout igor
    """

    async def close(opened: Opened) -> tuple[str, int]:
        opened.container.credentials_file().check()
        found = await opened.container.edit_accounts().find(name)
        return found.username, await opened.container.close_sessions()(found.username, actor=opened.actor)

    username, closed = desk.run(close)
    sessions = "1 session" if closed == 1 else f"{closed} sessions"
    desk.answer({"username": username, "closed_sessions": closed}, f"Ended {sessions} of {username}.")


def _row(view: AccountView) -> tuple[str, str]:
    return view.username, _may(view)


def _may(view: AccountView) -> str:
    return ALL if len(view.permissions) == len(Permission) else ", ".join(view.permissions) or "nothing"


COMMAND = account
