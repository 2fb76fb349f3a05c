"""How the server's memory follows 16 uploads of 50 MB at once."""

import asyncio
import time

from benchmarks.harness import (
    configure,
    ingest_request,
    installation,
    keep_to_load_core,
    load,
    peak_resident_mib,
    resident_mib,
    running,
    table,
)
from photochanger.testing.photos import jpeg_3mb, jpeg_50mb

UPLOADS = 16
PORT = 8314
REST_SEC = 60


def run() -> str:
    """Measure, and return the figures as Markdown."""
    warm_up, request = ingest_request(jpeg_3mb()), ingest_request(jpeg_50mb())
    with installation() as data_dir:
        # The provider fails at once. Photos are scaled down for it before, one at a time, and reduced while
        # they are decoded; `upload` measures uploads alone.
        configure(data_dir, params={"outcome": "error"}, timeout_sec=60)
        with running(data_dir, PORT, workers=1) as server:
            keep_to_load_core()
            asyncio.run(load(PORT, warm_up, connections=4, requests=8))
            idle = resident_mib(server.pid)
            failed = 0

            async def burst() -> None:
                nonlocal failed
                answers = await load(PORT, request, connections=UPLOADS, requests=UPLOADS)
                failed = sum(answer.status != 502 for answer in answers)

            peak = asyncio.run(peak_resident_mib(server.pid, burst))
            time.sleep(REST_SEC)
            after = resident_mib(server.pid)
    rows: list[list[object]] = [
        ["idle, warm, MiB", f"{idle:.0f}"],
        ["peak, MiB", f"{peak:.0f}"],
        ["per upload, MiB", f"{(peak - idle) / UPLOADS:.2f}"],
        [f"{REST_SEC} s after, MiB (ratio to idle)", f"{after:.0f} ({after / idle:.2f})"],
        ["not answered as expected", failed],
    ]
    return "\n".join([f"### Memory under {UPLOADS} uploads of 50 MB at once", "", table(["", ""], rows)])
