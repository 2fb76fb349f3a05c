"""The administrators' accounts in a file that they can edit as well.

    {"accounts": [{"username": "serg", "password_hash": "$argon2id$…", "permissions": ["slots:read", …]}]}

Nobody but its owner may read it. A change counts from the next question on, whoever made it and however.
"""

import asyncio
import fcntl
import json
import logging
import os
import re
import secrets
import stat
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

import msgspec

from photochanger.application.ports.administration import AccountRepository
from photochanger.domain.account import Account, validate_account
from photochanger.domain.errors import Problem, StorageUnavailable, ValidationFailed
from photochanger.domain.permissions import Permission

MAX_BYTES: Final = 1_000_000
LOCK_TIMEOUT_SEC: Final = 5.0

_SETTLED_NS: Final = 2_000_000_000
"""A file that was changed less than this before it was read is read again: a second change might show in
neither its size nor its time, which some file systems keep in steps of two seconds."""

_HASH = re.compile(r"\$[a-z0-9-]+\$\S+", re.ASCII)
_LOGGER = logging.getLogger(__name__)

Accounts: TypeAlias = Mapping[str, Account]


class _Entry(msgspec.Struct, forbid_unknown_fields=True):
    username: str
    password_hash: str
    permissions: tuple[str, ...]


class _Document(msgspec.Struct, forbid_unknown_fields=True):
    accounts: tuple[_Entry, ...]


class _Unfit(Exception):
    """Why the file cannot be used, without anything that it holds but names of fields."""


@dataclass(frozen=True, slots=True)
class _Stamp:
    """What tells one state of the file from another."""

    inode: int
    size: int
    modified_ns: int
    changed_ns: int
    mode: int
    owner: int

    @classmethod
    def of(cls, status: os.stat_result) -> "_Stamp":
        return cls(
            status.st_ino,
            status.st_size,
            status.st_mtime_ns,
            status.st_ctime_ns,
            status.st_mode,
            status.st_uid,
        )


