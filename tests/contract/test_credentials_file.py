"""The credentials file, held to the port's contract; and what may be wrong with it."""

import asyncio
import json
import logging
import multiprocessing
import os
from pathlib import Path
from typing import Any, Final

import pytest

from photochanger.adapters import credentials_file
from photochanger.adapters.credentials_file import CredentialsFile
from photochanger.application.ports import AccountRepository
from photochanger.domain.errors import StorageUnavailable, ValidationFailed
from photochanger.domain.permissions import Permission
from photochanger.testing.accounts import AccountRepositoryContract, an_account

pytestmark = pytest.mark.anyio

CANARY: Final = "canary-7f3a"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "secrets" / "credentials.json"


class TestCredentialsFile(AccountRepositoryContract):
    @pytest.fixture
    def accounts(self, path: Path) -> AccountRepository:
        return CredentialsFile(path)

    @pytest.fixture
    def elsewhere(self, path: Path) -> AccountRepository:
        return CredentialsFile(path)


def entry(**changes: Any) -> dict[str, Any]:
    good = {"username": "serg", "password_hash": "$argon2id$v=19$hash", "permissions": ["slots:read"]}
    return good | changes


def write(path: Path, content: object, *, mode: int = 0o600) -> None:
    path.parent.mkdir(exist_ok=True)
    text = content if isinstance(content, str) else json.dumps(content)
    path.write_text(text, encoding="utf-8", errors="surrogateescape")
    path.chmod(mode)


