"""What deleting a hundred thousand expired results costs the photos meanwhile, and how long it takes."""

import asyncio
import hashlib
import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import psycopg

from benchmarks.harness import (
    Connection,
    Spread,
    configure,
    ingest_request,
    installation,
    keep_to_load_core,
    load,
    percentile,
    pinned,
    resident_mib,
    running,
    table,
)
from photochanger.adapters.embedded_postgres import EmbeddedPostgres
from photochanger.adapters.postgres.rows import to_json
from photochanger.application.sweep import TURN
from photochanger.domain.job import JobResult
from photochanger.entrypoints.cli.processes import ServeProcess
from photochanger.entrypoints.settings import Environment
from photochanger.testing.harness import a_configuration, an_image
from photochanger.testing.photos import camera_jpeg

EXPIRED, LIVING = 100_000, 20_000
"""Jobs with a result and a preview each."""
CONTENTS: Mapping[str, bytes] = {"result": os.urandom(24 << 10), "preview": os.urandom(4 << 10)}
ROUNDS = {"comparing": 2, "deleting": 4}
WINDOW_SEC = 30
PHOTOS_A_SECOND = 4.0
PORT = 8323

COMPARING, DELETING = "comparing", "deleting"

_FILL_JOBS = """
    INSERT INTO job (job_id, slot_id, slot_version, configuration, payload_id, content_hash, created_at,
        deadline, retention, source, state, fence, started_at, finalized_at, attempts, result)
    SELECT md5('job' || n), format('slot-%%s', lpad((1 + n %% 15)::text, 3, '0')), 1,
        %(configuration)s::jsonb, md5('payload' || n), 'x', ended_at - '9 s'::interval,
        ended_at + '39 s'::interval, '72 h', 'booth', 'completed', 1, ended_at - '8 s'::interval, ended_at, 1,
        jsonb_set(jsonb_set(%(result)s::jsonb, '{image,media_id}', to_jsonb(md5('result' || n))),
            '{preview,media_id}', to_jsonb(md5('preview' || n)))
    FROM (
        SELECT n, now() - CASE WHEN n <= %(expired)s THEN '73 h'::interval + n * '1 s'::interval
            ELSE (n - %(expired)s) * '1 s'::interval END AS ended_at
        FROM generate_series(1, %(jobs)s) AS n
    ) AS numbered
    ORDER BY ended_at"""

_FILL_MEDIA = """
    INSERT INTO media_object (media_id, kind, slot_id, state, created_at, expires_at, offer_at, image_type,
        size_bytes, sha256)
    SELECT md5(file.kind || n), file.kind, format('slot-%%s', lpad((1 + n %% 15)::text, 3, '0')),
        CASE file.kind WHEN 'payload' THEN 'deleted' ELSE 'stored' END,
        now() - '73 h'::interval, now() + '1 day'::interval, now() + '1 day'::interval, 'image/jpeg',
        file.size_bytes, file.sha256
    FROM generate_series(1, %(jobs)s) AS n, (
        SELECT unnest(%(kinds)s::text[]), unnest(%(sizes)s::bigint[]), unnest(%(hashes)s::text[])
    ) AS file (kind, size_bytes, sha256)"""

_END_WITH_JOB = """
    UPDATE media_object SET expires_at = job.result_expires_at, offer_at = job.result_expires_at
    FROM job,
        unnest(ARRAY[job.result #>> '{image,media_id}', job.result #>> '{preview,media_id}']) AS file (id)
    WHERE media_object.media_id = file.id AND job.result_expires_at """
_END_LIVING, _EXPIRE = (_END_WITH_JOB + condition for condition in (">= now()", "< now()"))
_EVERY_SECOND = """
    UPDATE setting SET document = document || '{"cleanup": {"interval_sec": 1}}'"""
_HOLD_TURN = "UPDATE sweeper SET holder = 'nobody', lease_expires_at = 'infinity'"
_GIVE_TURN = "UPDATE sweeper SET holder = NULL, lease_expires_at = NULL"
_COUNT_DELETED = "SELECT count(*) FROM media_object WHERE kind <> 'payload' AND state = 'deleted'"
_NONE_LEFT = """
    SELECT NOT EXISTS (SELECT FROM media_object WHERE state <> 'deleted' AND offer_at < now())
        AND NOT EXISTS (SELECT FROM media_object WHERE state = 'deleting')"""
