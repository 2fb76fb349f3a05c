import asyncio
import errno
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pytest

from photochanger.adapters.background_threads import NICENESS
from photochanger.adapters.filesystem import FilesystemMediaStore
from photochanger.domain.errors import StorageUnavailable
from photochanger.domain.media import MediaKind
from tests.small_disk import a_namespace, cannot
from tests.unit.adapters.media_files import BYTES, a_key, fetch, is_absent, listed, put

pytestmark = pytest.mark.anyio

ROOT = Path(__file__).parents[3]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "media of the booth – фото"


@pytest.fixture
def store(root: Path) -> FilesystemMediaStore:
    store = FilesystemMediaStore(root)
    store.check()
    return store


def files_below(root: Path) -> list[Path]:
    return [path for path in root.rglob("*") if not path.is_dir()]


def folders_below(root: Path) -> list[Path]:
    return [path for path in root.rglob("*") if path.is_dir()]


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def test_only_the_owner_can_read(store: FilesystemMediaStore, root: Path) -> None:
    await put(store, a_key())
    assert {path.stat().st_mode & 0o777 for path in files_below(root)} == {0o600}
    assert {path.stat().st_mode & 0o777 for path in folders_below(root)} == {0o700}


@pytest.mark.parametrize(
    "key",
    [
        "",
        "payload",
        "payload/ab",
        f"payload/ac/{'ab' * 16}",
        f"payload/ab/{'ab' * 15}",
        f"payload/ab/{'ab' * 16}.part",
        f"payload/ab/{'ab' * 16}\n",
        f"../payload/ab/{'ab' * 16}",
        f"/payload/ab/{'ab' * 16}",
        f"Payload/ab/{'ab' * 16}",
        f"payload/ab/../ab/{'ab' * 16}",
        "payload/\u0660\u0660/" + "\u0660" * 32,
    ],
)
async def test_no_path_is_made_of_anything_but_a_key(store: FilesystemMediaStore, key: str) -> None:
    with pytest.raises(ValueError, match="not a key"):
        await put(store, key)
    with pytest.raises(ValueError, match="not a key"):
        await fetch(store, key)
    with pytest.raises(ValueError, match="not a key"):
        await store.delete([key])


async def test_a_symlink_in_place_of_a_file_is_not_followed(
    store: FilesystemMediaStore, root: Path, tmp_path: Path
) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret")
    await put(store, a_key())
    (root / a_key()).unlink()
    (root / a_key()).symlink_to(secret)
    assert await is_absent(store, a_key())
    assert await listed(store) == []
    with pytest.raises(FileExistsError):
        await put(store, a_key())
    await store.delete([a_key()])
    assert secret.read_bytes() == b"secret"


async def test_a_symlink_in_place_of_a_part_is_not_followed(
    store: FilesystemMediaStore, root: Path, tmp_path: Path
) -> None:
    await put(store, a_key())
    await store.delete([a_key()])
    (root / f"{a_key()}.part").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(FileExistsError):
        await put(store, a_key())
    assert not (tmp_path / "elsewhere").exists()


async def test_a_symlink_in_place_of_a_folder_is_not_followed(
    store: FilesystemMediaStore, root: Path, tmp_path: Path
) -> None:
    await put(store, a_key())
    (root / "payload").rename(tmp_path / "elsewhere")
    (root / "payload").symlink_to(tmp_path / "elsewhere")
    for attempt in (fetch(store, a_key()), put(store, a_key(2))):
        with pytest.raises(StorageUnavailable):
            await attempt
    assert set(await store.delete([a_key()])) == set()
    assert (tmp_path / "elsewhere" / a_key().removeprefix("payload/")).read_bytes() == BYTES


