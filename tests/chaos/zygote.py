"""A process that has imported PhotoChanger once, and forks processes of it, which start five times as fast.

A start is mostly imports, and a thousand of them would leave the machine no time for anything else. What is
forked is a process as any other: with its own environment, log, database connections and group, and it ends
by itself or by a signal. Only what was imported, and nothing of it has begun, is shared.

It reads one JSON document a line, `{"arguments", "variables", "log"}`, and answers `started <pid>`; of
each child that has ended it says `ended <pid> <status>`, negative for a signal.
"""

import asyncio
import json
import os
import signal
import sys
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NoReturn

from photochanger.entrypoints.cli import main as _photochanger
from photochanger.entrypoints.cli.malloc import SETTINGS

_IMPORTED: Final = (
    "photochanger.entrypoints.cli.serve",
    "photochanger.entrypoints.http.app",
    "photochanger.adapters.gemini",
    "photochanger.adapters.turbotext",
    "photochanger.adapters.rehearsal",
    "obstore",
)


class Zygote:
    """The process, seen from whoever wants children."""

    def __init__(self) -> None:
        self._process: asyncio.subprocess.Process | None = None
        self._reading: asyncio.Task[None] | None = None
        self._started: asyncio.Queue[int] = asyncio.Queue()
        self._asking = asyncio.Lock()
        self._statuses: dict[int, int] = {}

    async def start(self) -> None:
        """Start it, and wait until it has imported everything."""
        command = [sys.executable, "-m", "tests.chaos.zygote"]
        pipe = asyncio.subprocess.PIPE
        environment = {**SETTINGS, **os.environ}  # else each child would start itself anew to have them
        self._process = await asyncio.create_subprocess_exec(
            *command, stdin=pipe, stdout=pipe, env=environment
        )
        self._reading = asyncio.create_task(self._read())
        await self._started.get()

    async def child(self, arguments: list[str], variables: Mapping[str, str], log: Path) -> "Child":
        """Fork a `photochanger` with these arguments, and with these variables beside those of our own."""
        log.parent.mkdir(parents=True, exist_ok=True)
        log.touch()
        asked = json.dumps({"arguments": arguments, "variables": dict(variables), "log": str(log)})
        assert self._process is not None
        assert self._process.stdin is not None
        async with self._asking:
            self._process.stdin.write(asked.encode() + b"\n")
            return Child(self, await self._started.get(), log)

    def status(self, pid: int) -> int | None:
        """Return what a child ended with; None while it runs."""
        return self._statuses.get(pid)

    async def stop(self) -> None:
        """End it."""
        if self._process is not None and self._reading is not None:
            assert self._process.stdin is not None
            self._process.stdin.close()
            await self._process.wait()
            await self._reading

    async def _read(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            match line.decode().split():
                case ["started", pid]:
                    self._started.put_nowait(int(pid))
                case ["ended", pid, status]:
                    self._statuses[int(pid)] = int(status)


class Child:
    """A forked process; its group is its own."""

    def __init__(self, zygote: Zygote, pid: int, log_path: Path) -> None:
        self.pid = pid
        self.log_path = log_path
        self._zygote = zygote

    @property
    def exit_status(self) -> int | None:
        """The exit status, negative for a signal; None while it runs."""
        return self._zygote.status(self.pid)

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal, unless it has ended."""
        if self.exit_status is None:
            os.kill(self.pid, number)


def main() -> None:
    """Fork whatever is asked for on standard input, until that ends."""
    for name in _IMPORTED:
        __import__(name)
    _say("started 0")
    loop = asyncio.new_event_loop()
    loop.add_signal_handler(signal.SIGCHLD, _reap)
    os.set_blocking(0, False)
    buffer = bytearray()
    loop.add_reader(0, _hear, loop, buffer)
    loop.run_forever()


def _hear(loop: asyncio.AbstractEventLoop, buffer: bytearray) -> None:
    chunk = os.read(0, 65_536)
    if not chunk:
        loop.stop()
    buffer += chunk
    while b"\n" in buffer:
        line, _, rest = bytes(buffer).partition(b"\n")
        buffer[:] = rest
        asked = json.loads(line)
        pid = os.fork()
        if pid == 0:
            _become(asked)
        _say(f"started {pid}")


def _become(asked: Mapping[str, Any]) -> NoReturn:
    """Be a process as if it had been started by itself."""
    status = 1
    try:
        _leave_the_nest(asked)
        _photochanger()
        status = 0
    except SystemExit as ending:
        status = ending.code if isinstance(ending.code, int) else 1
    except BaseException:
        traceback.print_exc()
        raise
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _leave_the_nest(asked: Mapping[str, Any]) -> None:
    """Have nothing of the zygote's: no group, signals, files or loop."""
    os.setsid()
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    log = os.open(asked["log"], os.O_WRONLY | os.O_APPEND)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((nothing, 0), (log, 1), (log, 2)):
        os.dup2(source, target)
    os.closerange(3, 256)
    os.environ.update(asked["variables"])
    sys.argv = ["photochanger", *asked["arguments"]]
    asyncio.events._set_running_loop(None)
    asyncio.set_event_loop(None)


def _reap() -> None:
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        _say(f"ended {pid} {os.waitstatus_to_exitcode(status)}")


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
