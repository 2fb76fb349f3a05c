"""Kill PhotoChanger again and again under a mixed load, and see that nothing is lost.

A real `photochanger serve`, on a PostgreSQL of its own that is not killed, is sent photos by booths while
guests download results and administrators clear slots, cancel jobs, and add and remove templates. At random
moments, also while it starts, it is ended with SIGKILL and started again. Then one sweep and one comparison
of database and store have to find nothing wrong; every job that was accepted has to be final or under way;
and every picture that a client got with 200 has to be there, byte for byte, unless its end was asked for.

The same seed makes the same choices, though not the same moments: those belong to the machine as well.
Exit status: 0 nothing was lost, 1 something was, and is named.
"""

import argparse
import asyncio
import json
import secrets
import shutil
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from photochanger.adapters.embedded_postgres import EmbeddedPostgres
from photochanger.adapters.postgres import migrate
from tests.crash.driver import Driver, Plan
from tests.crash.figures import as_markdown
from tests.s3_server import s3_server_running
from tests.system.installation import Installation, as_url


def main() -> int:
    """Run as the command line says."""
    options = _parser().parse_args()
    plan = Plan(
        kills=options.kills,
        seed=options.seed,
        booths=options.booths,
        workers=options.workers,
        separate_worker=options.separate_worker,
    )
    _tell(f"seed {plan.seed}, store {options.store}, {plan.kills} kills")
    folder = Path(tempfile.mkdtemp(prefix="photochanger-crash-"))
    with ExitStack() as stack:
        dsn = stack.enter_context(EmbeddedPostgres(folder / "server"))
        migrate(dsn)
        bucket = stack.enter_context(s3_server_running()).new_bucket() if options.store == "s3" else None
        installation = Installation(folder / "data", as_url(dsn), bucket=bucket)
        figures = asyncio.run(Driver(plan, installation, tell=_tell).run())
    print(as_markdown(figures, store=options.store))
    if options.json:
        options.json.write_text(json.dumps(figures.document() | {"store": options.store}, indent=2) + "\n")
    if figures.violations:
        _tell(f"Logs, database and media are in {folder}")
        return 1
    shutil.rmtree(folder)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.crash",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--kills", type=int, default=200, help="how often (default 200: some twenty minutes)")
    parser.add_argument(
        "--seed", type=int, default=secrets.randbelow(10**6), help="of all choices (default: any; it is told)"
    )
    parser.add_argument(
        "--store", choices=["folder", "s3"], default="folder", help="where media are (default folder)"
    )
    parser.add_argument("--booths", type=int, default=8, help="how many send photos at once (default 8)")
    parser.add_argument("--workers", type=int, default=4, help="how many jobs are done at once (default 4)")
    parser.add_argument(
        "--separate-worker",
        action="store_true",
        help="do the jobs in a process of their own; the server, the worker or both are killed",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    return parser


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
