"""The administrators' accounts in memory."""

from collections.abc import Sequence

from photochanger.application.ports.administration import AccountRepository
from photochanger.domain.account import Account


class MemoryAccountRepository(AccountRepository):
    """The accounts, in a dictionary."""

    def __init__(self) -> None:
        self._accounts: dict[str, Account] = {}

    async def get(self, username: str) -> Account | None:
        """Return the account, or None where there is none."""
        return self._accounts.get(username)

    async def list(self) -> Sequence[Account]:
        """Return all accounts, in the order of their names."""
        return [self._accounts[username] for username in sorted(self._accounts)]

    async def put(self, account: Account) -> bool:
        """Add the account, or put it in the place of the one of this name."""
        was_there = account.username in self._accounts
        self._accounts[account.username] = account
        return was_there

    async def remove(self, username: str) -> bool:
        """Remove the account; False where there is none."""
        return self._accounts.pop(username, None) is not None
