"""Ten thousand claims by six racing processes: is a limit ever exceeded, or anybody overtaken?

Exit status: 0 no, 1 yes.
"""

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path

from photochanger.adapters.embedded_postgres import EmbeddedPostgres
from photochanger.adapters.postgres import migrate
from tests.claims.race import PER_PROVIDER, PER_SLOT, Outcome, race


def main() -> int:
    """Run as the command line says."""
    parser = argparse.ArgumentParser(prog="python -m tests.claims", description=__doc__)
    parser.add_argument("--jobs", type=int, default=10_000, help="how many are claimed (default 10000)")
    parser.add_argument("--processes", type=int, default=6, help="how many claim (default 6)")
    parser.add_argument("--seed", type=int, default=1, help="of the jobs' slots and providers")
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="photochanger-claims-") as folder,
        EmbeddedPostgres(Path(folder)) as dsn,
    ):
        migrate(dsn)
        outcome = asyncio.run(race(dsn, jobs=options.jobs, processes=options.processes, seed=options.seed))
    return _tell(outcome)


def _tell(outcome: Outcome) -> int:
    passed_over, wronged = outcome.overtaken()
    out_of_line = outcome.out_of_line()
    print(f"{len(outcome.done)} jobs, {outcome.calls} calls in {outcome.seconds:.1f} s")
    print(f"most at once (limits {PER_SLOT} and {PER_PROVIDER}): {dict(sorted(outcome.most.items()))}")
    print(f"exceeded: {list(outcome.exceeded())}; claimed before an earlier one of their line: {out_of_line}")
    print(
        f"passed over because slot or provider was full: {passed_over}; although there were places: {wronged}"
    )
    return 1 if outcome.exceeded() or out_of_line or wronged else 0


if __name__ == "__main__":
    sys.exit(main())
