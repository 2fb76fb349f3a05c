"""How late a 504 comes, and never early: requests held against a provider that hangs."""

import asyncio

from benchmarks.harness import (
    Connection,
    configure,
    ingest_request,
    installation,
    keep_to_load_core,
    percentile,
    running,
    table,
)
from photochanger.testing.photos import camera_jpeg

TIMEOUT_SEC = 25
CASES = ((100, 50), (1000, 50), (100, 10_000))
"""How many requests are held at once, and how many of them arrive in a second."""
PORT = 8313


def run() -> str:
    """Measure, and return the figures as Markdown."""
    # The one request of a booth that was captured carried a photo of 52 kB.
    request = ingest_request(camera_jpeg(600, 400, noise=0.1))
    with installation() as data_dir:
        configure(data_dir, params={"outcome": "hang"}, timeout_sec=TIMEOUT_SEC)
        with running(data_dir, PORT):
            keep_to_load_core()
            rows = [_row(held, rate, asyncio.run(_hold(request, held, rate))) for held, rate in CASES]
    header = ["held at once", "arriving per second", "p50 ms", "p99 ms", "max ms", "earliest ms", "not 504"]
    return "\n".join([f"### Lateness of the 504 ({TIMEOUT_SEC} s deadline)", "", table(header, rows)])


async def _hold(request: bytes, held: int, rate: int) -> list[tuple[int, float]]:
    async def one(delay: float) -> tuple[int, float]:
        await asyncio.sleep(delay)
        connection = Connection(PORT)
        answer = await connection.ask(request)
        await connection.close()
        return answer.status, (answer.seconds - TIMEOUT_SEC) * 1000

    return await asyncio.gather(*(one(number / rate) for number in range(held)))


def _row(held: int, rate: int, answers: list[tuple[int, float]]) -> list[object]:
    late = [lateness for _, lateness in answers]
    failed = sum(status != 504 for status, _ in answers)
    figures = (percentile(late, 0.5), percentile(late, 0.99), max(late), min(late))
    return [held, rate, *(f"{figure:.1f}" for figure in figures), failed]
