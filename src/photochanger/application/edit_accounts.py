"""Adding and removing the accounts of administrators."""

from collections.abc import Collection

from photochanger.application.ports.administration import AccountRepository, AuditLog
from photochanger.application.ports.auth import PasswordHasher
from photochanger.domain.account import Account, normalized_username, validate_account
from photochanger.domain.audit import Actor, AuditAction, AuditEntry, Change, JsonValue, changes_between
from photochanger.domain.errors import Problem, ValidationFailed
from photochanger.domain.permissions import Permission


class EditAccounts:
    """Changes the accounts, and records who did it. A changed or removed account's sessions end with it."""

    def __init__(self, *, accounts: AccountRepository, hasher: PasswordHasher, audit: AuditLog) -> None:
        self._accounts = accounts
        self._hasher = hasher
        self._audit = audit

    async def find(self, username: str) -> Account:
        """Return the account, whatever the spelling. Raises `ValidationFailed` where there is none."""
        account = await self._accounts.get(normalized_username(username))
        if account is None:
            raise _refused("unknown", "there is no such account")
        return account

    async def add(
        self,
        username: str,
        password: str,
        permissions: Collection[Permission],
        *,
        replaces: bool = False,
        actor: Actor,
    ) -> Account:
        """Add an account, or with `replaces` put it in the place of the one of this name, if any.

        Raises `ValidationFailed` for a name or a password that cannot be, and for a name that is taken.
        """
        name = normalized_username(username)
        validate_account(name, password)
        before = await self._accounts.get(name)
        if before is not None and not replaces:
            raise _refused("taken", "there is already an account of this name")
        account = Account(
            username=name,
            password_hash=await self._hasher.hash(password),
            permissions=frozenset(permissions),
        )
        was_there = await self._accounts.put(account)
        await self._record(
            AuditAction.ACCOUNT_CHANGED if was_there else AuditAction.ACCOUNT_ADDED, before, account, actor
        )
        return account

    async def remove(self, username: str, *, actor: Actor) -> Account:
        """Remove the account, and return what it was. Raises `ValidationFailed` where there is none."""
        account = await self.find(username)
        if not await self._accounts.remove(account.username):
            raise _refused("unknown", "there is no such account")
        await self._record(AuditAction.ACCOUNT_REMOVED, account, None, actor)
        return account

    async def _record(
        self, action: AuditAction, before: Account | None, after: Account | None, actor: Actor
    ) -> None:
        subject = after or before
        entry = AuditEntry(
            action=action,
            actor=actor,
            subject="" if subject is None else subject.username,
            changes={} if after is None else _changes(before, after),
        )
        await self._audit.add(entry)


def _changes(before: Account | None, after: Account) -> dict[str, Change]:
    old = {} if before is None else {"permissions": _names(before)}
    password = Change("not set" if before is None else "set", "set anew")
    return changes_between(old, {"permissions": _names(after)}) | {"password": password}


def _names(account: Account) -> list[JsonValue]:
    return [permission.value for permission in sorted(account.permissions)]


def _refused(code: str, message: str) -> ValidationFailed:
    return ValidationFailed([Problem(field="username", code=code, message=message)])