_SWEPT_AGO = "SELECT extract(epoch FROM clock_timestamp() - swept_at)::float8 FROM sweeper"


_SWEPT_AGO = "SELECT extract(epoch FROM clock_timestamp() - swept_at)::float8 FROM sweeper"
_COMPARED = "SELECT compared_at IS NOT NULL FROM sweeper"
_COMPARE_AGAIN = "UPDATE sweeper SET compared_at = NULL WHERE compared_at IS NOT NULL"


@dataclass(slots=True, kw_only=True)
class Window:
    """What was seen while photos came for some time. `files` is how many were deleted in `took_sec`."""

    seconds: list[float] = field(default_factory=list)
    failed: int = 0
    peak_mib: float = 0.0
    lag_off_by_sec: float = 0.0
    files: int = 0
    took_sec: float = 0.0
    ports: Mapping[str, float] = field(default_factory=dict)

    def ms(self, share: float) -> float:
        """Return the percentile of the photos' times, in milliseconds."""
        return percentile(self.seconds, share) * 1000


def run() -> str:
    """Measure, and return the figures as Markdown."""
    # As large as the rehearsal provider takes, so that no time goes into scaling it down: 1.5 MB.
    request = ingest_request(camera_jpeg(2048, 1536, quality=90, noise=0.3))
    with installation() as data_dir:
        configure(data_dir, params={"effect": "none"})
        with EmbeddedPostgres(data_dir) as dsn:
            _fill(dsn, Environment(data_dir=data_dir).media_dir)
        with running(data_dir, PORT) as server, EmbeddedPostgres(data_dir) as dsn:
            keep_to_load_core()
            return asyncio.run(_Measurement(data_dir, server, dsn, request).report())


def _fill(dsn: str, media_dir: Path) -> None:
    jobs = EXPIRED + LIVING
    for kind, content in CONTENTS.items():
        for shard in range(256):
            (media_dir / kind / f"{shard:02x}").mkdir(mode=0o700, parents=True, exist_ok=True)
        for number in range(1, jobs + 1):
            _path(media_dir, kind, number).write_bytes(content)
    parameters = {
        "jobs": jobs,
        "expired": EXPIRED,
        "configuration": to_json(a_configuration()),
        "result": to_json(JobResult(image=an_image(), preview=an_image())),
        "kinds": [*CONTENTS, "payload"],
        "sizes": [*map(len, CONTENTS.values()), 1],
        "hashes": [*(hashlib.sha256(content).hexdigest() for content in CONTENTS.values()), "x"],
    }
    with psycopg.connect(dsn, autocommit=True) as connection:
        for statement in (_FILL_JOBS, _FILL_MEDIA):
            connection.execute(statement.encode(), parameters)
        for statement in (_END_LIVING, "VACUUM ANALYZE", _EVERY_SECOND, _HOLD_TURN):
            connection.execute(statement.encode())
    os.sync()


def _path(media_dir: Path, kind: str, number: int) -> Path:
    media_id = hashlib.md5(f"{kind}{number}".encode(), usedforsecurity=False).hexdigest()
    return media_dir / kind / media_id[:2] / media_id


