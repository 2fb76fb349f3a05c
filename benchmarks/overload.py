"""Ten times as many photos as can be done, for a minute, through real processes: who is refused, how fast,
and what is made of the places meanwhile."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic, time

import psycopg

from benchmarks.harness import (
    Connection,
    configure,
    forget_peak,
    ingest_request,
    installation,
    keep_to_load_core,
    peak_mib,
    percentile,
    resident_mib,
    running,
    table,
)
from photochanger.entrypoints.cli.processes import ServeProcess
from photochanger.entrypoints.opening import embedded_database
from photochanger.entrypoints.settings import Environment
from photochanger.testing.photos import plain_jpeg

PLACES = 8
TIMES = 10
FLOOD_SEC = 60.0
REFUSED = (429, 503)
PORT = 8461


@dataclass(frozen=True, slots=True)
class Provider:
    """How long a provider takes, and how long its photos' booths wait."""

    call_sec: float
    time_out_sec: int

    @property
    def per_sec(self) -> float:
        """How many photos could be done a second if nothing else had to be done for them."""
        return PLACES / self.call_sec


PROVIDERS = (Provider(0.5, 20), Provider(4.0, 48))
"""One that is so fast that the machine has little time left, and one as they are."""


def run() -> str:
    """Measure, and return the figures as Markdown."""
    return "\n\n".join(asyncio.run(_measure(provider)) for provider in PROVIDERS)


@dataclass(frozen=True, slots=True)
class Sent:
    """A photo that was sent, and its answer; times in seconds from the beginning."""

    sent_at: float
    seconds: float
    status: int

    @property
    def answered_at(self) -> float:
        """When the whole answer was there."""
        return self.sent_at + self.seconds


@dataclass
class Flood:
    """Photos at a steady rate, whatever becomes of those before; each booth has a connection of its own."""

    port: int
    request: bytes
    began: float = field(default_factory=monotonic)
    sent: list[Sent] = field(default_factory=list)

    async def go_on(self, *, per_sec: float, seconds: float) -> None:
        """Send so many a second for so long, and wait for the last answer."""
        async with asyncio.TaskGroup() as booths:
            for number in range(int(per_sec * seconds)):
                await asyncio.sleep(self.began + number / per_sec - monotonic())
                booths.create_task(self.photo())

    async def photo(self) -> Sent:
        """Send one photo over a new connection, as booths do; a broken connection has status 0."""
        at, status, connection = monotonic(), 0, Connection(self.port)
        try:
            status = (await connection.ask(self.request)).status
            await connection.close()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        sent = Sent(at - self.began, monotonic() - at, status)
        self.sent.append(sent)
        return sent


async def _measure(provider: Provider) -> str:
    with installation() as data_dir:
        await asyncio.to_thread(_set_up, data_dir, provider)
        keep_to_load_core()
        with running(data_dir, PORT, workers=PLACES) as server:
            request = ingest_request(plain_jpeg())
            calm = Flood(PORT, request)
            await calm.go_on(per_sec=provider.per_sec / 4, seconds=5)
            return await _flooded(data_dir, server, provider, request, usual_sec=_median(calm.sent))


def _set_up(data_dir: Path, provider: Provider) -> None:
    configure(
        data_dir,
        params={"effect": "none", "delay_ms": int(provider.call_sec * 1000)},
        timeout_sec=provider.time_out_sec,
        max_concurrency=PLACES,
    )


