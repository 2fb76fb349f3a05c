"""Ten times as many photos as can be done, for a minute, through real processes: who is refused, and how
fast."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic

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
from photochanger.testing.photos import plain_jpeg

PLACES = 8
CALL_SEC = 0.5
"""How long the provider takes; with so many places that is a capacity of sixteen photos a second."""

TIMES = 10
FLOOD_SEC, TIME_OUT_SEC = 60.0, 20
REFUSED = (429, 503)
PORT = 8461


def run() -> str:
    """Measure, and return the figures as Markdown."""
    return asyncio.run(_measure())


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


async def _measure() -> str:
    with installation() as data_dir:
        await asyncio.to_thread(_set_up, data_dir)
        keep_to_load_core()
        with running(data_dir, PORT, workers=PLACES) as server:
            request = ingest_request(plain_jpeg())
            calm = Flood(PORT, request)
            await calm.go_on(per_sec=PLACES / CALL_SEC / 4, seconds=5)
            return await _flooded(server, request, usual_sec=_median(calm.sent))


def _set_up(data_dir: Path) -> None:
    configure(
        data_dir,
        params={"effect": "none", "delay_ms": int(CALL_SEC * 1000)},
        timeout_sec=TIME_OUT_SEC,
        max_concurrency=PLACES,
    )


async def _flooded(server: ServeProcess, request: bytes, *, usual_sec: float) -> str:
    idle_mib = resident_mib(server.pid)
    forget_peak(server.pid)
    flood = Flood(PORT, request)
    asked_per_sec = TIMES * PLACES / CALL_SEC
    await flood.go_on(per_sec=asked_per_sec, seconds=FLOOD_SEC)
    most_mib, sent = peak_mib(server.pid), list(flood.sent)
    back_sec = await _until_as_usual(flood, usual_sec)
    await asyncio.sleep(60)
    return "\n".join(
        [
            f"### {TIMES} × {PLACES / CALL_SEC:g} photos a second for {FLOOD_SEC:g} s, {TIME_OUT_SEC} s each",
            "",
            table(
                ["", ""],
                [
                    *_rows(sent, usual_sec),
                    [
                        "RSS before, at most, 60 s after, MiB",
                        f"{idle_mib:.0f}, {most_mib:.0f}, {resident_mib(server.pid):.0f}",
                    ],
                    ["after the last answer, until a photo was done as usual, s", f"{back_sec:.2f}"],
                ],
            ),
        ]
    )


async def _until_as_usual(flood: Flood, usual_sec: float) -> float:
    """Send one photo after the other until one takes as long as usual; return how long that took."""
    ended = monotonic()
    while True:
        at = monotonic()
        photo = await flood.photo()
        if photo.status == 200 and photo.seconds < 1.5 * usual_sec:
            return at - ended


def _rows(sent: Sequence[Sent], usual_sec: float) -> Sequence[Sequence[object]]:
    refused = [photo.seconds * 1000 for photo in sent if photo.status in REFUSED]
    accepted = [photo for photo in sent if photo.status not in REFUSED]
    done = [photo for photo in accepted if photo.status == 200]
    in_flood = [photo for photo in done if CALL_SEC <= photo.answered_at <= FLOOD_SEC]
    capacity = PLACES / CALL_SEC * (FLOOD_SEC - CALL_SEC)
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
