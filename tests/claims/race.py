"""Many jobs, several processes that claim them under limits, and a provider that counts who calls at once.

What is looked at is independent of what the program counts:

- **Never exceeded.** The provider counts the calls that are under way, by slot and by provider, from the line
  that begins one to the answer.
- **In order.** Jobs of the same slot and provider are claimed in the order of their submission, without
  exception. And no job is claimed while an earlier one waits for which there are places: whoever is passed
  over finds his slot or his provider full. Claims are made one after the other, and each sees all ends that
  were told before the one before it was made; so a job may have been seen in its place by a claim if its end
  was told later than that. Where even with all of these there are places left, the order is broken.
"""

import asyncio
import json
import random
import secrets
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import Any

import psycopg

from photochanger.adapters.postgres import PostgresSettingsRepository, create_pool
from photochanger.adapters.postgres.rows import to_json
from photochanger.application.signal_hub import SignalHub
from photochanger.domain.settings import LimitSettings
from photochanger.domain.slot import SLOT_IDS, SlotId
from photochanger.testing.harness import an_entry
from photochanger.testing.job_places import a_slot_of
from tests.claims.claimer import PROVIDERS, fallback_of, falls_back

PER_SLOT, PER_PROVIDER = 2, 5
SLOTS = SLOT_IDS[:9]

_SUBMIT = """
    INSERT INTO job (job_id, slot_id, slot_version, configuration, payload_id, content_hash, created_at,
        deadline, retention, source, provider)
    VALUES (%(job_id)s, %(slot_id)s, 1, %(configuration)s::jsonb, %(job_id)s, 'x', now(),
        now() + '1 h'::interval, '72 h', 'test', %(provider)s)"""


@dataclass(frozen=True)
class Line:
    """A slot and a provider, for which jobs wait in line."""

    slot_id: SlotId
    provider: str


@dataclass(frozen=True)
class Done:
    """A job: its number in the order of submission, its claim, and the time in which it can hold places."""

    number: int
    line: Line
    moves_to: str | None
    claim: str
    started_at: float
    ended_at: float