def everything_is_settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every file count as one that nobody has touched for a while."""
    monkeypatch.setattr(credentials_file, "_SETTLED_NS", -(10**18))


async def test_it_is_read_as_the_first_start_writes_it(path: Path) -> None:
    write(path, {"accounts": [entry(permissions=[permission.value for permission in Permission])]})
    [account] = await CredentialsFile(path).list()
    assert (account.username, account.permissions) == ("serg", frozenset(Permission))


async def test_it_stays_readable_for_people_and_only_for_its_owner(path: Path) -> None:
    write(path, {"accounts": [entry(username="b"), entry(username="a")]})
    await CredentialsFile(path).put(an_account("c"))
    assert [list(each) for each in json.loads(path.read_text())["accounts"]] == [
        ["username", "password_hash", "permissions"]
    ] * 3
    assert [each["username"] for each in json.loads(path.read_text())["accounts"]] == ["b", "a", "c"]
    assert path.read_text().count("\n") > 10
    assert {each.stat().st_mode & 0o777 for each in path.parent.iterdir()} == {0o600}
    assert {each.name for each in path.parent.iterdir()} == {"credentials.json", "credentials.json.lock"}


async def test_a_folder_that_is_made_is_its_owners_alone(path: Path) -> None:
    await CredentialsFile(path).put(an_account())
    assert path.parent.stat().st_mode & 0o777 == 0o700


async def test_a_link_stays_a_link(path: Path, tmp_path: Path) -> None:
    write(path, {"accounts": []})
    link = tmp_path / "link.json"
    link.symlink_to(path)
    await CredentialsFile(link).put(an_account())
    assert link.is_symlink()
    assert await CredentialsFile(path).list() == [an_account()]


async def test_an_edit_in_place_is_seen_even_where_neither_size_nor_time_tell(path: Path) -> None:
    write(path, {"accounts": [entry()]})
    accounts = CredentialsFile(path)
    at = path.stat().st_mtime_ns
    for name in ("igor", "olga", "anna"):
        write(path, {"accounts": [entry(username=name)]})
        os.utime(path, ns=(at, at))
        assert [account.username for account in await accounts.list()] == [name]


async def test_a_file_at_rest_is_read_once(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(path, {"accounts": [entry()]})
    reads = 0
    parsed = credentials_file._parsed

    def counted(content: bytes) -> Any:
        nonlocal reads
        reads += 1
        return parsed(content)

    monkeypatch.setattr(credentials_file, "_parsed", counted)
    everything_is_settled(monkeypatch)
    accounts = CredentialsFile(path)
    for _ in range(5):
        assert await accounts.get("serg")
    assert reads == 1
    write(path, {"accounts": []})
    assert await accounts.get("serg") is None
    path.unlink()
    assert await accounts.list() == []


UNFIT: Final[dict[str, tuple[object, str]]] = {
    "empty": ("", "truncated"),
    "not JSON": ("{", "truncated"),
    "not UTF-8": ('{"accounts": [{"username": "\udcff"}]}', "utf-8"),
    "a list": ([], "Expected `object`"),
    "no accounts": ({}, "`accounts`"),
    "another field": ({"accounts": [], CANARY[:6]: 1}, "unknown field"),
    "a field that an account does not have": (
        {"accounts": [entry(password=CANARY)]},
        "unknown field `password`",
    ),
    "no name": ({"accounts": [{"password_hash": "$a$b", "permissions": []}]}, "`username`"),
    "a name in capitals": ({"accounts": [entry(username=f"A{CANARY}")]}, "accounts[0].username: must have"),
    "an empty name": ({"accounts": [entry(username="")]}, "accounts[0].username: must have"),
    "a name twice": ({"accounts": [entry(), entry()]}, "accounts[1].username is there twice"),
    "a name that is a number": ({"accounts": [entry(username=7)]}, "Expected `str`"),
    "a password in clear": ({"accounts": [entry(password_hash=CANARY)]}, "accounts[0].password_hash is not"),
    "no hash": ({"accounts": [entry(password_hash=None)]}, "Expected `str`"),
    "an unknown permission": (
        {"accounts": [entry(permissions=["slots:read", CANARY])]},
        "accounts[0].permissions[1] is not",
    ),
    "permissions as text": ({"accounts": [entry(permissions="slots:read")]}, "Expected `array`"),
    "too long": (" " * 1_000_001, "more than 1000000 bytes"),
}


@pytest.mark.parametrize("name", UNFIT)
async def test_a_file_with_a_mistake_is_refused_with_the_reason_and_nothing_of_its_content(
    path: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    content, reason = UNFIT[name]
    write(path, content)
    accounts = CredentialsFile(path)
    for _ in range(3):
        with pytest.raises(StorageUnavailable):
            await accounts.get("serg")
    with pytest.raises(StorageUnavailable) as refused:
        await accounts.list()
    with pytest.raises(StorageUnavailable):
        await accounts.put(an_account("igor"))
    with pytest.raises(ValidationFailed) as failed:
        accounts.check()
    [line] = caplog.messages
    assert reason in line
    assert reason in str(failed.value)
    assert str(path) in line
    for told in (line, str(failed.value), str(refused.value)):
        assert CANARY not in told
    assert str(path) not in str(refused.value)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o606, 0o610, 0o620, 0o777])
async def test_a_file_that_others_may_use_is_refused(
    path: Path, mode: int, caplog: pytest.LogCaptureFixture
) -> None:
    write(path, {"accounts": [entry()]})
    accounts = CredentialsFile(path)
    assert await accounts.get("serg")
    path.chmod(mode)
    with pytest.raises(StorageUnavailable):
        await accounts.get("serg")
    assert "chmod 600" in caplog.text
    path.chmod(0o600)
    assert await accounts.get("serg")
    accounts.check()


async def test_a_cached_file_is_refused_as_soon_as_others_may_read_it(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    everything_is_settled(monkeypatch)
    write(path, {"accounts": [entry()]})
    accounts = CredentialsFile(path)
    assert await accounts.get("serg")
    path.chmod(0o644)
    with pytest.raises(StorageUnavailable):
        await accounts.get("serg")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to somebody else")
async def test_somebody_elses_file_is_refused_except_by_root(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(path, {"accounts": [entry()]})
    os.chown(path, 4711, 4711)
    assert await CredentialsFile(path).get("serg")
    monkeypatch.setattr(os, "geteuid", lambda: 4712)
    with pytest.raises(StorageUnavailable):
        await CredentialsFile(path).get("serg")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to somebody else")
async def test_what_root_changes_stays_its_owners(path: Path) -> None:
    write(path, {"accounts": [entry()]})
    os.chown(path, 4711, 4711)
    os.chown(path.parent, 4711, 4711)
    await CredentialsFile(path).put(an_account("igor"))
    assert {each.stat().st_uid for each in path.parent.iterdir()} == {4711}


async def test_what_is_no_file_is_refused(path: Path) -> None:
    path.mkdir(parents=True, mode=0o700)
    with pytest.raises(StorageUnavailable):
        await CredentialsFile(path).get("serg")
    path.rmdir()
    os.mkfifo(path, mode=0o600)
    with pytest.raises(StorageUnavailable):
        await CredentialsFile(path).get("serg")


async def test_a_complaint_is_repeated_when_the_mistake_comes_back(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    accounts = CredentialsFile(path)
    for _ in range(2):
        write(path, "{")
        with pytest.raises(StorageUnavailable):
            await accounts.list()
        write(path, {"accounts": []})
        assert await accounts.list() == []
    assert [record.levelno for record in caplog.records] == [logging.ERROR] * 2


async def test_a_change_that_fails_leaves_the_file_as_it_was(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(path, {"accounts": [entry()]})
    before = path.read_bytes()

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageUnavailable):
        await CredentialsFile(path).put(an_account("igor"))
    assert path.read_bytes() == before
    assert {each.suffix for each in path.parent.iterdir()} == {".json", ".lock"}


async def test_nobody_waits_for_ever_for_a_change_that_does_not_end(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(credentials_file, "LOCK_TIMEOUT_SEC", 0.05)
    write(path, {"accounts": []})
    with credentials_file._locked(path.with_name("credentials.json.lock"), like=path.parent):
        with pytest.raises(StorageUnavailable):
            await CredentialsFile(path).put(an_account())
        assert await CredentialsFile(path).list() == []
    assert "does not come to an end" in caplog.text


def _put_some(path: Path, worker: int) -> None:
    async def put_some() -> None:
        accounts = CredentialsFile(path)
        for number in range(10):
            await accounts.put(an_account(f"w{worker}-{number}"))

    asyncio.run(put_some())


async def test_of_the_changes_of_several_processes_none_is_lost(path: Path) -> None:
    processes = [
        multiprocessing.get_context("spawn").Process(target=_put_some, args=(path, n)) for n in range(3)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0] * 3
    assert len(await CredentialsFile(path).list()) == 30


def test_a_missing_file_passes_the_check(path: Path) -> None:
    CredentialsFile(path).check()
