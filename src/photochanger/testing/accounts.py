"""The contract of `AccountRepository`."""

import asyncio
from dataclasses import replace

import pytest

from photochanger.application.ports.administration import AccountRepository
from photochanger.domain.account import Account
from photochanger.domain.permissions import Permission
from photochanger.testing.harness import AsyncContract

_HASH = "$argon2id$v=19$m=8,t=1,p=1$c2FsdA$aGFzaA"


def an_account(username: str = "serg", *, password_hash: str = _HASH) -> Account:
    """Return an account with two permissions."""
    return Account(
        username=username,
        password_hash=password_hash,
        permissions=frozenset({Permission.SLOTS_READ, Permission.SETTINGS_WRITE}),
    )


class AccountRepositoryContract(AsyncContract):
    """Every sentence of `AccountRepository`; override both fixtures."""

    @pytest.fixture
    def accounts(self) -> AccountRepository:
        """Return a repository without accounts."""
        raise NotImplementedError("override the fixture `accounts`")

    @pytest.fixture
    def elsewhere(self) -> AccountRepository:
        """Return the same accounts as another process would see them."""
        raise NotImplementedError("override the fixture `elsewhere`")

    async def test_at_first_there_are_none(self, accounts: AccountRepository) -> None:
        assert await accounts.list() == []
        assert await accounts.get("serg") is None

    async def test_every_field_is_kept(self, accounts: AccountRepository) -> None:
        for account in (an_account(), replace(an_account("i.g_o-r9"), permissions=frozenset())):
            assert not await accounts.put(account)
            assert await accounts.get(account.username) == account

    async def test_every_permission_can_be_given(self, accounts: AccountRepository) -> None:
        account = replace(an_account(), permissions=frozenset(Permission))
        await accounts.put(account)
        assert await accounts.get("serg") == account

    async def test_they_are_listed_in_the_order_of_their_names(self, accounts: AccountRepository) -> None:
        for username in ("c", "a", "b", "a.b", "a-b"):
            await accounts.put(an_account(username))
        names = [account.username for account in await accounts.list()]
        assert names == ["a", "a-b", "a.b", "b", "c"]

    async def test_an_account_takes_the_place_of_the_one_of_its_name(
        self, accounts: AccountRepository
    ) -> None:
        await accounts.put(an_account())
        changed = an_account(password_hash="$argon2id$v=19$m=8,t=1,p=1$c2FsdA$b3RoZXI")
        assert await accounts.put(changed)
        assert await accounts.list() == [changed]

    async def test_a_removed_account_is_gone(self, accounts: AccountRepository) -> None:
        await accounts.put(an_account("serg"))
        await accounts.put(an_account("igor"))
        assert await accounts.remove("serg")
        assert not await accounts.remove("serg")
        assert await accounts.list() == [an_account("igor")]

    async def test_names_are_taken_as_they_are_given(self, accounts: AccountRepository) -> None:
        await accounts.put(an_account("serg"))
        for other in ("Serg", "serg ", "", "ser", "sergs"):
            assert await accounts.get(other) is None
            assert not await accounts.remove(other)

    async def test_a_change_elsewhere_is_seen_at_once(
        self, accounts: AccountRepository, elsewhere: AccountRepository
    ) -> None:
        for number in range(20):
            account = an_account(password_hash=f"$argon2id$v=19$m=8,t=1,p=1$c2FsdA${number:04}")
            await elsewhere.put(account)
            assert await accounts.get("serg") == account
            assert await accounts.list() == [account]
        await elsewhere.remove("serg")
        assert await accounts.get("serg") is None

    async def test_of_concurrent_changes_none_is_lost(
        self, accounts: AccountRepository, elsewhere: AccountRepository
    ) -> None:
        for number in range(0, 20, 2):
            await accounts.put(an_account(f"n{number:02}"))
        both = (accounts, elsewhere)
        await asyncio.gather(
            *(both[number % 4 // 2].put(an_account(f"n{number:02}")) for number in range(1, 20, 2)),
            *(both[number % 4 // 2].remove(f"n{number:02}") for number in range(0, 20, 2)),
        )
        names = [account.username for account in await accounts.list()]
        assert names == [f"n{number:02}" for number in range(1, 20, 2)]

    async def test_of_concurrent_callers_one_adds_and_one_removes(
        self, accounts: AccountRepository, elsewhere: AccountRepository
    ) -> None:
        both = (accounts, elsewhere)
        added = await asyncio.gather(*(both[n % 2].put(an_account()) for n in range(6)))
        removed = await asyncio.gather(*(both[n % 2].remove("serg") for n in range(6)))
        assert (sorted(added), sorted(removed)) == ([False, *[True] * 5], [*[False] * 5, True])
