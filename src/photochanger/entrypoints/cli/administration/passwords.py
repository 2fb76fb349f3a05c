"""Passwords for commands. None is ever an argument: those can be read in the list of processes."""

import secrets
import sys
import unicodedata

import rich_click as click

_LONGEST_LINE = 4_096
_GENERATED_BYTES = 18


def asked_password(prompt: str) -> str:
    """Return a password: asked for twice and unseen on a terminal, else the first line of standard input."""
    if sys.stdin.isatty():
        password = str(click.prompt(prompt, hide_input=True, confirmation_prompt=True, err=True))
    else:
        password = _first_line()
    if any(unicodedata.category(character) == "Cc" for character in password):
        raise click.UsageError("The password must not hold control characters")
    return password


def generated_password() -> str:
    """Return a password that nobody guesses."""
    return secrets.token_urlsafe(_GENERATED_BYTES)


def _first_line() -> str:
    line = sys.stdin.buffer.readline(_LONGEST_LINE)
    try:
        password = line.removesuffix(b"\n").removesuffix(b"\r").decode()
    except UnicodeDecodeError as error:
        raise click.UsageError("The password on standard input is not valid UTF-8") from error
    if not password:
        raise click.UsageError("There is no terminal to ask for the password, and none on standard input")
    return password
