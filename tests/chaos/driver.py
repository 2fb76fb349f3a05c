"""The driver: starts everything, lets load and nemesis loose, waits until all is over, and has it checked."""

import asyncio
import json
import random
import secrets
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from photochanger.adapters.embedded_postgres import EmbeddedPostgres
from photochanger.adapters.postgres import migrate
from photochanger.entrypoints.cli.malloc import SETTINGS
from photochanger.entrypoints.container import Container
from tests.chaos import observed
from tests.chaos.checker import check
from tests.chaos.control import controlled
from tests.chaos.history import History
from tests.chaos.line import opened_line
from tests.chaos.load import SWITCHED_SLOT, Scene, Secrets, crowd, see_result
from tests.chaos.nemesis import BucketTrouble, Database, DiskTrouble, Nemesis, Trouble
from tests.chaos.processes import Fleet
from tests.chaos.provider import ProviderLog, key_of
from tests.chaos.reading import Verdict
from tests.chaos.schedule import KINDS, Fault, kills, schedule
from tests.chaos.zygote import Zygote
from tests.crash.victim import OWN_GROUP
from tests.s3_gate import S3Gate
from tests.s3_server import s3_server_running
from tests.small_disk import small_disk
from tests.system.administrator import initial_credentials
from tests.system.canaries import Canaries
from tests.system.installation import Installation, as_url

FAKETIME: Final = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
"""Where Debian's package libfaketime has its library."""

DISK_BYTES: Final = 512 * 2**20
DISK_FILES: Final = 500_000

SAMPLE_EVERY_SEC: Final = 5.0
LOOK_CLOSELY_EVERY_SEC: Final = 0.5

_ALL_FINAL_WITHIN_SEC: Final = 40.0
_LOOK_SEC: Final = 0.1
_AT_ONCE: Final = 8

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How a run goes. With `kills` it lasts as long as these take, else `seconds`."""

    seed: int
    faults: Sequence[str] = KINDS
    seconds: float = 30.0
    kills: int = 0
    store: str = "folder"
    serves: int = 2
    workers: int = 2
    jobs_at_once: int = 4
    booths: int = 12
    guests: int = 2
    pause_sec: float = 0.1
    forked: bool = False
    spared: bool = False
    """Whether the first server and the first worker are neither killed nor asked to end, to live long."""
    prefix: Sequence[str] = OWN_GROUP
    """What goes before the command of each process."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a run did, and what was found."""

    plan: Plan
    seconds: float
    verdicts: Sequence[Verdict]
    counts: Mapping[str, int]
    history: Path
    skipped: Sequence[str] = ()

    @property
    def violations(self) -> Sequence[str]:
        """Everything that was found, by invariant."""
        return [f"{each.invariant}: {what}" for each in self.verdicts for what in each.violations]

    def document(self) -> dict[str, Any]:
        """Return all of it as JSON has it."""
        return json.loads(json.dumps(asdict(self), default=str))  # type: ignore[no-any-return]


async def run(plan: Plan, folder: Path, *, tell: Tell) -> Report:
    """Carry a plan out in a folder of its own, and return what was found. No process is left."""
    history = History(folder / "history.jsonl")
    async with AsyncExitStack() as stack:
        stack.callback(history.close)
        server = folder / "server"
        dsn = stack.enter_context(EmbeddedPostgres(server))
        migrate(dsn)
        installation, trouble = await _installed(plan, folder, as_url(dsn), stack)
        return await _Driver(plan, installation, history, Database(server), trouble, tell).run(folder)


async def _installed(
    plan: Plan, folder: Path, url: str, stack: AsyncExitStack
) -> tuple[Installation, Trouble]:
    if plan.store == "s3":
        service = stack.enter_context(s3_server_running())
        gate = await stack.enter_async_context(S3Gate(service.port).open())
        bucket = gate.before(service.new_bucket())
        return Installation(folder / "data", url, bucket=bucket), BucketTrouble(gate)
    if "store" in plan.faults:
        disk = stack.enter_context(small_disk(folder, size_bytes=DISK_BYTES, files=DISK_FILES))
        return Installation(folder / "data", url, media_root=disk.path / "media"), DiskTrouble(disk)
    return Installation(folder / "data", url), _NoTrouble()


class _NoTrouble:
    """A store that nothing befalls."""

    def begin(self, how: str) -> None:
        """Do nothing."""

    def end(self) -> None:
        """Do nothing."""


