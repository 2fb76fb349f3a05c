"""How processes end when they are asked to: in order, in time, and with nothing left half done."""

import asyncio
import signal
import socket
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from photochanger.domain.job import JobState
from photochanger.entrypoints.cli.processes import Process, ServeProcess
from tests.resilience.trouble import photo_to
from tests.resilience.workers import working
from tests.system.administration import ask, read
from tests.system.installation import SLOT, Installation, eventually, states

pytestmark = [pytest.mark.anyio, pytest.mark.system]

ENDING = [signal.SIGTERM, signal.SIGINT]


async def wait_for(process: Process) -> int:
    return await asyncio.to_thread(process.wait)


async def are_under_way(installation: Installation, count: int = 1) -> None:
    async def they_are() -> bool:
        found = [job for job in await installation.jobs() if job.state is JobState.PROCESSING]
        return len(found) == count

    await eventually(they_are, within_sec=60)


async def has_noticed(process: Process, number: signal.Signals) -> None:
    """Wait until a signal is not pending any more: a second one would be merged with it (signal(7))."""
    status = Path(f"/proc/{process.pid}/status")

    async def it_has() -> bool:
        fields = dict(line.split(":\t", 1) for line in status.read_text().splitlines())
        return not int(fields["ShdPnd"], 16) & 1 << (number - 1)

    await eventually(it_has)


async def test_a_server_that_drains_is_not_ready_and_takes_photos_all_the_same(
    installation: Installation,
) -> None:
    await installation.set_up({"effect": "none"})
    server = await asyncio.to_thread(installation.serve, variables={"DRAIN_SEC": "4"})
    assert (await ask(server, "GET", "/readyz")).status == 200
    server.send_signal(signal.SIGTERM)

    async def not_ready() -> bool:
        answer = await ask(server, "GET", "/readyz")
        return answer.status == 503 and read(answer)["problems"] == ["shutting_down"]

    await eventually(not_ready)
    answer = await ask(server, "GET", "/livez")
    assert (answer.status, answer["connection"]) == (200, "close")
    assert (await photo_to(server, SLOT)).status == 200
    assert await wait_for(server) == 0


async def test_those_who_knock_while_the_server_closes_are_heard_or_refused(
    installation: Installation,
) -> None:
    """Never let in and then put out, which would look like a lost photo."""
    await installation.set_up({"effect": "none"})
    server = await asyncio.to_thread(installation.serve, variables={"DRAIN_SEC": "1"})
    outcomes: list[str] = []

    async def knock() -> None:
        while server.exit_status is None:
            try:
                outcomes.append(str((await ask(server, "GET", "/livez")).status))
            except ConnectionRefusedError:
                outcomes.append("refused")
                return
            except (OSError, asyncio.IncompleteReadError) as error:
                outcomes.append(type(error).__name__)

    knocking = [asyncio.create_task(knock()) for _ in range(8)]
    await eventually(lambda: _some(outcomes))
    server.send_signal(signal.SIGTERM)

    assert await wait_for(server) == 0
    await asyncio.gather(*knocking)
    expected = {"200", "refused"} if sys.platform == "linux" else set(outcomes)
    assert set(outcomes) <= expected


async def _some(outcomes: list[str]) -> bool:
    return len(outcomes) > 8


@pytest.mark.parametrize("number", ENDING)
async def test_what_has_nothing_to_do_ends_at_once(
    installation: Installation, number: signal.Signals
) -> None:
    server, worker = await asyncio.gather(asyncio.to_thread(installation.serve), working(installation))
    for process in (server, worker):
        process.send_signal(number)
        assert await wait_for(process) == 0