async def _flooded(
    data_dir: Path, server: ServeProcess, provider: Provider, request: bytes, *, usual_sec: float
) -> str:
    idle_mib = resident_mib(server.pid)
    forget_peak(server.pid)
    flood, began_at = Flood(PORT, request), time()
    await flood.go_on(per_sec=TIMES * provider.per_sec, seconds=FLOOD_SEC)
    most_mib, sent = peak_mib(server.pid), list(flood.sent)
    places = await asyncio.to_thread(_places, data_dir, began_at)
    back_sec = await _until_as_usual(flood, usual_sec)
    await asyncio.sleep(60)
    return "\n".join(
        [
            f"### {TIMES} × {provider.per_sec:g} photos a second for {FLOOD_SEC:g} s,"
            f" {provider.time_out_sec} s each; the provider takes {provider.call_sec:g} s",
            "",
            table(
                ["", ""],
                [
                    *_rows(sent, provider, usual_sec),
                    ["places taken", f"{places.taken:.0%}"],
                    ["a job keeps its place, ms", f"{places.held_sec * 1000:.0f}"],
                    [
                        "RSS before, at most, 60 s after, MiB",
                        f"{idle_mib:.0f}, {most_mib:.0f}, {resident_mib(server.pid):.0f}",
                    ],
                    ["after the last answer, until a photo was done as usual, s", f"{back_sec:.2f}"],
                ],
            ),
        ]
    )


@dataclass(frozen=True, slots=True)
class _Places:
    """Which share of the places was taken during the flood, and for how long one was, on the average."""

    taken: float
    held_sec: float


def _places(data_dir: Path, began_at: float) -> _Places:
    """Return what the database says of the jobs of a flood that began then, in seconds of the epoch."""
    with embedded_database(Environment(data_dir=data_dir)) as dsn, psycopg.connect(dsn) as connection:
        row = connection.execute(_HELD, {"began_at": began_at, "seconds": FLOOD_SEC}).fetchone()
    if row is None or row[0] is None:
        raise ValueError("no job was done")
    return _Places(taken=row[0] / (PLACES * FLOOD_SEC), held_sec=row[1])


_HELD = """
    SELECT
        sum(extract(epoch FROM least(finalized_at, flood.ended) - least(started_at, flood.ended)))::float8,
        avg(extract(epoch FROM finalized_at - started_at))::float8
    FROM job, (
        SELECT to_timestamp(%(began_at)s) AS began,
            to_timestamp(%(began_at)s) + %(seconds)s * interval '1 second' AS ended
    ) AS flood
    WHERE started_at >= flood.began AND finalized_at IS NOT NULL"""


async def _until_as_usual(flood: Flood, usual_sec: float) -> float:
    """Send one photo after the other until one takes as long as usual; return how long that took."""
    ended = monotonic()
    while True:
        at = monotonic()
        photo = await flood.photo()
        if photo.status == 200 and photo.seconds < 1.5 * usual_sec:
            return at - ended


def _rows(sent: Sequence[Sent], provider: Provider, usual_sec: float) -> Sequence[Sequence[object]]:
    refused = [photo.seconds * 1000 for photo in sent if photo.status in REFUSED]
    accepted = [photo for photo in sent if photo.status not in REFUSED]
    done = [photo for photo in accepted if photo.status == 200]
    in_flood = [photo for photo in done if provider.call_sec <= photo.answered_at <= FLOOD_SEC]
    capacity = provider.per_sec * (FLOOD_SEC - provider.call_sec)
    return [
        ["photos sent", len(sent)],
        ["refused", f"{len(refused)} ({len(refused) / len(sent):.0%})"],
        ["a refusal takes, p50, p99, max ms", _figures(refused)],
        ["answers", ", ".join(f"{status}: {n}" for status, n in sorted(_statuses(sent).items()))],
        ["of those taken: done in time", f"{len(done) / len(accepted):.2%}"],
        ["they take, p50, p99, max ms", _figures([photo.seconds * 1000 for photo in done])],
        ["a photo takes without a flood, ms", f"{usual_sec * 1000:.0f}"],
        ["capacity used", f"{len(in_flood) / capacity:.0%}"],
    ]


def _statuses(sent: Sequence[Sent]) -> Counter[int]:
    return Counter(photo.status for photo in sent)


def _figures(values: Sequence[float]) -> str:
    if not values:
        return "none"
    return f"{percentile(values, 0.5):.0f}, {percentile(values, 0.99):.0f}, {max(values):.0f}"


def _median(sent: Sequence[Sent]) -> float:
    return percentile([photo.seconds for photo in sent if photo.status == 200], 0.5)
