"""`photochanger hash-password`: what the credentials file holds instead of a password."""

import asyncio

import rich_click as click

from photochanger.domain.account import account_password_problems
from photochanger.domain.errors import ValidationFailed
from photochanger.entrypoints.cli.administration.desk import json_option, print_json, print_line
from photochanger.entrypoints.cli.administration.passwords import asked_password
from photochanger.entrypoints.cli.options import CONTEXT, EXIT_STATUSES


@click.command("hash-password", context_settings=CONTEXT, epilog=EXIT_STATUSES)
@json_option
def hash_password(as_json: bool) -> None:
    """Print the argon2id hash of a password, for the credentials file.

    Nothing is stored. On a terminal the password is asked for twice; otherwise it is the first line of
    standard input.

    \b
    Examples:
      photochanger hash-password
      photochanger hash-password < password.txt
    """
    password = asked_password("Password")
    if problems := [*account_password_problems(password)]:
        raise ValidationFailed(problems)
    from photochanger.adapters.argon2_hasher import Argon2PasswordHasher  # noqa: PLC0415

    hashed = asyncio.run(Argon2PasswordHasher().hash(password))
    if as_json:
        print_json({"password_hash": hashed})
    else:
        print_line(hashed)


COMMAND = hash_password
