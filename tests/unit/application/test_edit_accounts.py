"""Adding, replacing and removing accounts."""

import pytest

from photochanger.adapters.memory import (
    FastPasswordHasherForTests,
    ManualClock,
    MemoryAccountRepository,
    MemoryStorage,
)
from photochanger.application.edit_accounts import EditAccounts
from photochanger.application.ports import AuditFilter
from photochanger.domain.audit import Actor, AuditAction, AuditEntry, Change
from photochanger.domain.errors import ValidationFailed
from photochanger.domain.permissions import Permission

pytestmark = pytest.mark.anyio

PASSWORD = "correct horse"
OPERATOR = Actor(name="root", origin="command line")
READ = {Permission.SLOTS_READ}


class Office:
    def __init__(self) -> None:
        self.accounts = MemoryAccountRepository()
        self.audit = MemoryStorage(ManualClock()).audit
        self.hasher = FastPasswordHasherForTests()
        self.edit = EditAccounts(accounts=self.accounts, hasher=self.hasher, audit=self.audit)

    async def entries(self) -> list[AuditEntry]:
        return [event.entry for event in await self.audit.page(AuditFilter(), limit=10)]


@pytest.fixture
def office() -> Office:
    return Office()


async def test_an_account_is_added_under_its_normal_name_and_recorded(office: Office) -> None:
    added = await office.edit.add(" Serg", PASSWORD, READ, actor=OPERATOR)

    assert await office.accounts.get("serg") == added
    assert await office.hasher.verify(PASSWORD, added.password_hash)
    [entry] = await office.entries()
    assert (entry.action, entry.actor, entry.subject) == (AuditAction.ACCOUNT_ADDED, OPERATOR, "serg")
    assert entry.changes == {
        "permissions": Change(None, ["slots:read"]),
        "password": Change("not set", "set anew"),
    }
    assert PASSWORD not in str(entry)
    assert added.password_hash not in str(entry)


async def test_a_name_that_is_taken_is_refused_unless_it_is_to_be_replaced(office: Office) -> None:
    before = await office.edit.add("serg", PASSWORD, READ, actor=OPERATOR)

    with pytest.raises(ValidationFailed, match="username: there is already"):
        await office.edit.add("SERG", PASSWORD, set(Permission), actor=OPERATOR)
    assert await office.accounts.get("serg") == before
    after = await office.edit.add("serg", PASSWORD, READ, replaces=True, actor=OPERATOR)

    assert after.fingerprint != before.fingerprint
    [changed, _] = await office.entries()
    assert changed.action is AuditAction.ACCOUNT_CHANGED
    assert changed.changes == {"password": Change("set", "set anew")}


async def test_a_name_and_a_password_that_cannot_be_are_refused_together(office: Office) -> None:
    with pytest.raises(ValidationFailed) as failed:
        await office.edit.add("no such/name", "short", READ, actor=OPERATOR)

    assert [problem.field for problem in failed.value.problems] == ["username", "password"]
    assert await office.entries() == []


async def test_an_account_is_found_and_removed_in_any_spelling(office: Office) -> None:
    added = await office.edit.add("serg", PASSWORD, READ, actor=OPERATOR)

    assert await office.edit.find("Serg ") == added
    assert await office.edit.remove("ＳＥＲＧ", actor=OPERATOR) == added

    assert await office.accounts.list() == []
    [removed, _] = await office.entries()
    assert (removed.action, removed.subject, removed.changes) == (AuditAction.ACCOUNT_REMOVED, "serg", {})


async def test_an_account_that_is_not_there_is_neither_found_nor_removed(office: Office) -> None:
    for attempt in (office.edit.find("serg"), office.edit.remove("serg", actor=OPERATOR)):
        with pytest.raises(ValidationFailed, match="there is no such account"):
            await attempt
    assert await office.entries() == []