class CredentialsFile(AccountRepository):
    """The accounts in the file at `path`; where there is no file, there are none.

    What is wrong with the file is logged once for each of its states, and told to callers only as
    `StorageUnavailable`.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read: tuple[_Stamp, Accounts] | None = None
        self._complained_of: str | None = None

    async def get(self, username: str) -> Account | None:
        """Return the account, or None where there is none."""
        return (await self._accounts()).get(username)

    async def list(self) -> Sequence[Account]:
        """Return all accounts, in the order of their names."""
        return sorted((await self._accounts()).values(), key=lambda account: account.username)

    async def put(self, account: Account) -> bool:
        """Add the account, or put it in the place of the one of this name."""

        def put(accounts: dict[str, Account]) -> bool:
            was_there = account.username in accounts
            accounts[account.username] = account
            return was_there

        return await self._change(put)

    async def remove(self, username: str) -> bool:
        """Remove the account; False where there is none."""
        return await self._change(lambda accounts: accounts.pop(username, None) is not None)

    def check(self) -> None:
        """Raise `ValidationFailed` with the reason where the file cannot be used."""
        try:
            self._load()
        except (_Unfit, OSError) as reason:
            message = f"{self._path}: {_told(reason)}"
            raise ValidationFailed(
                [Problem(field="CREDENTIALS_FILE", code="invalid", message=message)]
            ) from None

    async def _accounts(self) -> Accounts:
        with self._available():
            if self._read is not None and self._read[0] == self._stamp():
                return self._read[1]
            return await asyncio.to_thread(self._load)

    async def _change(self, change: Callable[[dict[str, Account]], bool]) -> bool:
        with self._available():
            return await asyncio.to_thread(self._change_now, change)

    def _change_now(self, change: Callable[[dict[str, Account]], bool]) -> bool:
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _locked(self._path.with_name(f"{self._path.name}.lock"), like=self._path.parent):
            before = self._load()
            accounts = dict(before)
            told = change(accounts)
            if accounts != before:
                _replace(self._path, _document(accounts))
            return told

    @contextmanager
    def _available(self) -> Iterator[None]:
        try:
            yield
        except (_Unfit, OSError) as reason:
            self._complain(_told(reason))
            raise StorageUnavailable("The accounts cannot be read or changed now") from None
        self._complained_of = None

    def _complain(self, reason: str) -> None:
        if reason != self._complained_of:
            _LOGGER.error("the accounts in %s cannot be used: %s", self._path, reason)
            self._complained_of = reason

    def _stamp(self) -> _Stamp | None:
        try:
            return _Stamp.of(self._path.stat())
        except FileNotFoundError:
            return None

    def _load(self) -> Accounts:
        try:
            descriptor = os.open(self._path, os.O_RDONLY | os.O_NONBLOCK)  # the last for what is a pipe
        except FileNotFoundError:
            self._read = None
            return {}
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            _require_private(status)
            accounts = _parsed(file.read(MAX_BYTES + 1))
        is_settled = time.time_ns() - max(status.st_mtime_ns, status.st_ctime_ns) > _SETTLED_NS
        self._read = (_Stamp.of(status), accounts) if is_settled else None
        return accounts


def _told(reason: _Unfit | OSError) -> str:
    return str(reason) if isinstance(reason, _Unfit) else reason.strerror or type(reason).__name__


def _require_private(status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise _Unfit("it is not a file")
    if status.st_mode & 0o077:
        raise _Unfit("others than its owner may use it: chmod 600")
    if os.geteuid() not in {0, status.st_uid}:
        raise _Unfit("it belongs to another user")


def _parsed(content: bytes) -> Accounts:
    if len(content) > MAX_BYTES:
        raise _Unfit(f"it has more than {MAX_BYTES} bytes")
    try:
        document = msgspec.json.decode(content, type=_Document)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _Unfit(str(error)) from None
    accounts: dict[str, Account] = {}
    for number, entry in enumerate(document.accounts):
        account = _account(entry, f"accounts[{number}]")
        if account.username in accounts:
            raise _Unfit(f"accounts[{number}].username is there twice")
        accounts[account.username] = account
    return accounts


def _account(entry: _Entry, place: str) -> Account:
    try:
        validate_account(entry.username)
    except ValidationFailed as failed:
        raise _Unfit(f"{place}.{failed}") from None
    if not _HASH.fullmatch(entry.password_hash):
        raise _Unfit(f"{place}.password_hash is not what `photochanger hash-password` prints")
    unknown = [n for n, name in enumerate(entry.permissions) if name not in Permission.__members__.values()]
    if unknown:
        raise _Unfit(f"{place}.permissions[{unknown[0]}] is not a permission that there is")
    return Account(
        username=entry.username,
        password_hash=entry.password_hash,
        permissions=frozenset(map(Permission, entry.permissions)),
    )


def _document(accounts: Accounts) -> str:
    entries = [
        {
            "username": account.username,
            "password_hash": account.password_hash,
            "permissions": [permission for permission in Permission if permission in account.permissions],
        }
        for account in accounts.values()
    ]
    return json.dumps({"accounts": entries}, indent=2) + "\n"


@contextmanager
def _locked(path: Path, *, like: Path) -> Iterator[None]:
    """Keep all other processes and threads out; the lock ends with its holder, however that ends."""
    with os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "wb") as file:
        _give_to_owner_of(like, file.fileno())
        patience_ends = time.monotonic() + LOCK_TIMEOUT_SEC
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > patience_ends:
                    raise _Unfit("another process is changing it and does not come to an end") from None
                time.sleep(0.01)
        yield


def _replace(path: Path, content: str) -> None:
    """Put a file in the place of another, whole or not at all, readable by the same owner alone."""
    path = path.resolve()  # a symbolic link stays one
    part = path.with_name(f"{path.name}.{secrets.token_hex(4)}.part")
    try:
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            _give_to_owner_of(path if path.exists() else path.parent, file.fileno())
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    _sync_folder(path.parent)


def _give_to_owner_of(example: Path, descriptor: int) -> None:
    """Root works for others: what it writes must be readable by the user that the server runs as."""
    if os.geteuid() == 0:
        status = example.stat()
        os.fchown(descriptor, status.st_uid, status.st_gid)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