class _Driver:
    def __init__(
        self,
        plan: Plan,
        installation: Installation,
        history: History,
        database: Database,
        trouble: Trouble,
        tell: Tell,
    ) -> None:
        self._plan = plan
        self._installation = installation
        self._history = history
        self._database = database
        self._trouble = trouble
        self._tell = tell
        self._provider = ProviderLog(plan.seed, history)
        self._canaries = Canaries()

    async def run(self, folder: Path) -> Report:
        async with AsyncExitStack() as stack:
            fleet = await self._fleet(stack)
            await self._start(fleet)
            container = await stack.enter_async_context(self._installation.container())
            chance = random.Random(f"{self._plan.seed} balancer")
            scene = self._scene(await stack.enter_async_context(opened_line(fleet, self._history, chance)))
            await scene.log_in()
            self._canaries.named["token"] = scene.token.rpartition(".")[2]
            await scene.set_up()
            async with self._load(scene, fleet, container):
                await self._torment(fleet)
            observation = await self._observe(scene, fleet, container)
        return self._report(observation, folder)

    async def _fleet(self, stack: AsyncExitStack) -> Fleet:
        """Return the processes, none of which is started yet, and all of which end with the stack."""
        gemini = await stack.enter_async_context(self._provider.fake())
        signing_key = self._canaries.new("signing key", more=secrets.token_hex(24))
        self._canaries.named["provider's key"] = key_of("")
        fleet = Fleet(
            self._installation,
            self._history,
            serves=self._plan.serves,
            workers=self._plan.workers,
            jobs_at_once=self._plan.jobs_at_once,
            variables={**SETTINGS, "GEMINI_BASE_URL": gemini.base_url, "JWT_SIGNING_KEY": signing_key},
            zygote=await self._zygote(stack),
            prefix=self._plan.prefix,
        )
        stack.callback(fleet.kill_all)
        return fleet

    def _nemesis(self, fleet: Fleet) -> Nemesis:
        return Nemesis(
            fleet,
            self._history,
            provider=self._provider,
            database=self._database,
            trouble=self._trouble,
            faketime=FAKETIME[0] if FAKETIME else None,
        )

    async def _zygote(self, stack: AsyncExitStack) -> Zygote | None:
        if not self._plan.forked:
            return None
        zygote = Zygote()
        stack.push_async_callback(zygote.stop)
        await zygote.start()
        return zygote

    async def _start(self, fleet: Fleet) -> None:
        """Start one server first, which makes the credentials; then all others."""
        first, *others = fleet.places
        await fleet.start(first)
        await fleet.wait_until_ready(first)
        for place in others:
            await fleet.start(place)
        for place in others:
            await fleet.wait_until_ready(place)

    def _scene(self, line: Any) -> Scene:
        known = initial_credentials(self._installation.folder)
        self._canaries.named["ingest password"] = known["ingest_password"]
        self._canaries.named["administrator's password"] = known["admin_password"]
        given = Secrets(
            ingest_password=known["ingest_password"],
            admin_username=known["admin_username"],
            admin_password=known["admin_password"],
            personal=self._canaries.new("guest's name"),
        )
        return Scene(seed=self._plan.seed, history=self._history, line=line, secrets=given)

    async def _torment(self, fleet: Fleet) -> None:
        """Have the nemesis do all that is planned, and return when everything is up again."""
        nemesis = self._nemesis(fleet)
        spared = ("serve-0", "worker-0") if self._plan.spared else ()
        victims = [place for place in fleet.places if place.name not in spared]
        faults = self._schedule([place.name for place in victims])
        async with asyncio.TaskGroup() as group:
            for place, count in zip(victims, _shared_out(self._plan.kills, len(victims)), strict=True):
                series = kills(self._plan.seed, place.name, count)
                group.create_task(nemesis.kill_in_series(place, series))
            if not self._plan.kills:
                group.create_task(asyncio.sleep(self._plan.seconds))
            group.create_task(nemesis.carry_out(faults))

    def _schedule(self, places: Sequence[str]) -> Sequence[Fault]:
        """Return the faults to come, which are told; kills that are counted have a schedule of their own."""
        kinds = [kind for kind in self._plan.faults if not (kind == "kill" and self._plan.kills)]
        faults = schedule(self._plan.seed, kinds, duration_sec=self._plan.seconds, places=places)
        for fault in faults:
            self._tell(str(fault))
        return faults

    @asynccontextmanager
    async def _load(self, scene: Scene, fleet: Fleet, container: Container) -> AsyncIterator[None]:
        everybody = crowd(
            scene, booths=self._plan.booths, guests=self._plan.guests, pause_sec=self._plan.pause_sec
        )
        watching = [
            asyncio.create_task(self._watch(fleet, container)),
            asyncio.create_task(_watch_closely(fleet)),
        ]
        try:
            async with controlled(self._history), asyncio.TaskGroup() as group:
                for each in everybody:
                    group.create_task(each.run())
                yield
                scene.over = True
        finally:
            for task in watching:
                task.cancel()
            await asyncio.wait(watching)

    async def _watch(self, fleet: Fleet, container: Container) -> None:
        while True:
            fleet.sample()
            await observed.note_temporary_files(container, self._history)
            self._show_progress()
            await asyncio.sleep(SAMPLE_EVERY_SEC)

    def _show_progress(self) -> None:
        events = self._history.events
        asked = sum(event.what == "photo" and event.kind == "invoke" for event in events)
        given = sum(event.what == "photo" and event.kind == "ok" for event in events)
        killed = sum(event.what == "kill" and event.kind == "ok" for event in events)
        self._tell(f"{self._history.now:6.0f} s: {asked} photos, {given} answered 200, {killed} kills")

    async def _observe(self, scene: Scene, fleet: Fleet, container: Container) -> observed.Observation:
        """Wait until all jobs are final, look at everything, and end the processes."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_ALL_FINAL_WITHIN_SEC):
                await self._all_final(container)
        jobs = await observed.job_facts(container, self._history)
        self._history.tell("driver", "over", jobs=len(jobs))
        discrepancies = await observed.compared(container)
        await _download(scene, [job.job_id for job in jobs if job.result_sha256])
        statistics = await _statistics(scene)
        cancels = await observed.cancel_entries(container)
        switches = await observed.slot_changes(container, SWITCHED_SLOT)
        statuses = await fleet.stop()
        findings, lines = observed.read_logs(fleet.logs, self._canaries)
        return observed.Observation(
            events=self._history.events,
            jobs=jobs,
            statistics=statistics,
            cancel_entries=cancels,
            switch_entries=switches - 1,  # the first one set the slot up
            discrepancies=discrepancies,
            log_findings=findings,
            log_lines=lines,
            end_statuses=statuses,
        )

    async def _all_final(self, container: Container) -> None:
        while True:
            if not await observed.unfinished(container):
                return
            await asyncio.sleep(_LOOK_SEC)

    def _report(self, observation: observed.Observation, folder: Path) -> Report:
        (folder / "jobs.json").write_text(json.dumps([asdict(job) for job in observation.jobs]) + "\n")
        began = next(event.at for event in observation.events if event.what == "photo")
        over = next(event.at for event in observation.events if event.what == "over")
        return Report(
            plan=self._plan,
            seconds=round(over - began, 1),
            verdicts=check(observation),
            counts=_counted(observation),
            history=folder / "history.jsonl",
        )


async def _download(scene: Scene, job_ids: Sequence[str]) -> None:
    at_once = asyncio.Semaphore(_AT_ONCE)

    async def download(job_id: str) -> None:
        async with at_once:
            await see_result(scene, "auditor", job_id)

    await asyncio.gather(*map(download, job_ids))


async def _statistics(scene: Scene) -> Mapping[str, int]:
    found = await scene.administer("statistics", "GET", "/api/stats/system")
    assert found is not None
    assert found.status == 200, found.body
    by_status: Mapping[str, int] = found.document["totals"]["by_status"]
    return by_status


async def _watch_closely(fleet: Fleet) -> None:
    while True:
        fleet.look_who_starves()
        await asyncio.sleep(LOOK_CLOSELY_EVERY_SEC)


def _shared_out(kills: int, places: int) -> Sequence[int]:
    return [kills // places + (place < kills % places) for place in range(places)]


def _counted(observation: observed.Observation) -> Mapping[str, int]:
    counts: dict[str, int] = {}
    for event in observation.events:
        if event.who == "nemesis" and event.kind == "ok":
            phase = event.facts.get("phase")
            name = f"fault: {event.what}" + (f" while {phase}" if phase else "")
        elif event.kind not in {"info", "invoke"} and event.who != "nemesis":
            name = f"{event.what}: {event.kind}"
        elif event.what == "call":
            name = f"provider: {event.facts['answer']}"
        else:
            continue
        counts[name] = counts.get(name, 0) + 1
    return dict(sorted(counts.items()))
