"""Whose the files are: found out when a process starts."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import BinaryIO

import pytest

from photochanger.adapters.filesystem import FilesystemMediaStore
from photochanger.adapters.memory import MemoryInstallation, MemoryMediaStore
from photochanger.application import media_ownership
from photochanger.application.media_ownership import MARK_KEY, AdoptMedia, CheckMediaOwner, Owner
from photochanger.application.ports import MediaStore, MediaWriter
from photochanger.domain.errors import StorageUnavailable
from photochanger.domain.media import StoredFile, parse_media_key
from tests.unit.adapters.media_files import a_key, fetch, listed, put

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def _brief_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(media_ownership, "_PAUSE_SEC", 0.001)


@pytest.fixture
def installation() -> MemoryInstallation:
    return MemoryInstallation()


@pytest.fixture
def store(tmp_path: Path) -> FilesystemMediaStore:
    """A store in which a killed writer leaves something."""
    store = FilesystemMediaStore(tmp_path)
    store.check()
    return store


def test_the_mark_is_no_media_file() -> None:
    assert parse_media_key(MARK_KEY) is None


async def test_a_store_of_nobodys_becomes_this_installations(
    store: MediaStore, installation: MemoryInstallation
) -> None:
    await put(store, a_key())
    check = CheckMediaOwner(installation=installation, store=store)
    await check()
    assert (await fetch(store, MARK_KEY)).decode() == await installation.get_id()
    await check()
    assert set(await listed(store)) == {a_key(), MARK_KEY}


@pytest.mark.parametrize("mark", [None, b"", b"\xff" * 32, b"0" * 100])
async def test_a_store_of_anothers_is_refused_and_left_as_it_is(
    store: MediaStore, installation: MemoryInstallation, mark: bytes | None
) -> None:
    content = (await MemoryInstallation().get_id()).encode() if mark is None else mark
    await put(store, MARK_KEY, content)
    with pytest.raises(StorageUnavailable) as refused:
        await CheckMediaOwner(installation=installation, store=store)()
    assert "belongs to another database" in refused.value.message
    assert "photochanger adopt-media" in refused.value.message
    assert await fetch(store, MARK_KEY) == content


async def test_a_store_that_lost_its_mark_is_refused_and_not_marked_again(
    store: MediaStore, installation: MemoryInstallation
) -> None:
    check = CheckMediaOwner(installation=installation, store=store)
    await check()
    await store.delete([MARK_KEY])
    with pytest.raises(StorageUnavailable) as refused:
        await check()
    for told in ("lost its mark", "mounted?", "photochanger adopt-media"):
        assert told in refused.value.message
    assert await listed(store) == []


async def test_a_mark_that_was_not_remembered_is_remembered(
    store: MediaStore, installation: MemoryInstallation
) -> None:
    await put(store, MARK_KEY, (await installation.get_id()).encode())
    await CheckMediaOwner(installation=installation, store=store)()
    assert await installation.has_marked_media()


async def test_a_refused_store_is_not_remembered_as_marked(
    store: MediaStore, installation: MemoryInstallation
) -> None:
    await put(store, MARK_KEY, b"0" * 32)
    with pytest.raises(StorageUnavailable):
        await CheckMediaOwner(installation=installation, store=store)()
    assert not await installation.has_marked_media()


async def test_requiring_the_mark_changes_nothing(
    store: MediaStore, installation: MemoryInstallation
) -> None:
    check = CheckMediaOwner(installation=installation, store=store)
    with pytest.raises(StorageUnavailable, match="lost its mark"):
        await check.require()
    assert (await listed(store), await installation.has_marked_media()) == ([], False)
    await check()
    await check.require()
    with pytest.raises(StorageUnavailable, match="another database"):
        await CheckMediaOwner(installation=MemoryInstallation(), store=store).require()


async def test_what_the_refusals_advise_helps(store: MediaStore, installation: MemoryInstallation) -> None:
    check = CheckMediaOwner(installation=installation, store=store)
    adopt = AdoptMedia(installation=installation, store=store)
    await put(store, a_key())
    await CheckMediaOwner(installation=MemoryInstallation(), store=store)()
    with pytest.raises(StorageUnavailable, match="photochanger adopt-media"):
        await check()
    assert await adopt() is Owner.ANOTHER_DATABASE
    await check()
    await store.delete([MARK_KEY])
    with pytest.raises(StorageUnavailable, match="photochanger adopt-media"):
        await check()
    assert await adopt() is Owner.NOBODY
    assert await adopt() is Owner.THIS_DATABASE
    await check()
    assert (await fetch(store, MARK_KEY)).decode() == await installation.get_id()
    assert set(await listed(store)) == {a_key(), MARK_KEY}


async def test_an_adoption_is_remembered(store: MediaStore, installation: MemoryInstallation) -> None:
    await AdoptMedia(installation=installation, store=store)()
    await store.delete([MARK_KEY])
    with pytest.raises(StorageUnavailable, match="lost its mark"):
        await CheckMediaOwner(installation=installation, store=store)()


async def test_a_mark_that_cannot_be_replaced_is_told_and_not_remembered(
    installation: MemoryInstallation,
) -> None:
    store = MemoryMediaStore()
    store.put(MARK_KEY, b"0" * 32)
    store.stuck.add(MARK_KEY)
    with pytest.raises(StorageUnavailable, match="could not be marked"):
        await AdoptMedia(installation=installation, store=store)()
    assert not await installation.has_marked_media()


async def test_an_editor_may_have_ended_the_line(store: MediaStore, installation: MemoryInstallation) -> None:
    await put(store, MARK_KEY, (await installation.get_id()).encode() + b"\n")
    await CheckMediaOwner(installation=installation, store=store)()


async def test_of_several_at_once_one_gets_the_store(store: MediaStore) -> None:
    installations = [MemoryInstallation() for _ in range(8)]
    outcomes = await asyncio.gather(
        *(CheckMediaOwner(installation=each, store=store)() for each in installations), return_exceptions=True
    )
    owner = (await fetch(store, MARK_KEY)).decode()
    for installation, outcome in zip(installations, outcomes, strict=True):
        is_owner = await installation.get_id() == owner
        assert outcome is None if is_owner else isinstance(outcome, StorageUnavailable)
    assert outcomes.count(None) == 1


async def test_several_processes_of_one_installation_may_start_at_once(
    store: MediaStore, installation: MemoryInstallation
) -> None:
    await asyncio.gather(*(CheckMediaOwner(installation=installation, store=store)() for _ in range(8)))
    assert (await fetch(store, MARK_KEY)).decode() == await installation.get_id()


async def test_what_a_killed_first_start_left_is_not_in_the_way(
    store: FilesystemMediaStore, installation: MemoryInstallation, tmp_path: Path
) -> None:
    part = tmp_path / f"{MARK_KEY}.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(b"0123")
    await asyncio.gather(*(CheckMediaOwner(installation=installation, store=store)() for _ in range(3)))
    assert (await fetch(store, MARK_KEY)).decode() == await installation.get_id()
    assert not part.exists()


class _Late(MediaWriter):
    """The writer of somebody who was not the first."""

    async def write(self, chunk: bytes | bytearray | memoryview) -> None:
        pass

    def contents(self) -> BinaryIO:
        raise NotImplementedError

    async def commit(self) -> StoredFile:
        raise FileExistsError


class _SlowStore(MemoryMediaStore):
    """Somebody else has begun to write the mark, and is done when it has been tried three times."""

    def __init__(self, theirs: str) -> None:
        super().__init__()
        self._theirs = theirs
        self.begun = 0

    @asynccontextmanager
    async def create(self, key: str) -> AsyncIterator[MediaWriter]:
        self.begun += 1
        if self.begun == 3:
            self.put(key, self._theirs.encode())
        yield _Late()


async def test_somebody_elses_mark_is_waited_for(installation: MemoryInstallation) -> None:
    ours = _SlowStore(await installation.get_id())
    await CheckMediaOwner(installation=installation, store=ours)()
    assert ours.begun == 3
    with pytest.raises(StorageUnavailable, match="another database"):
        await CheckMediaOwner(installation=MemoryInstallation(), store=_SlowStore("0" * 32))()


async def test_a_store_that_cannot_be_marked_is_refused(installation: MemoryInstallation) -> None:
    with pytest.raises(StorageUnavailable):
        await CheckMediaOwner(installation=installation, store=MemoryMediaStore(capacity_bytes=10))()
    stuck = _SlowStore("")
    stuck.begun = 3
    with pytest.raises(StorageUnavailable, match="could not be marked"):
        await CheckMediaOwner(installation=installation, store=stuck)()