async def test_a_fifo_in_place_of_a_file_does_not_block(store: FilesystemMediaStore, root: Path) -> None:
    await put(store, a_key())
    (root / a_key()).unlink()
    os.mkfifo(root / a_key())
    assert await is_absent(store, a_key())


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EACCES])
@pytest.mark.parametrize("call", ["write", "fsync", "link", "open"])
async def test_a_failing_disk_is_reported_and_leaves_nothing(
    store: FilesystemMediaStore, root: Path, monkeypatch: pytest.MonkeyPatch, code: int, call: str
) -> None:
    def fail(*args: Any, **kwargs: Any) -> NoReturn:
        raise OSError(code, os.strerror(code))

    await put(store, a_key(1))
    before = open_descriptors()
    with monkeypatch.context() as patch:
        patch.setattr(os, call, fail)
        with pytest.raises(StorageUnavailable) as caught:
            await put(store, a_key(2))
    assert str(root) not in caught.value.message
    assert open_descriptors() == before
    assert await listed(store) == [a_key(1)]
    await put(store, a_key(2))


async def test_a_write_that_failed_half_way_cannot_be_committed(
    store: FilesystemMediaStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.write
    room = [100, 0]

    def write(file: int, data: bytes) -> int:
        if left := room.pop(0):
            return real(file, data[:left])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    async with store.create(a_key()) as writer:
        with monkeypatch.context() as patch:
            patch.setattr(os, "write", write)
            with pytest.raises(StorageUnavailable):
                await writer.write(BYTES)
        with pytest.raises(StorageUnavailable):
            await writer.commit()
    assert await listed(store) == []


MOUNT_AND_RUN = 'mount -t tmpfs -o size=1m none "$0" && exec "$1" -c "$2" "$0"'

FILL_A_SMALL_DISK = """
import asyncio, sys
from pathlib import Path
from photochanger.adapters.filesystem import FilesystemMediaStore
from photochanger.domain.errors import StorageUnavailable
from tests.unit.adapters.media_files import a_key, fetch, listed, put

async def main():
    store = FilesystemMediaStore(Path(sys.argv[1]))
    store.check()
    await put(store, a_key(1), b"x" * 600_000)
    try:
        await put(store, a_key(2), b"x" * 600_000)
    except StorageUnavailable:
        print("full")
    assert await listed(store) == [a_key(1)]
    await store.delete([a_key(1)])
    await put(store, a_key(2), b"x" * 600_000)
    print("healed", len(await fetch(store, a_key(2))))

asyncio.run(main())
"""


def test_a_full_disk_is_reported_and_heals(tmp_path: Path) -> None:
    if not shutil.which("unshare"):
        cannot("mounting needs unshare (Debian: util-linux)")
    done = subprocess.run(
        [*a_namespace(), "sh", "-c", MOUNT_AND_RUN, str(tmp_path), sys.executable, FILL_A_SMALL_DISK],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        cwd=ROOT,
    )
    if "mount:" in done.stderr:
        cannot("mounting is not allowed here")
    assert done.stdout.split() == ["full", "healed", "600000"], done.stderr


WRITE_UNTIL_KILLED = """
import asyncio, sys
from pathlib import Path
from photochanger.adapters.filesystem import FilesystemMediaStore
from tests.unit.adapters.media_files import BYTES, a_key

async def main():
    store = FilesystemMediaStore(Path(sys.argv[1]))
    with store.scratch() as scratch:
        scratch.write(BYTES)
        async with store.create(a_key()) as writer:
            await writer.write(BYTES)
            print("written", flush=True)
            await asyncio.Event().wait()

asyncio.run(main())
"""


def kill_a_writer(root: Path) -> None:
    command = [sys.executable, "-c", WRITE_UNTIL_KILLED, str(root)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"written\n"
        writer.send_signal(signal.SIGKILL)


async def test_what_a_killed_writer_left_is_listed_and_deleted(
    store: FilesystemMediaStore, root: Path
) -> None:
    kill_a_writer(root)
    assert [path.suffix for path in files_below(root)] == [".part"]
    assert await is_absent(store, a_key())
    assert await listed(store) == [a_key()]
    await store.delete([a_key()])
    assert files_below(root) == []
    await put(store, a_key())


FOLDER = "payload/ab"
TOGETHER = [f"{FOLDER}/{'ab' * 15}{number:02x}" for number in range(3)]
"""Keys of one folder."""


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str, int]]:
    """Collect what has been unlinked or synchronised: the call, the path, and the thread."""
    calls: list[tuple[str, str, int]] = []
    unlink, fsync = os.unlink, os.fsync

    def note(call: str, descriptor: int, name: str = "") -> None:
        folder = Path(f"/proc/self/fd/{descriptor}").readlink()
        calls.append((call, "/".join([*folder.parts[-2:], name]), threading.get_ident()))

    def unlink_and_note(name: str, *, dir_fd: int) -> None:
        unlink(name, dir_fd=dir_fd)
        note("unlink", dir_fd, name)

    def fsync_and_note(descriptor: int) -> None:
        fsync(descriptor)
        note("fsync", descriptor)

    monkeypatch.setattr(os, "unlink", unlink_and_note)
    monkeypatch.setattr(os, "fsync", fsync_and_note)
    return calls


