"""What the durable job costs over a bare endpoint: a 3 MB photo in, the same out, nothing done to it."""

import asyncio
import time

from benchmarks.harness import (
    Spread,
    bare,
    configure,
    ingest_request,
    installation,
    keep_to_load_core,
    load,
    percentile,
    running,
    table,
)
from photochanger.testing.photos import camera_jpeg

ROUNDS = 5
ALONE, TOGETHER = 40, 120
PORT, BARE_PORT = 8311, 8312


def run() -> str:
    """Measure, and return the figures as Markdown."""
    # As large as the rehearsal provider takes, so that no time goes into scaling it down.
    photo = camera_jpeg(2048, 1536, quality=97, noise=0.65)
    request = ingest_request(photo)
    with installation() as data_dir:
        answer = data_dir / "answer.jpg"
        answer.write_bytes(photo)
        configure(data_dir, params={"effect": "none"})
        with running(data_dir, PORT), bare(answer, BARE_PORT):
            keep_to_load_core()
            rows = [_round(request) for _ in range(ROUNDS + 1)][1:]
    return _report(rows)


def _round(request: bytes) -> dict[str, float]:
    figures: dict[str, float] = {}
    for name, port in (("bare", BARE_PORT), ("job", PORT)):
        answers = asyncio.run(load(port, request, connections=1, requests=ALONE))
        times = [each.seconds * 1000 for each in answers]
        figures[f"{name} p50"] = percentile(times, 0.5)
        figures[f"{name} p99"] = percentile(times, 0.99)
        began = time.perf_counter()
        answers += asyncio.run(load(port, request, connections=8, requests=TOGETHER))
        figures[f"{name} per second"] = TOGETHER / (time.perf_counter() - began)
        figures[f"{name} failed"] = sum(each.status != 200 for each in answers)
    return figures


def _report(rounds: list[dict[str, float]]) -> str:
    def spread(name: str) -> Spread:
        return Spread.of([each[name] for each in rounds])

    added = Spread.of([each["job p50"] - each["bare p50"] for each in rounds])
    added_99 = Spread.of([each["job p99"] - each["bare p50"] for each in rounds])
    ratio = Spread.of([each["job per second"] / each["bare per second"] for each in rounds])
    return "\n".join(
        [
            f"### Overhead of the durable job (3 MB in and out, {ROUNDS} interleaved rounds)",
            "",
            table(
                ["", "bare endpoint", "durable job"],
                [
                    ["c=1, p50 ms", spread("bare p50"), spread("job p50")],
                    ["c=1, p99 ms", spread("bare p99"), spread("job p99")],
                    ["c=8, photos/s", spread("bare per second"), spread("job per second")],
                    ["failed", spread("bare failed"), spread("job failed")],
                ],
            ),
            "",
            f"Added at c=1: p50 {added} ms; p99 over the bare p50 {added_99} ms. "
            f"Throughput at c=8: {ratio} of the bare endpoint's.",
        ]
    )
