"""The driver: start, load, kill, start again, judge; as often as wanted."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from typing import Final

from photochanger.entrypoints.container import Container
from photochanger.testing.fake_turbotext import FakeTurbotext
from tests.crash.administrators import Administrator, Operator
from tests.crash.booths import Booth
from tests.crash.guests import Guest, TimeMachine
from tests.crash.judge import Judge
from tests.crash.ledger import Ledger
from tests.crash.line import Line, opened_line
from tests.crash.scenery import Scenery
from tests.crash.victim import Victim
from tests.system.administrator import initial_credentials
from tests.system.installation import Installation

FIRST_KILLS: Final = 2
"""So many kills hit the very first start, which makes the credentials."""

STARTING_SHARE: Final = 0.25
"""The share of the kills that come while a process starts."""

SOONEST_SEC, LATEST_SEC = 0.01, 10.0
"""Between these, logarithmically, lies the time from the beginning of the load to the kill."""

GUESTS: Final = 2

TOO_MANY: Final = 20
"""With so many broken promises the run ends: more would tell nothing more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How a run goes."""

    kills: int
    seed: int
    booths: int = 8
    workers: int = 4
    separate_worker: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What a run did, and what it found."""

    plan: Plan
    seconds: float
    kills: dict[str, int]
    restarts: int
    restart_p50_sec: float
    restart_max_sec: float
    latest_answer_sec: float
    jobs: dict[str, int]
    results: dict[str, int]
    counts: dict[str, int]
    violations: list[str]

    def document(self) -> dict[str, object]:
        """Return all of it as JSON has it."""
        return asdict(self)


class Driver:
    """One run on one installation, whose database is there and migrated, and nothing else."""

    def __init__(self, plan: Plan, installation: Installation, *, tell: Callable[[str], None]) -> None:
        self._plan = plan
        self._installation = installation
        self._tell = tell
        self._ledger = Ledger()
        self._victim = Victim(installation, workers=plan.workers, separate_worker=plan.separate_worker)
        self._choices = Random(f"{plan.seed} kills")
        self._kills: Counter[str] = Counter()
        self._violations_told = 0

    async def run(self) -> Figures:
        """Kill as often as planned, and return the figures. No process is left."""
        began = time.monotonic()
        try:
            async with (
                FakeTurbotext(delay_sec=0.2) as turbotext,
                opened_line(self._victim, self._ledger) as line,
            ):
                self._victim.variables = {
                    "TURBOTEXT_API_KEY": turbotext.api_key,
                    "TURBOTEXT_BASE_URL": turbotext.base_url,
                }
                await self._first_start()
                async with self._installation.container() as container:
                    scenery = self._scenery(line, container)
                    await scenery.log_in()
                    await scenery.set_up()
                    judge = Judge(scenery, self._victim, self._installation)
                    await self._under_load(scenery, judge)
                return self._figures(judge, line.latest_sec, time.monotonic() - began)
        finally:
            self._installation.kill_all()

    def _scenery(self, line: Line, container: Container) -> Scenery:
        known = initial_credentials(self._installation.folder)
        return Scenery(
            seed=self._plan.seed,
            ledger=self._ledger,
            line=line,
            container=container,
            ingest_password=known["ingest_password"],
            login={"username": known["admin_username"], "password": known["admin_password"]},
        )

    async def _first_start(self) -> None:
        for _ in range(FIRST_KILLS):
            self._victim.start()
            await self._victim.ready(within_sec=self._choices.uniform(0, 1.5))
            await self._kill()
        self._victim.start()
        if not await self._victim.ready():
            raise RuntimeError("the first start failed; see the log")

    async def _under_load(self, scenery: Scenery, judge: Judge) -> None:
        async with _load(scenery, self._plan.booths):
            while self._kills.total() < self._plan.kills and len(self._ledger.violations) < TOO_MANY:
                await asyncio.sleep(self._moment())
                await self._kill()
                self._victim.start()
                while self._kills.total() < self._plan.kills and self._choices.random() < STARTING_SHARE:
                    await self._victim.ready(within_sec=self._choices.uniform(0, 1.2 * self._usual_start_sec))
                    await self._kill()
                    self._victim.start()
                await self._restarted(scenery, judge)
        await judge.at_the_end(self._logs())
        self._tell_violations()

    async def _restarted(self, scenery: Scenery, judge: Judge) -> None:
        if not await self._victim.ready():
            raise RuntimeError("a process did not start again; see its log")
        scenery.going.clear()
        await judge.after_a_kill(self._logs())
        self._tell_violations()
        scenery.going.set()

    async def _kill(self) -> None:
        server, worker = True, self._plan.separate_worker
        if self._plan.separate_worker and self._victim.is_ready:
            server, worker = self._choices.choice([(True, False), (False, True), (True, True)])
        who = " and ".join([*["server"] * server, *["worker"] * worker])
        phase = "ready" if self._victim.is_ready else "starting"
        for found in await self._victim.kill(server=server, worker=worker):
            self._ledger.violated(found)
        self._kills[f"{who} {phase}"] += 1
        self._show_progress()

    def _show_progress(self) -> None:
        number, promises = self._kills.total(), len(self._ledger.violations)
        if number % 10 == 0 or number == self._plan.kills:
            self._tell(
                f"kill {number} of {self._plan.kills}: {self._ledger.counts['photos']} photos,"
                f" {len(self._ledger.results)} results, {promises} promises broken"
            )

    def _tell_violations(self) -> None:
        for violation in self._ledger.violations[self._violations_told :]:
            self._tell(f"after kill {self._kills.total()}: BROKEN: {violation}")
        self._violations_told = len(self._ledger.violations)

    def _moment(self) -> float:
        return float(SOONEST_SEC * (LATEST_SEC / SOONEST_SEC) ** self._choices.random())

    @property
    def _usual_start_sec(self) -> float:
        return sorted(self._victim.restarts_sec)[len(self._victim.restarts_sec) // 2]

    def _logs(self) -> Sequence[Path]:
        return [process.log_path for process in self._installation.processes]

    def _figures(self, judge: Judge, latest_sec: float, seconds: float) -> Figures:
        starts = sorted(self._victim.restarts_sec)
        return Figures(
            plan=self._plan,
            seconds=round(seconds, 1),
            kills=dict(self._kills),
            restarts=len(starts),
            restart_p50_sec=round(starts[len(starts) // 2], 2),
            restart_max_sec=round(starts[-1], 2),
            latest_answer_sec=round(latest_sec, 3),
            jobs=dict(sorted(judge.final_states.items())),
            results={str(fate): count for fate, count in sorted(self._ledger.fates().items())},
            counts=dict(sorted(self._ledger.counts.items())),
            violations=self._ledger.violations,
        )


@asynccontextmanager
async def _load(scenery: Scenery, booths: int) -> AsyncIterator[None]:
    """Let everybody work during the context; at its end, who waits for an answer gets it."""
    scenery.going.set()
    crowd: list[Booth | Guest | TimeMachine | Operator | Administrator] = [
        *(Booth(scenery, number) for number in range(booths)),
        *(Guest(scenery, number) for number in range(GUESTS)),
        *(TimeMachine(scenery), Operator(scenery), Administrator(scenery)),
    ]
    async with asyncio.TaskGroup() as group:
        for each in crowd:
            group.create_task(each.run())
        yield
        scenery.over = True
