"""The figures of a run, for people."""

from tests.crash.driver import Figures


def as_markdown(figures: Figures, *, store: str) -> str:
    """Return the figures as a Markdown table."""
    plan = figures.plan
    rows = {
        "seed": plan.seed,
        "store": store,
        "duration": f"{figures.seconds:.0f} s",
        "kills": _listed(figures.kills),
        "ready again after, s": f"p50 {figures.restart_p50_sec}, max {figures.restart_max_sec}",
        "latest answer after its deadline, s": figures.latest_answer_sec,
        "jobs by final state": _listed(figures.jobs),
        "results given, at the end": _listed(figures.results),
        **figures.counts,
        "promises broken": len(figures.violations),
    }
    lines = [("what", "figure"), ("---", "---"), *rows.items()]
    return "\n".join(f"| {name} | {value} |" for name, value in lines)


def _listed(counts: dict[str, int]) -> str:
    return f"{sum(counts.values())}: " + ", ".join(f"{name} {count}" for name, count in counts.items())