@dataclass
class Provider:
    """Answers calls after a moment, and counts."""

    now: Counter[str] = field(default_factory=Counter)
    most: Counter[str] = field(default_factory=Counter)
    calls: int = 0

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Take one call."""
        _, *places = (await reader.readline()).decode().split()
        self.calls += 1
        self.now.update(places)
        self.most |= self.now
        await asyncio.sleep(random.uniform(0.0, 0.02))
        self.now.subtract(places)
        writer.write(b"done\n")
        await writer.drain()
        writer.close()
        await writer.wait_closed()


@dataclass(frozen=True)
class Outcome:
    """What was seen: the most calls at once, the jobs as they were claimed, and how long all took."""

    most: Mapping[str, int]
    calls: int
    done: Sequence[Done]
    seconds: float

    def exceeded(self) -> Sequence[str]:
        """Return where more calls were under way than may be."""
        limits = dict.fromkeys(SLOTS, PER_SLOT) | dict.fromkeys(PROVIDERS, PER_PROVIDER)
        return [f"{name}: {most}" for name, most in self.most.items() if most > limits[name]]

    def out_of_line(self) -> int:
        """Return how many jobs were claimed before an earlier one of the same slot and provider."""
        last: dict[Line, int] = {}
        found = 0
        for job in self.done:
            found += job.number < last.get(job.line, -1)
            last[job.line] = job.number
        return found

    def overtaken(self) -> tuple[int, int]:
        """Return how often an earlier job was passed over, and how often there were places for it."""
        waiting: dict[Line, list[int]] = {}
        for job in sorted(self.done, key=lambda job: -job.number):
            waiting.setdefault(job.line, []).append(job.number)
        claims = [list(jobs) for _, jobs in groupby(self.done, key=lambda job: job.claim)]
        holding: list[Done] = []
        passed_over = wronged = 0
        before = 0.0
        for claim in claims:
            holding = [job for job in holding if job.ended_at >= before]
            for job in claim:
                waiting[job.line].remove(job.number)
                holding.append(job)
                first = [(numbers[-1], line) for line, numbers in waiting.items() if numbers]
                for number, line in first:
                    if number < job.number:
                        passed_over += 1
                        wronged += _has_places(line, holding)
            before = claim[-1].started_at
        return passed_over, wronged


def _has_places(line: Line, holding: Sequence[Done]) -> bool:
    at_slot = sum(job.line.slot_id == line.slot_id for job in holding)
    at_provider = sum(line.provider in {job.line.provider, job.moves_to} for job in holding)
    return at_slot < PER_SLOT and at_provider < PER_PROVIDER


async def race(dsn: str, *, jobs: int, processes: int, seed: int) -> Outcome:
    """Submit so many jobs to an empty database, and let so many processes do them all."""
    await _set_limits(dsn)
    submitted = _submit(dsn, jobs, random.Random(seed))
    provider = Provider()
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(await asyncio.start_server(provider, "127.0.0.1", 0))
        port = server.sockets[0].getsockname()[1]
        claimers = [await _claimer(stack, dsn, port) for _ in range(processes)]
        began = time.monotonic()
        told: list[Mapping[str, Any]] = []
        enough = asyncio.Event()
        listening = [asyncio.create_task(_listen(each, told, jobs, enough)) for each in claimers]
        await asyncio.wait(
            [*listening, waiting := asyncio.create_task(enough.wait())], return_when="FIRST_COMPLETED"
        )
        assert waiting.done(), "a claimer has died"
        seconds = time.monotonic() - began
    order = {job_id: number for number, job_id in enumerate(submitted)}
    done = [
        Done(
            number=order[each["job_id"]],
            line=submitted[each["job_id"]],
            moves_to=fallback_of(submitted[each["job_id"]].provider) if falls_back(each["job_id"]) else None,
            claim=each["claim"],
            started_at=each["started_at"],
            ended_at=each["ended_at"],
        )
        for each in sorted(told, key=lambda each: each["started_at"])
    ]
    return Outcome(provider.most, provider.calls, done, seconds)


async def _set_limits(dsn: str) -> None:
    async with create_pool(dsn, min_size=1, max_size=1) as pool:
        repository = PostgresSettingsRepository(pool, SignalHub())
        settings = await repository.get()
        limits = LimitSettings(per_slot=PER_SLOT, per_provider=dict.fromkeys(PROVIDERS, PER_PROVIDER))
        await repository.save(replace(settings, limits=limits), entry=an_entry())


def _submit(dsn: str, jobs: int, chance: random.Random) -> Mapping[str, Line]:
    """Return the jobs' slots and providers, in the order of submission."""
    submitted = {
        secrets.token_hex(16): Line(chance.choice(SLOTS), chance.choice(PROVIDERS)) for _ in range(jobs)
    }
    rows = [
        {
            "job_id": job_id,
            "slot_id": line.slot_id,
            "provider": line.provider,
            "configuration": to_json(a_slot_of(line.provider).configuration),
        }
        for job_id, line in submitted.items()
    ]
    with psycopg.connect(dsn) as connection:
        connection.cursor().executemany(_SUBMIT, rows)
    return submitted


async def _claimer(stack: AsyncExitStack, dsn: str, port: int) -> asyncio.subprocess.Process:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.claims.claimer", dsn, str(port)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    stack.push_async_callback(_ended, process)
    return process


async def _ended(process: asyncio.subprocess.Process) -> None:
    assert process.stdin is not None
    process.stdin.close()
    try:
        await asyncio.wait_for(process.wait(), 30)
    except TimeoutError:
        process.kill()
        raise


async def _listen(
    process: asyncio.subprocess.Process, told: list[Mapping[str, Any]], jobs: int, enough: asyncio.Event
) -> None:
    assert process.stdout is not None
    async for line in process.stdout:
        told.append(json.loads(line))
        if len(told) == jobs:
            enough.set()