async def test_deleting_many_is_durable_with_one_fsync_for_each_folder_and_off_the_loop(
    store: FilesystemMediaStore, calls: list[tuple[str, str, int]]
) -> None:
    apart = a_key(1)
    for key in (*TOGETHER, apart):
        await put(store, key)
    calls.clear()
    assert set(await store.delete([*TOGETHER, apart])) == {*TOGETHER, apart}
    folders = {
        folder: [call for call in calls if call[1].startswith(folder)] for folder in (FOLDER, apart[:-32])
    }
    together, alone = ([(call, path) for call, path, _ in done] for done in folders.values())
    assert together == [*(("unlink", key) for key in TOGETHER), ("fsync", f"{FOLDER}/")]
    assert alone == [("unlink", apart), ("fsync", apart[:-32])]
    assert len(calls) == len(together) + len(alone)
    for done in folders.values():
        assert len({thread for *_, thread in done}) == 1
    assert threading.get_ident() not in {thread for *_, thread in calls}


async def test_what_somebody_else_has_deleted_is_made_durable_too(
    store: FilesystemMediaStore, root: Path, calls: list[tuple[str, str, int]]
) -> None:
    await put(store, TOGETHER[0])
    (root / TOGETHER[0]).rename(root / "taken away")
    calls.clear()
    assert set(await store.delete([TOGETHER[0]])) == {TOGETHER[0]}
    assert [(call, path) for call, path, _ in calls] == [("fsync", f"{FOLDER}/")]


async def test_a_deletion_that_cannot_be_made_durable_is_none(
    store: FilesystemMediaStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, real = open_descriptors(), os.fsync

    def fail_in_one_folder(descriptor: int) -> None:
        if Path(f"/proc/self/fd/{descriptor}").readlink().match(FOLDER):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        real(descriptor)

    for key in (*TOGETHER, a_key(1)):
        await put(store, key)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail_in_one_folder)
        assert set(await store.delete([*TOGETHER, a_key(1)])) == {a_key(1)}
    assert open_descriptors() == before
    assert set(await store.delete(TOGETHER)) == set(TOGETHER)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere threads have no niceness")
