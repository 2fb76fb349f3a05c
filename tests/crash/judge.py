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
from tests.crash.crowd import look, look_at_template, see_changes
from tests.crash.ledger import Fate, Told
from tests.crash.scenery import Scenery
from tests.crash.store import JobRow
from tests.crash.victim import Victim

_T = TypeVar("_T")

FINAL_WITHIN_SEC: Final = 5.0
"""How long after its deadline a job may be unfinished while somebody serves."""

SAMPLE: Final = 20
_AT_ONCE: Final = 8

_STATE_TOLD: Final[Mapping[int, frozenset[str]]] = {
    409: frozenset({"cancelled"}),
    502: frozenset({"failed_provider"}),
    504: frozenset({"failed_timeout"}),
}


class Judge:
    """Compares what there is with what clients were told, and notes in the ledger what is not so."""

    def __init__(self, scenery: Scenery, victim: Victim) -> None:
        self._scenery = scenery
        self._ledger = scenery.ledger
        self._victim = victim
        self._choices = scenery.choices("judge")
        self._final: dict[str, JobRow] = {}
        self._known: set[str] = set()
        self._read_to: Counter[Path] = Counter()

    async def after_a_kill(self, logs: Sequence[Path]) -> None:
        """Sweep once, verify, and look at a sample of all that was promised; the load pauses."""
        await self._sweep_and_verify()
        await self._see_results(SAMPLE)
        await self._see_templates(3)
        await see_changes(self._scenery)
        self._read(logs)

    async def at_the_end(self, logs: Sequence[Path]) -> None:
        """Wait until every job is final, and look at everything."""
        await self._wait_for_jobs()
        await store.let_time_pass(self._scenery.container)
        await self._sweep_and_verify()
        for file in await store.files_left(self._scenery.container):
            self._ledger.violated(f"left when all was over: {file}")
        await self._see_results(None)
        await self._see_templates(None)
        await see_changes(self._scenery)
        self._read(logs)

    async def _sweep_and_verify(self) -> None:
        container = self._scenery.container
        swept_at = await store.now(container)
        await store.sweep_once(container)
        self._ledger.counts["sweeps asked for"] += 1
        self._see_jobs(await store.job_rows(container), swept_at)
        for found in await store.discrepancies(container):
            self._ledger.violated(f"verify: {found}")
        self._ledger.counts["verify runs"] += 1
        for file in await store.overdue_files(container, swept_at):
            self._ledger.violated(f"still announced after its time: {file}")
        for file in await store.unneeded_files(container):
            self._ledger.violated(f"stored, and nobody needs it: {file}")

    def _see_jobs(self, rows: Sequence[JobRow], swept_at: datetime) -> None:
        by_id = {row.job_id: row for row in rows}
        for job_id in (self._known | set(self._ledger.known_jobs())) - by_id.keys():
            self._ledger.violated(f"job {job_id} was accepted, and there is no such job")
        self._known |= by_id.keys()
        for row in rows:
            if not row.is_final and row.deadline <= swept_at:
                self._ledger.violated(f"job {row.job_id} is {row.state} after a sweep behind its deadline")
            if row.is_final and row.job_id not in self._final:
                self._final[row.job_id] = row
                self._see_in_time(row)
            before = self._final.get(row.job_id)
            if before and (before.state, before.source) != (row.state, row.source):
                self._ledger.violated(f"job {row.job_id} was {before.state}, and is {row.state}")
            for wrong in _contradictions(row, self._ledger.told.get(row.job_id, [])):
                self._ledger.violated(f"job {row.job_id} is {row.state}, and a client was told {wrong}")
            if row.job_id in self._ledger.cancelled and row.state != "cancelled":
                self._ledger.violated(f"job {row.job_id} is {row.state}, and its cancelling was acknowledged")

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
