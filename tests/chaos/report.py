"""The report of a run, for people."""

from tests.chaos.driver import Report


def as_markdown(report: Report) -> str:
    """Return the report as Markdown: what was done, what was looked at, and what was found."""
    plan = report.plan
    head = {
        "seed": plan.seed,
        "faults": ", ".join(plan.faults),
        "topology": f"{plan.serves} serve, {plan.workers} worker, {plan.jobs_at_once} jobs at once in each",
        "store": plan.store,
        "processes": "forked" if plan.forked else "started one by one",
        "duration": f"{report.seconds:.0f} s",
        **report.counts,
        **({"skipped": ", ".join(report.skipped)} if report.skipped else {}),
    }
    lines = ["| what | figure |", "|---|---|", *(f"| {name} | {value} |" for name, value in head.items()), ""]
    lines += ["| invariant | looked at | violations | figures |", "|---|---:|---:|---|"]
    for verdict in report.verdicts:
        figures = ", ".join(f"{name} {value}" for name, value in verdict.figures.items())
        lines.append(f"| {verdict.invariant} | {verdict.checked} | {len(verdict.violations)} | {figures} |")
    for violation in report.violations:
        lines += ["", f"VIOLATED: {violation}"]
    return "\n".join(lines)
