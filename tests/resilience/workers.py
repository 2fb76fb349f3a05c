"""Workers that are known to work."""

from collections.abc import Mapping

from photochanger.entrypoints.cli.processes import Process
from tests.system.installation import Installation, eventually


async def working(
    installation: Installation, *, workers: int = 4, variables: Mapping[str, str] | None = None
) -> Process:
    """Start `photochanger worker`, and wait until it claims jobs."""
    worker = installation.worker(workers=workers, variables=variables)

    async def works() -> bool:
        return "jobs at once" in worker.log_path.read_text()

    await eventually(works, within_sec=60)
    return worker
