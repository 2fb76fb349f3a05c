"""What has to be true after every kill, and once more when all is over."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, TypeVar

from tests.crash import store
from tests.crash.administrators import look_at_template, see_changes
from tests.crash.guests import look
from tests.crash.ledger import Fate, Told
from tests.crash.scenery import Scenery
from tests.crash.store import JobRow
from tests.crash.victim import Victim
from tests.system.installation import Installation

_T = TypeVar("_T")

FINAL_WITHIN_SEC: Final = 5.0
"""How long after its deadline a job may be unfinished while somebody serves."""

SAMPLE: Final = 20
"""So many results are downloaded after each kill."""

COMMAND_EVERY: Final = 10
"""After each tenth kill it is the commands that sweep and verify; else the same without their start."""

COMPARING_SHARE: Final = 0.3
"""The share of the sweeps that compare files and records as well, which has to find nothing."""

_AT_ONCE: Final = 8

_STATE_TOLD: Final[Mapping[int, frozenset[str]]] = {
    409: frozenset({"cancelled"}),
    502: frozenset({"failed_provider"}),
    504: frozenset({"failed_timeout"}),
}


class Judge:
    """Compares what there is with what clients were told, and notes in the ledger what is not so."""

    def __init__(self, scenery: Scenery, victim: Victim, installation: Installation) -> None:
        self._scenery = scenery
        self._installation = installation
        self._ledger = scenery.ledger
        self._victim = victim
        self._choices = scenery.choices("judge")
        self._final: dict[str, JobRow] = {}
        self._known: set[str] = set()
        self._rounds = 0
        self._read_to: Counter[Path] = Counter()

    async def after_a_kill(self, logs: Sequence[Path]) -> None:
        """Sweep once, verify, and look at a sample of all that was promised; the load pauses."""
        self._rounds += 1
        await self._sweep_and_verify(by_command=self._rounds % COMMAND_EVERY == 0)
        await self._see_results(SAMPLE)
        await self._see_templates(3)
        await see_changes(self._scenery)
        self._read(logs)

    async def at_the_end(self, logs: Sequence[Path]) -> None:
        """Wait until every job is final, and look at everything."""
        await self._wait_for_jobs()
        await store.let_time_pass(self._scenery.container)
        await self._sweep_and_verify(by_command=True, contents=True)
        for file in await store.files_left(self._scenery.container):
            self._ledger.violated(f"left when all was over: {file}")
        await self._see_results(None)
        await self._see_templates(None)
        await see_changes(self._scenery)
        self._read(logs)

    async def _sweep_and_verify(self, *, by_command: bool = False, contents: bool = False) -> None:
        container = self._scenery.container
        swept_at = await store.now(container)
        await (self._sweep_by_command() if by_command else self._sweep())
        await self._see_jobs(swept_at)
        await (self._verify_by_command(contents=contents) if by_command else self._verify())
        for file in await store.overdue_files(container, swept_at):
            self._ledger.violated(f"still announced after its time: {file}")
        for file in await store.unneeded_files(container):
            self._ledger.violated(f"stored, and nobody needs it: {file}")

    async def _sweep(self) -> None:
        swept = await store.sweep_once(
            self._scenery.container, compare=self._choices.random() < COMPARING_SHARE
        )
        self._ledger.counts["sweeps asked for"] += 1
        self._see_swept(swept.stray_files, swept.lost_files, swept.undeleted_files)

    async def _sweep_by_command(self) -> None:
        status, done = await self._installation.command("cleanup")
        self._ledger.counts["photochanger cleanup"] += 1
        if status != 0:
            self._ledger.violated(f"photochanger cleanup ended with status {status}: {done}")
            return
        self._see_swept(done["stray_files"], done["lost_files"], done["undeleted_files"])

    def _see_swept(self, stray: int, lost: int, undeleted: int) -> None:
        if stray or lost or undeleted:
            self._ledger.violated(
                f"a sweep found {stray} stray and {lost} lost files, {undeleted} undeletable"
            )

    async def _verify(self) -> None:
        self._ledger.counts["verify runs"] += 1
        for found in await store.discrepancies(self._scenery.container):
            self._ledger.violated(f"verify: {found}")

    async def _verify_by_command(self, *, contents: bool) -> None:
        status, told = await self._installation.command("verify", *(["--contents"] if contents else []))
        self._ledger.counts["photochanger verify"] += 1
        if status != 0 or not told["clean"]:
            self._ledger.violated(f"photochanger verify ended with status {status}: {told}")

    async def _see_jobs(self, swept_at: datetime) -> None:
        # What was told before the rows are read has to be in them; what is told meanwhile need not.
        told = {job_id: list(each) for job_id, each in self._ledger.told.items()}
        cancelled = set(self._ledger.cancelled)
        rows = {row.job_id: row for row in await store.job_rows(self._scenery.container)}
        for job_id in (self._known | told.keys() | cancelled) - rows.keys():
            self._ledger.violated(f"job {job_id} was accepted, and there is no such job")
        self._known |= rows.keys()
        for row in rows.values():
            self._see_state(row, swept_at)
            for wrong in _contradictions(row, told.get(row.job_id, [])):
                self._ledger.violated(f"job {row.job_id} is {row.state}, and a client was told {wrong}")
            if row.job_id in cancelled and row.state != "cancelled":
                self._ledger.violated(f"job {row.job_id} is {row.state}, and its cancelling was acknowledged")

    def _see_state(self, row: JobRow, swept_at: datetime) -> None:
        if not row.is_final and row.deadline <= swept_at:
            self._ledger.violated(f"job {row.job_id} is {row.state} after a sweep behind its deadline")
        if row.state == "failed_internal":
            self._ledger.violated(f"job {row.job_id} has failed by a defect: {row.failure_reason}")
        before = self._final.get(row.job_id)
        if before and (before.state, before.source) != (row.state, row.source):
            self._ledger.violated(f"job {row.job_id} was {before.state}, and is {row.state}")
        elif row.is_final and not before:
            self._final[row.job_id] = row
            self._see_in_time(row)

    def _see_in_time(self, row: JobRow) -> None:
        assert row.finalized_at is not None
        late_sec = (row.finalized_at - row.deadline).total_seconds()
        if late_sec <= FINAL_WITHIN_SEC:
            return
        down_sec = self._victim.down_sec(_monotonic(row.deadline), _monotonic(row.finalized_at))
        if late_sec - down_sec > FINAL_WITHIN_SEC:
            self._ledger.violated(f"job {row.job_id} was final {late_sec:.1f} s after its deadline")

    async def _wait_for_jobs(self) -> None:
        patience_ends = time.monotonic() + 30
        while not all(row.is_final for row in await store.job_rows(self._scenery.container)):
            if time.monotonic() > patience_ends:
                self._ledger.violated("there are unfinished jobs 30 s after the end of the load")
                return
            await asyncio.sleep(0.1)

    async def _see_results(self, count: int | None) -> None:
        results = list(self._ledger.results.values())
        uncertain = [result for result in results if result.fate is Fate.EITHER]
        chosen = results if count is None else [*uncertain, *_sample(self._choices, results, count)]
        at_once = asyncio.Semaphore(_AT_ONCE)

        async def see(number: int) -> None:
            async with at_once:
                await look(self._scenery, chosen[number])
                if count is None or number % 2:
                    await look(self._scenery, chosen[number], preview=True)

        await asyncio.gather(*map(see, range(len(chosen))))

    async def _see_templates(self, count: int | None) -> None:
        known = list(self._ledger.templates.values())
        for template in known if count is None else _sample(self._choices, known, count):
            await look_at_template(self._scenery, template)

    def _read(self, logs: Sequence[Path]) -> None:
        """See that no process has logged what it did not foresee."""
        for path in logs:
            with path.open("rb") as file:
                file.seek(self._read_to[path])
                text = file.read().decode(errors="replace")
                self._read_to[path] = file.tell()
            for sign in ("Traceback", '"level": "error"', '"level": "critical"'):
                before, found, behind = text.partition(sign)
                if found:
                    line = before.rpartition("\n")[2]
                    self._ledger.violated(f"{path.name}: {(line + found + behind)[:4_000]}")
                    break

    @property
    def final_states(self) -> Mapping[str, int]:
        """How many jobs ended in which state."""
        return Counter(row.state for row in self._final.values())


def _contradictions(row: JobRow, told: Sequence[Told]) -> Iterator[str]:
    for each in told:
        match each.status:
            case 200 if each.source == "original":
                agrees = row.state.startswith("failed_") and row.source == "original"
            case 200:
                agrees = row.state == "completed"
            case 504 if each.failure_reason is None:  # then the database was too slow to say, and the booth
                agrees = True  # was not held longer for that
            case status:
                agrees = row.state in _STATE_TOLD.get(status, {row.state})
        if not agrees:
            yield f"{each.status} ({each.failure_reason or each.source})"


def _sample(choices: random.Random, of: Sequence[_T], count: int) -> list[_T]:
    return choices.sample(of, min(count, len(of)))


def _monotonic(moment: datetime) -> float:
    return time.monotonic() - (datetime.now(UTC) - moment).total_seconds()
