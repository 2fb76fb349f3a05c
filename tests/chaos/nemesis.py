"""The nemesis: carries the schedule out, and notes in the history when each fault began and ended."""

import asyncio
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, Protocol

from photochanger.adapters.embedded_postgres.programs import Programs
from tests.chaos.history import History, Kind
from tests.chaos.processes import Fleet, Place
from tests.chaos.provider import ProviderLog
from tests.chaos.schedule import Fault, Kill
from tests.s3_gate import Answer, Hang, S3Gate
from tests.small_disk import SmallDisk

NEMESIS: Final = "nemesis"

_TRIES_TO_FILL: Final = 100
_A_LITTLE_BYTES: Final = 8 * 4096


class Trouble(Protocol):
    """What can befall the media store."""

    def begin(self, how: str) -> None:
        """Let everything go wrong from now on: with `error`, or, where that is possible, `hang`."""

    def end(self) -> None:
        """Let everything go well again."""


class BucketTrouble:
    """A bucket's service that answers 500, or not at all."""

    def __init__(self, gate: S3Gate) -> None:
        self._gate = gate
        self._ended = asyncio.Event()

    def begin(self, how: str) -> None:
        """Let it fail."""
        fault = Hang() if how == "hang" else Answer(500, "InternalError")
        self._gate.rule = lambda _asked: fault

    def end(self) -> None:
        """Let it work."""
        self._gate.rule = lambda _asked: None


class DiskTrouble:
    """A disk that is full, to the last byte or but for a few pages."""

    def __init__(self, disk: SmallDisk) -> None:
        self._disk = disk

    def begin(self, how: str) -> None:
        """Fill it, while others write on it, and may be faster."""
        for _ in range(_TRIES_TO_FILL):
            try:
                self._disk.fill(but_for_bytes=0 if how == "error" else _A_LITTLE_BYTES)
            except OSError:
                continue
            return
        raise RuntimeError("the disk could not be filled")

    def end(self) -> None:
        """Make room."""
        self._disk.make_room()


class Database:
    """The PostgreSQL of the run, which is restarted and, for a while, not there."""

    def __init__(self, folder: Path) -> None:
        self._cluster = folder / "postgres"
        self._programs = Programs.of(self._cluster)

    def stop(self, mode: str) -> None:
        """Stop it: `fast` ends its connections, `immediate` is a crash. Returns when it is down."""
        self._run("stop", f"--mode={mode}")

    def start(self) -> None:
        """Start it as it was started before, and wait until it answers."""
        self._run("restart", "--log=startup.log")  # of one that is down: with the options of the last start

    def restart(self, mode: str) -> None:
        """Do both at once."""
        self._run("restart", f"--mode={mode}", "--log=startup.log")

    def _run(self, *arguments: str) -> None:
        self._programs.run("pg_ctl", *arguments, "--wait", "--silent", cluster=self._cluster)


