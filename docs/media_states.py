"""Print docs/media-states.md: the life of a file, drawn from the tables in `photochanger.domain.media`."""

import sys

from photochanger.domain.media import LIVES, TRANSITIONS, MediaState


def chart() -> str:
    """Return the page, as Markdown with a Mermaid chart and two tables."""
    return "\n".join(
        [
            "# The life of a file",
            "",
            "Written by `make contracts` from `TRANSITIONS` and `LIVES` in"
            " `src/photochanger/domain/media.py`; a test compares them.",
            "",
            "```mermaid",
            "stateDiagram-v2",
            *(f"    {_name(row.source)} --> {_name(row.target)}: {row.event}" for row in TRANSITIONS),
            "```",
            "",
            "`[*]` is where there is no row. Reading goes by the clock and not by the state: from the",
            "instant of its end a file answers 410, whether or not anybody has come to delete it.",
            "",
            "| file | belongs to | is deleted | and, if it is never stored, |",
            "|---|---|---|---|",
            *(f"| {kind} | {life.owner} | {life.ends} | {life.given_up} |" for kind, life in LIVES.items()),
            "",
            "Prepared copies, and images on their way in from administrators, lie in scratch files without a",
            "name: they have no row, and vanish with the process that holds them.",
            "",
        ]
    )


def _name(state: MediaState | None) -> str:
    return "[*]" if state is None else state.value


if __name__ == "__main__":
    sys.stdout.write(chart())
