"""Print docs/job-states.md: the life of a job, drawn from the table in `photochanger.domain.job`."""

import sys

from photochanger.domain.job import FINAL_STATES, TRANSITIONS, Guard, JobState, Transition

WORDS = {
    Guard.BEFORE_DEADLINE: "before the deadline",
    Guard.DEADLINE_REACHED: "at the deadline",
    Guard.LEASE_HELD: "by the lease's holder",
    Guard.LEASE_LAPSED: "after the lease has lapsed",
    Guard.CLAIMS_LEFT: "with claims left",
}


def chart() -> str:
    """Return the page, as Markdown with a Mermaid chart and the same as a table."""
    return "\n".join(
        [
            "# The life of a job",
            "",
            "Written by `make contracts` from `TRANSITIONS` in `src/photochanger/domain/job.py`;"
            " a test compares them.",
            "",
            "```mermaid",
            "stateDiagram-v2",
            f"    [*] --> {JobState.PENDING}",
            *(f"    {row.source} --> {row.target}: {row.event}" for row in TRANSITIONS),
            *(f"    {state} --> [*]" for state in sorted(FINAL_STATES)),
            "```",
            "",
            "| in | when | only | then |",
            "|---|---|---|---|",
            *(f"| {row.source} | {row.event} | {_guards(row)} | {row.target} |" for row in TRANSITIONS),
            "",
        ]
    )


def _guards(row: Transition) -> str:
    return ", ".join(WORDS[guard] for guard in Guard if guard in row.guards)


if __name__ == "__main__":
    sys.stdout.write(chart())