class Nemesis:
    """Does all that is scheduled, faults of different kinds at the same time."""

    def __init__(
        self,
        fleet: Fleet,
        history: History,
        *,
        provider: ProviderLog,
        database: Database,
        trouble: Trouble,
        faketime: Path | None,
    ) -> None:
        self._fleet = fleet
        self._history = history
        self._provider = provider
        self._database = database
        self._trouble = trouble
        self._faketime = faketime
        self._at_once: dict[str, asyncio.Lock] = {}
        self._do: Mapping[str, Callable[[Fault], Awaitable[None]]] = {
            "kill": self._kill,
            "stop": self._stop,
            "term": self._term,
            "clock": self._clock,
            "postgres": self._postgres,
            "store": self._store,
            "provider": self._fail_provider,
        }

    async def carry_out(self, faults: Sequence[Fault]) -> None:
        """Carry the schedule out, and return when the last fault is over and everything is up again."""
        began = self._history.now
        async with asyncio.TaskGroup() as group:
            for fault in faults:
                await asyncio.sleep(max(0.0, began + fault.at_sec - self._history.now))
                group.create_task(self._one(fault))
        await self.all_ready()

    async def _one(self, fault: Fault) -> None:
        # One of a kind at a time: a database that is down cannot be stopped.
        async with self._at_once.setdefault(fault.kind, asyncio.Lock()):
            await self._do[fault.kind](fault)

    async def kill_in_series(self, place: Place, kills: Sequence[Kill]) -> None:
        """Kill one place as often as that, and leave it ready."""
        for kill in kills:
            async with place.busy:
                if not kill.while_starting:
                    await self._ready(place)
                await asyncio.sleep(kill.after_sec)
                await self._kill_and_start(place)
        await self._ready(place)

    async def all_ready(self) -> None:
        """Wait until every place is filled with a process that is ready."""
        for place in self._fleet.places:
            async with place.busy:
                await self._ready(place)

    async def _ready(self, place: Place) -> None:
        await self._fleet.wait_until_ready(place)

    @asynccontextmanager
    async def _noted(self, fault: str, **facts: Any) -> AsyncIterator[None]:
        operation = self._history.invoke(NEMESIS, fault, **facts)
        yield
        self._history.complete(operation, NEMESIS, fault, Kind.OK, **facts)

    def _place(self, fault: Fault) -> Place:
        return next(place for place in self._fleet.places if place.name == fault.facts["place"])

    async def _kill(self, fault: Fault) -> None:
        place = self._place(fault)
        async with place.busy:
            await self._kill_and_start(place)

    async def _kill_and_start(self, place: Place) -> None:
        phase = "ready" if place.is_ready else "starting"
        async with self._noted("kill", target=place.incarnation, phase=phase):
            await self._fleet.kill(place)
        await self._fleet.start(place)

    async def _stop(self, fault: Fault) -> None:
        """Stop a process as a machine does that swaps or migrates, and let it go on."""
        place = self._place(fault)
        async with place.busy:
            await self._ready(place)
            async with self._noted("stop", target=place.incarnation, for_sec=fault.facts["for_sec"]):
                assert place.process is not None
                place.process.send_signal(signal.SIGSTOP)
                await asyncio.sleep(fault.facts["for_sec"])
                place.process.send_signal(signal.SIGCONT)

    async def _term(self, fault: Fault) -> None:
        place = self._place(fault)
        async with place.busy:
            await self._ready(place)
            await self._end_and_start(place, {})

    async def _end_and_start(self, place: Place, variables: Mapping[str, str]) -> None:
        operation = self._history.invoke(NEMESIS, "term", target=place.incarnation)
        target = place.incarnation
        status = await self._fleet.end(place)
        self._history.complete(operation, NEMESIS, "term", Kind.OK, target=target, status=status)
        await self._fleet.start(place, variables)

    async def _clock(self, fault: Fault) -> None:
        """Replace a process by one whose wall clock is wrong, and that later by one whose clock is right."""
        if self._faketime is None:
            return
        place, offset = self._place(fault), fault.facts["offset"]
        wrong = {
            "LD_PRELOAD": str(self._faketime),
            "FAKETIME": offset,
            "DONT_FAKE_MONOTONIC": "1",
        }
        async with place.busy:
            await self._ready(place)
            await self._end_and_start(place, wrong)
            await self._ready(place)
            async with self._noted("clock", target=place.incarnation, offset=offset):
                await asyncio.sleep(fault.facts["for_sec"])
            await self._end_and_start(place, {})

    async def _postgres(self, fault: Fault) -> None:
        mode, down_sec = fault.facts["mode"], fault.facts["for_sec"]
        async with self._noted("postgres", mode=mode, down_sec=down_sec):
            if down_sec:
                await asyncio.to_thread(self._database.stop, mode)
                await asyncio.sleep(down_sec)
                await asyncio.to_thread(self._database.start)
            else:
                await asyncio.to_thread(self._database.restart, mode)

    async def _store(self, fault: Fault) -> None:
        async with self._noted("store", how=fault.facts["how"]):
            await asyncio.to_thread(self._trouble.begin, fault.facts["how"])
            await asyncio.sleep(fault.facts["for_sec"])
            await asyncio.to_thread(self._trouble.end)

    async def _fail_provider(self, fault: Fault) -> None:
        async with self._noted("provider", failing=fault.facts["failing"]):
            self._provider.failing = fault.facts["failing"]
            await asyncio.sleep(fault.facts["for_sec"])
            self._provider.failing = ()