async def test_a_worker_finishes_its_jobs_and_takes_no_more(installation: Installation) -> None:
    await installation.set_up({"effect": "none", "delay_ms": 1500}, timeout_sec=60)
    server = await asyncio.to_thread(installation.serve, "--no-worker")
    worker = await working(installation, workers=1)
    first, second = (asyncio.create_task(photo_to(server, SLOT)) for _ in range(2))
    await are_under_way(installation)
    worker.send_signal(signal.SIGTERM)

    assert await wait_for(worker) == 0
    ended = await installation.jobs()
    assert states(ended) == {JobState.COMPLETED, JobState.PENDING}
    await working(installation)
    assert {(await first).status, (await second).status} == {200}
    assert {job.fence for job in await installation.jobs()} == {1}, "no job was begun twice"


@pytest.mark.parametrize("number", ENDING)
async def test_a_worker_that_is_asked_twice_hands_its_jobs_back_to_be_taken_at_once(
    installation: Installation, number: signal.Signals
) -> None:
    await installation.set_up({"effect": "none", "delay_ms": 3000}, timeout_sec=60)
    server = await asyncio.to_thread(installation.serve, "--no-worker")
    worker = await working(installation)
    sending = asyncio.create_task(photo_to(server, SLOT))
    await are_under_way(installation)
    worker.send_signal(signal.SIGTERM)
    await has_noticed(worker, signal.SIGTERM)
    worker.send_signal(number)

    assert await wait_for(worker) == 130
    [job] = await installation.jobs()
    assert job.state is JobState.PENDING, "no lease has to lapse first"
    await working(installation)
    assert (await sending).status == 200


async def test_a_server_finishes_jobs_that_others_wait_for(installation: Installation) -> None:
    """Their requests are held elsewhere: none of ours is, and yet their pictures are paid for."""
    await installation.set_up({"effect": "none", "delay_ms": 1500}, timeout_sec=60)
    other = await asyncio.to_thread(installation.serve, "--no-worker")
    server = await asyncio.to_thread(installation.serve)
    sending = [asyncio.create_task(photo_to(other, SLOT)) for _ in range(3)]
    await are_under_way(installation, 3)
    server.send_signal(signal.SIGTERM)

    assert await wait_for(server) == 0
    assert {(await each).status for each in sending} == {200}
    assert {job.fence for job in await installation.jobs()} == {1}


@asynccontextmanager
async def silent_database() -> AsyncIterator[str]:
    """A server that takes connections and says nothing."""
    knocked = asyncio.Event()

    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        knocked.set()
        await reader.read()
        writer.close()

    server = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
    yield f"postgresql://nobody@127.0.0.1:{server.sockets[0].getsockname()[1]}/nowhere"
    assert knocked.is_set()
    server.close()


@pytest.mark.parametrize("command", ["serve", "worker"])
async def test_a_start_that_waits_for_its_database_can_be_ended(tmp_path: Path, command: str) -> None:
    async with silent_database() as url:
        installation = Installation(tmp_path / "data", url)
        process = installation.start_server() if command == "serve" else installation.worker()
        await eventually(lambda: _handles_signals(process))
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert await wait_for(process) == 0
        assert time.monotonic() - began < 15


async def _handles_signals(process: Process) -> bool:
    """Say whether the process has a handler for SIGTERM: proc_pid_status(5)."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    caught = int(status.partition("SigCgt:")[2].split()[0], 16)
    return bool(caught >> (signal.SIGTERM - 1) & 1)


@pytest.fixture
def short_folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="pc-end-", ignore_cleanup_errors=True) as name:
        Path(name).chmod(0o755)
        yield Path(name) / "data"


async def test_a_start_that_is_ended_leaves_no_database_running(short_folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    process = ServeProcess(short_folder, port, log_path=short_folder.parent / "serve.log")
    try:
        await eventually(lambda: _is_there(short_folder / "postgres.lock"))
        process.send_signal(signal.SIGTERM)
        assert await wait_for(process) == 0
        assert not (short_folder / "postgres" / "postmaster.pid").exists()
    finally:
        if process.exit_status is None:
            process.kill()


async def _is_there(path: Path) -> bool:
    return path.exists()