class _Measurement:
    """One server, and what is done to it."""

    def __init__(self, data_dir: Path, server: ServeProcess, dsn: str, request: bytes) -> None:
        self._data_dir = data_dir
        self._server = server
        self._dsn = dsn
        self._request = request

    async def report(self) -> str:
        """Measure everything, and return the figures as Markdown."""
        await load(PORT, self._request, connections=4, requests=60)
        await self._window()
        memory = [resident_mib(self._server.pid)]
        verified = [await self._verify()]
        comparing = await self._rounds(COMPARING)
        compared_sec = await self._compare_alone()
        await self._execute(_EXPIRE, "VACUUM ANALYZE media_object")
        deleting = await self._rounds(DELETING)
        rest = await self._sweep_the_rest()
        verified.append(await self._verify())
        windows = [window for pair in [*comparing, *deleting] for window in pair]
        memory += [max(window.peak_mib for window in windows), resident_mib(self._server.pid)]
        rows: list[list[object]] = [
            [
                "files deleted a second, beside photos",
                Spread.of([on.files / on.took_sec for _, on in deleting]),
            ],
            ["… without photos (of so many)", f"{rest.files / rest.took_sec:.0f} ({rest.files})"],
            ["files compared with rows, without photos, s", f"{compared_sec:.1f}"],
            ["`photochanger verify`, before; after, s", "; ".join(verified)],
            ["memory before; highest; after, MiB", "; ".join(f"{mib:.0f}" for mib in memory)],
            ["living files that are there", f"{self._living()} of {LIVING * len(CONTENTS)}"],
            ["`sweeper_lag_seconds` off by, s", f"{max(window.lag_off_by_sec for window in windows):.1f}"],
        ]
        title = f"### {EXPIRED:,} expired results beside {LIVING:,} living ones, {PHOTOS_A_SECOND:g} photos/s"
        tables = [_about(COMPARING, comparing), _about(DELETING, deleting), table(["", ""], rows)]
        return "\n\n".join([title, *tables])

    def _living(self) -> int:
        media_dir, numbers = Environment(data_dir=self._data_dir).media_dir, range(EXPIRED, EXPIRED + LIVING)
        return sum(_path(media_dir, kind, number + 1).exists() for kind in CONTENTS for number in numbers)

    async def _rounds(self, kind: str) -> Sequence[tuple[Window, Window]]:
        """Return windows without sweeping and with it, in turn."""
        rounds = []
        for _ in range(ROUNDS[kind]):
            alone = await self._window()
            await self._execute(_GIVE_TURN)
            busy = asyncio.create_task(self._keep_comparing()) if kind == COMPARING else None
            rounds.append((alone, await self._window()))
            if busy:
                busy.cancel()
            await self._execute(_HOLD_TURN)
            await self._until_nobody_sweeps()
        return rounds

    async def _keep_comparing(self) -> None:
        while True:
            await self._execute(_COMPARE_AGAIN)
            await asyncio.sleep(0.5)

    async def _compare_alone(self) -> float:
        """Return how long the server takes to compare all files with their rows, alone."""
        await self._execute(_COMPARE_AGAIN, _GIVE_TURN)
        began = time.monotonic()
        await self._until(_COMPARED)
        took = time.monotonic() - began
        await self._execute(_HOLD_TURN)
        await self._until_nobody_sweeps()
        return took

    async def _sweep_the_rest(self) -> Window:
        await self._execute(_COMPARE_AGAIN, _GIVE_TURN)
        before, began = await self._deleted(), time.monotonic()
        await self._until(_NONE_LEFT)
        rest = Window(files=await self._deleted() - before, took_sec=time.monotonic() - began)
        await self._until(_COMPARED)
        return rest

    async def _until(self, condition: str) -> None:
        while not (await self._row(condition))[0]:  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.1)

    async def _until_nobody_sweeps(self) -> None:
        """Wait until the server has found out that the turn is not its own any more."""
        await asyncio.sleep(TURN.total_seconds() / 2)

    async def _window(self) -> Window:
        window, photos, loop = Window(), list[asyncio.Task[None]](), asyncio.get_running_loop()
        ports, deleted = await self._ports(), await self._deleted()
        watching = asyncio.create_task(self._watch(window))
        began = loop.time()
        for number in range(int(WINDOW_SEC * PHOTOS_A_SECOND)):
            due = began + number / PHOTOS_A_SECOND
            await asyncio.sleep(due - loop.time())
            photos.append(asyncio.create_task(self._send(window, due)))
        await asyncio.gather(*photos)
        window.took_sec = loop.time() - began
        watching.cancel()
        window.files = await self._deleted() - deleted
        window.ports = {name: value - ports.get(name, 0) for name, value in (await self._ports()).items()}
        return window

    async def _send(self, window: Window, due: float) -> None:
        """Send a photo on a connection of its own, as a booth does; its time counts from when it was due."""
        connection = Connection(PORT)
        try:
            answer = await connection.ask(self._request)
            window.failed += answer.status != 200
            await connection.close()
        except (OSError, EOFError) as error:
            print(f"a photo was not answered: {error!r}", file=sys.stderr)
            window.failed += 1
        window.seconds.append(asyncio.get_running_loop().time() - due)

    async def _watch(self, window: Window) -> None:
        """Look at memory, and at whether the metric of the sweeper's lag tells what the database does."""
        while True:
            window.peak_mib = max(window.peak_mib, resident_mib(self._server.pid))
            [swept_ago] = await self._row(_SWEPT_AGO)
            told = (await self._metrics())["photochanger_sweeper_lag_seconds"]
            if swept_ago is not None:
                window.lag_off_by_sec = max(window.lag_off_by_sec, abs(told - swept_ago))
            await asyncio.sleep(0.5)

    async def _verify(self) -> str:
        command = [*pinned("0"), sys.executable, "-m", "photochanger", "verify", "--json"]
        began = time.monotonic()
        process = await asyncio.create_subprocess_exec(
            *command, "--data-dir", str(self._data_dir), stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        out, _ = await process.communicate()
        told = json.loads(out)
        codes = Counter(each["code"] for each in told["discrepancies"])
        wrong = "clean" if told["clean"] else f"NOT CLEAN: {dict(codes)}"
        return f"{time.monotonic() - began:.1f} ({told['compared_files']} files, {wrong})"

    async def _ports(self) -> Mapping[str, float]:
        """Return seconds and calls of the sweeper's ports, and how late the event loop was."""
        return {
            name: value
            for name, value in (await self._metrics()).items()
            if name.startswith(("photochanger_port_duration_seconds", "photochanger_event_loop_lag_seconds"))
        }

    async def _metrics(self) -> Mapping[str, float]:
        page = await asyncio.to_thread(_read, f"{self._server.base_url}/metrics")
        lines = [line.rpartition(" ") for line in page.splitlines() if not line.startswith("#")]
        return {name: float(value) for name, _, value in lines}

    async def _deleted(self) -> int:
        return int((await self._row(_COUNT_DELETED))[0])

    async def _row(self, statement: str) -> tuple[Any, ...]:
        async with await psycopg.AsyncConnection.connect(self._dsn, autocommit=True) as connection:
            row = await (await connection.execute(statement.encode())).fetchone()
        assert row is not None
        return row

    async def _execute(self, *statements: str) -> None:
        async with await psycopg.AsyncConnection.connect(self._dsn, autocommit=True) as connection:
            for statement in statements:
                await connection.execute(statement.encode())


def _read(url: str) -> str:
    with urlopen(url, timeout=30) as answer:
        page: bytes = answer.read()
    return page.decode()


_SHARES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}
_PORT_OF_STEP = {
    "MediaRegistry.doomed": 'operation="doomed",outcome="ok",port="MediaRegistry"',
    "MediaStore.delete": 'operation="delete",outcome="ok",port="MediaStore"',
    "MediaRegistry.confirm_deleted": 'operation="confirm_deleted",outcome="ok",port="MediaRegistry"',
    "MediaRegistry.living": 'operation="living",outcome="ok",port="MediaRegistry"',
}


