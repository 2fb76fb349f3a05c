"""Administrators' accounts, their sessions, and the rule that slows down guessing."""

import hashlib
import ipaddress
import json
import re
import unicodedata
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, NewType

from photochanger.domain.errors import Problem, ValidationFailed
from photochanger.domain.permissions import Permission

SessionId = NewType("SessionId", str)

LOGIN_ATTEMPTS: Final = 5
"""So many failed logins block an account, or a client's address."""

LOGIN_BLOCK: Final = timedelta(minutes=15)
"""For how long, counted from the last of them; fewer failures are forgotten after the same time."""

LOGIN_DECISION: Final = timedelta(seconds=10)
"""Within this time a login is decided; one that is not will not be, and counts like a failed one."""

SESSION_LIFETIME: Final = timedelta(hours=8)

MAX_USERNAME: Final = 64
MIN_ACCOUNT_PASSWORD: Final = 8
MAX_ACCOUNT_PASSWORD: Final = 1_024

_USERNAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """Somebody who may administer this installation. `username` is in its normal form."""

    username: str
    password_hash: str = field(repr=False)
    permissions: frozenset[Permission]

    @property
    def fingerprint(self) -> str:
        """A digest that is another one as soon as the password or the permissions are."""
        content = json.dumps([self.username, self.password_hash, sorted(self.permissions)])
        return hashlib.sha256(content.encode()).hexdigest()[:32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """A login, until its end or its logout. It ends as well when its account changes."""

    session_id: SessionId
    username: str
    created_at: datetime
    expires_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """Whoever is logged in, and what they may do."""

    username: str
    permissions: frozenset[Permission]
    session_id: SessionId
    expires_at: datetime


def normalized_username(text: str) -> str:
    """Return the one spelling of a user name: case, width and blanks around it make no difference."""
    return unicodedata.normalize("NFKC", text).strip().casefold()


def validate_account(username: str, password: str | None = None) -> None:
    """Raise `ValidationFailed` where an account cannot be called so, or have this password."""
    problems = []
    if not _USERNAME.fullmatch(username):
        message = f"must have 1 to {MAX_USERNAME} of the characters a-z, 0-9, '.', '_' and '-'"
        problems.append(Problem(field="username", code="wrong_form", message=message))
    if password is not None:
        problems += account_password_problems(password)
    if problems:
        raise ValidationFailed(problems)


def account_password_problems(password: str) -> Iterator[Problem]:
    """Yield what is wrong with an account's password."""
    if not MIN_ACCOUNT_PASSWORD <= len(password) <= MAX_ACCOUNT_PASSWORD:
        message = f"must have {MIN_ACCOUNT_PASSWORD} to {MAX_ACCOUNT_PASSWORD} characters"
        yield Problem(field="password", code="out_of_range", message=message)


def throttle_keys(username: str, address: str) -> Collection[str]:
    """Return what a login counts against: its account, and its client's address.

    Both are digests, for a password typed into the wrong field must not be stored. An IPv6 address counts
    as its /64, all of which belongs to one client.
    """
    return [account_key(username), address_key(address)]


def account_key(username: str) -> str:
    """Return the key of the account alone."""
    return _digest("account", normalized_username(username))


def address_key(address: str) -> str:
    """Return the key of the address alone."""
    return _digest("address", _network_of(address))


def _network_of(address: str) -> str:
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped is not None:
            return str(ip.ipv4_mapped)
        return str(ipaddress.ip_network((ip, 64), strict=False))
    return str(ip)


def _digest(kind: str, text: str) -> str:
    return hashlib.sha256(f"{kind}:{text}".encode("utf-8", "surrogatepass")).hexdigest()