async def test_what_waits_for_the_disk_steps_back_behind_the_event_loop(
    store: FilesystemMediaStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen, real, before = set[int](), os.fsync, os.getpriority(os.PRIO_PROCESS, 0)

    def fsync(descriptor: int) -> None:
        seen.add(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    await put(store, a_key(1))
    await store.delete([a_key(1)])

    assert seen == {max(before, NICENESS)}
    assert os.getpriority(os.PRIO_PROCESS, 0) == before


async def test_the_event_loop_does_not_wait_for_a_deletion(
    store: FilesystemMediaStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    unlinking, disk_wakes, real = threading.Event(), threading.Event(), os.unlink

    def hang(name: str, *, dir_fd: int) -> None:
        unlinking.set()
        assert disk_wakes.wait(10)
        real(name, dir_fd=dir_fd)

    await put(store, a_key())
    monkeypatch.setattr(os, "unlink", hang)
    deleting = asyncio.create_task(store.delete([a_key()]))
    await asyncio.to_thread(unlinking.wait)
    assert not deleting.done()
    disk_wakes.set()
    assert set(await deleting) == {a_key()}


async def test_a_folder_that_cannot_be_opened_keeps_only_its_own_files(
    store: FilesystemMediaStore, root: Path
) -> None:
    await put(store, a_key(1))
    (root / FOLDER).parent.mkdir(exist_ok=True)
    (root / FOLDER).write_text("not a folder")
    assert set(await store.delete([*TOGETHER, a_key(1)])) == {a_key(1)}
    assert await listed(store) == []


async def test_a_walk_looks_into_no_folder_that_it_can_pass_over(
    store: FilesystemMediaStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = sorted(
        a_key(number, kind) for number in range(3) for kind in (MediaKind.PAYLOAD, MediaKind.RESULT)
    )
    for key in keys:
        await put(store, key)
    seen, real = [], os.scandir

    def scan(path: Path) -> Any:
        seen.append(path)
        return real(path)

    monkeypatch.setattr(os, "scandir", scan)
    assert [key async for key in store.keys(keys[-2])] == keys[-1:]
    assert len(seen) == 5  # the root, the kind, the folders of the last two, and that of the scratch files
    seen.clear()
    assert [key async for key in store.keys("z")] == []
    assert len(seen) == 1


def wait_for_descriptors(count: int) -> None:
    end = time.monotonic() + 5
    while open_descriptors() > count:
        assert time.monotonic() < end
        time.sleep(0.01)


async def test_cancelling_a_commit_is_prompt_and_leaves_no_file(
    store: FilesystemMediaStore, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await put(store, a_key(1))
    before = open_descriptors()
    syncing, disk_wakes, real = threading.Event(), threading.Event(), os.fsync

    def hang(file: int) -> None:
        syncing.set()
        disk_wakes.wait(10)
        real(file)

    monkeypatch.setattr(os, "fsync", hang)
    task = asyncio.create_task(put(store, a_key(2)))
    await asyncio.to_thread(syncing.wait)
    task.cancel()
    start = time.monotonic()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert time.monotonic() - start < 1
    disk_wakes.set()
    await asyncio.to_thread(wait_for_descriptors, before)
    assert await listed(store) == [a_key(1)]


async def test_memory_does_not_grow_with_the_file(store: FilesystemMediaStore) -> None:
    tracemalloc.start()
    try:
        async with store.create(a_key()) as writer:
            for _ in range(64):
                await writer.write(BYTES)
            await writer.commit()
        async for _chunk in store.read(a_key()):
            pass
        assert tracemalloc.get_traced_memory()[1] < 2 * 1024 * 1024
    finally:
        tracemalloc.stop()


async def test_nothing_leaks_descriptors(store: FilesystemMediaStore) -> None:
    await put(store, a_key())
    before = open_descriptors()
    for number in range(2, 20):
        await put(store, a_key(number))
        await fetch(store, a_key(number))
        async with store.open(a_key(number)), store.create(a_key(100)) as writer:
            writer.contents()
        await store.delete([a_key(number)])
    assert open_descriptors() == before


async def test_scratch_has_no_name(store: FilesystemMediaStore, root: Path) -> None:
    with store.scratch() as file:
        file.write(BYTES)
        file.flush()
        assert files_below(root) == []


async def test_scratch_needs_no_check(root: Path) -> None:
    with FilesystemMediaStore(root).scratch() as file:
        assert file.read() == b""


async def test_foreign_files_are_ignored(store: FilesystemMediaStore, root: Path) -> None:
    await put(store, a_key())
    (root / "README").write_text("mine")
    (root / a_key()).with_name("README").write_text("mine")
    assert await listed(store) == [a_key()]


async def test_check_leaves_nothing(store: FilesystemMediaStore, root: Path) -> None:
    store.check()
    assert files_below(root) == []


def test_check_says_in_one_sentence_what_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageUnavailable) as caught:
        FilesystemMediaStore(tmp_path / "file" / "media").check()
    assert caught.value.message == "The media folder cannot be used: Not a directory"


CHECK = """
import sys
from pathlib import Path
from photochanger.adapters.filesystem import FilesystemMediaStore

FilesystemMediaStore(Path(sys.argv[1])).check()
"""


def test_check_notices_a_folder_of_somebody_else(tmp_path: Path) -> None:
    if not shutil.which("setpriv"):
        cannot("taking root's rights away needs setpriv (Debian: util-linux)")
    (tmp_path / "scratch").mkdir()
    tmp_path.chmod(0o500)
    without_rights = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"] if os.geteuid() == 0 else []
    done = subprocess.run(
        [*without_rights, sys.executable, "-c", CHECK, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        cwd=ROOT,
    )
    tmp_path.chmod(0o700)
    assert "StorageUnavailable: The media folder cannot be used: Permission denied" in done.stderr


def test_check_notices_a_folder_without_hard_links(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: Any, **kwargs: Any) -> NoReturn:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", fail)
    with pytest.raises(StorageUnavailable, match="Operation not permitted"):
        FilesystemMediaStore(root).check()
    assert files_below(root) == []


def test_check_lets_a_full_folder_pass(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: Any, **kwargs: Any) -> NoReturn:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", fail)
        FilesystemMediaStore(root).check()
        assert files_below(root) == []
        patch.setattr(Path, "mkdir", fail)
        with pytest.raises(StorageUnavailable, match="No space left"):
            FilesystemMediaStore(root / "below").check()


@pytest.fixture(
    params=[
        "renamed",
        "an empty folder in its place",
        "a disk of somebody else's in its place",
        "a new store",
    ]
)
def without_its_disk(request: pytest.FixtureRequest, root: Path) -> Callable[[], Callable[[], None]]:
    """Take the root away when called, and bring it back when what that returned is called."""

    def take_away() -> Callable[[], None]:
        elsewhere = root.with_name("elsewhere")
        root.rename(elsewhere)
        if request.param != "renamed":
            root.mkdir()
        if "somebody" in request.param:
            (root / "lost+found").mkdir()
            (root / "README").write_text("mine")
        if "new" in request.param:
            FilesystemMediaStore(root).check()

        def bring_back() -> None:
            if root.exists():
                shutil.rmtree(root)
            elsewhere.rename(root)

        return bring_back

    return take_away


async def test_while_the_disk_is_gone_nothing_counts_as_deleted_and_nothing_is_stored(
    store: FilesystemMediaStore, root: Path, without_its_disk: Callable[[], Callable[[], None]]
) -> None:
    await put(store, a_key(1))
    bring_back = without_its_disk()
    before = sorted(root.rglob("*"))
    for attempt in (
        fetch(store, a_key(1)),
        fetch(store, a_key(2)),
        store.delete([a_key(1)]),
        put(store, a_key(2)),
        listed(store),
        store.ping(),
    ):
        with pytest.raises(StorageUnavailable, match="is its disk mounted"):
            await attempt
    assert sorted(root.rglob("*")) == before
    bring_back()
    await store.ping()
    assert await fetch(store, a_key(1)) == BYTES
    await put(store, a_key(2))
    await store.delete([a_key(1)])
    assert await listed(store) == [a_key(2)]


async def test_a_folder_that_somebody_has_tidied_up_is_used_on(
    store: FilesystemMediaStore, root: Path
) -> None:
    await put(store, a_key(1))
    (root / "scratch").rmdir()
    await store.ping()
    shutil.rmtree(root / "payload")
    assert await is_absent(store, a_key(1))
    await store.delete([a_key(1)])
    await put(store, a_key(1))
    assert await listed(store) == [a_key(1)]