def _step_ms(windows: Sequence[Window], labels: str) -> str:
    sums = counts = 0.0
    for window in windows:
        for name, value in window.ports.items():
            if labels in name:
                sums += value if "_sum{" in name else 0
                counts += value if "_count{" in name else 0
    return f"{sums / counts * 1000:.1f} ({counts:.0f})" if counts else "-"


def _loop_ms(windows: Sequence[Window]) -> str:
    name = "photochanger_event_loop_lag_seconds"
    sums, counts = (sum(each.ports[f"{name}_{what}"] for each in windows) for what in ("sum", "count"))
    return f"{sums / counts * 1000:.2f}"


def _about(kind: str, rounds: Sequence[tuple[Window, Window]]) -> str:
    alone, busy = ([pair[side] for pair in rounds] for side in (0, 1))
    rows = [_compared(name, share, alone, busy) for name, share in _SHARES.items()]
    for name, told in (("photos (failed)", _counted), ("event loop late by, mean ms", _loop_ms)):
        rows.append([name, told(alone), told(busy), "", ""])
    for name, labels in _PORT_OF_STEP.items():
        rows.append([f"`{name}`, mean ms (calls)", _step_ms(alone, labels), _step_ms(busy, labels), "", ""])
    return table(["", "alone", f"while {kind}", "ratio of each round", "of all photos"], rows)


def _compared(name: str, share: float, alone: Sequence[Window], busy: Sequence[Window]) -> list[object]:
    sides = [[window.ms(share) for window in side] for side in (alone, busy)]
    ratios = [one / other for other, one in zip(*sides, strict=True)]
    of_all = _pooled(busy, share) / _pooled(alone, share)
    return [f"photos, {name} ms", *map(Spread.of, sides), Spread.of(ratios), f"{of_all:.2f}"]


def _counted(windows: Sequence[Window]) -> str:
    return f"{sum(len(each.seconds) for each in windows)} ({sum(each.failed for each in windows)})"


def _pooled(windows: Sequence[Window], share: float) -> float:
    return percentile([seconds for window in windows for seconds in window.seconds], share)
