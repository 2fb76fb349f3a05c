"""Invariant (ii), and what was paid for: the pictures that were given, and the calls that made them."""

from collections import Counter, defaultdict
from collections.abc import Mapping
from itertools import pairwise
from typing import Final

from photochanger.application.process_job import LEASE
from tests.chaos.history import Event, Kind
from tests.chaos.load import SLOTS
from tests.chaos.observed import JobFact
from tests.chaos.reading import Run, Verdict

STARVED_SEC: Final = (LEASE / 3).total_seconds()
"""Who waits longer than that for a processor may renew its leases too late."""


def results_stay_what_they_were(run: Run) -> Verdict:
    """A picture that was given is the stored one, shows its own photo, and stays so to the end."""
    verdict = Verdict(invariant="a picture given is the stored one, of the right photo, to the end")
    downloaded: set[str] = set()
    for request in run.requests:
        job = run.jobs.get(request.facts.get("job_id") or "")
        if request.kind is not Kind.OK or "picture_sha256" not in request.facts or job is None:
            continue
        verdict.checked += 1
        if request.invoked.who == "auditor":
            downloaded.add(job.job_id)
        if request.facts["picture_sha256"] != job.result_sha256:
            verdict.violated(f"job {job.job_id}: other bytes than are stored", request, job)
        if request.facts["shows_photo"] != run.number_of.get(job.content_hash):
            verdict.violated(f"job {job.job_id}: the picture of another photo", request, job)
    given = {
        request.facts["job_id"]
        for request in run.photos
        if request.kind is Kind.OK and request.facts["job_id"] in run.jobs
    }
    for job_id in sorted(given - downloaded):
        verdict.violated(f"job {job_id}: given, and at the end there is no result", run.jobs[job_id])
    verdict.figures["results downloaded at the end"] = len(downloaded)
    return verdict


def no_job_has_two_pictures(run: Run) -> Verdict:
    """No job ever delivers two different pictures."""
    verdict = Verdict(invariant="no job delivers two different pictures")
    pictures: dict[str, set[tuple[str, int | None]]] = defaultdict(set)
    for request in run.requests:
        if request.kind is Kind.OK and "picture_sha256" in request.facts:
            picture = request.facts["picture_sha256"], request.facts["shows_call"]
            pictures[request.facts["job_id"]].add(picture)
    verdict.checked = len(pictures)
    for job_id, shown in pictures.items():
        if len(shown) > 1:
            verdict.violated(f"job {job_id} has delivered {len(shown)} pictures: {sorted(map(str, shown))}")
    return verdict


def no_call_is_wasted(run: Run) -> Verdict:
    """A photo is sent to the provider once; again only after its fault, or one that hit who had sent it."""
    verdict = Verdict(invariant="every repeated call of the provider has a cause")
    jobs = run.jobs_by_photo
    causes: Counter[str] = Counter()
    for photo, calls in run.calls.items():
        verdict.checked += len(calls)
        mine = jobs.get(photo, [])
        if not mine:
            verdict.violated(f"photo {photo} was sent to the provider, and there is no job of it", *calls)
        further = sorted(job.created_at for job in mine)[1:]
        for before, after in pairwise(sorted(calls, key=lambda call: call.at)):
            cause = _cause_of_repetition(run, before, after, further)
            causes[cause or "none"] += 1
            if cause is None:
                verdict.violated(f"photo {photo} was sent again without a cause", before, after, *mine)
        failures = sum(call.facts["answer"] != "ok" for call in calls)
        allowed = sum((1 + SLOTS[job.slot_id].retries) * max(1, job.fence) for job in mine)
        if failures > allowed:
            verdict.violated(f"photo {photo} was tried {failures} times, {allowed} allowed", *calls, *mine)
    extra = sum(causes[cause] for cause in causes if cause not in {"the provider's fault", "another job"})
    hits = sum(len(run.spans(fault)) for fault in ("kill", "stop", "term", "postgres"))
    verdict.figures |= {f"repeated for {cause}": count for cause, count in sorted(causes.items())}
    verdict.figures |= {"extra calls": extra, "faults that may cause some": hits}
    if set(run.faults) <= {"kill"} and extra > hits:
        verdict.violated(f"{extra} extra calls with {hits} kills")
    return verdict


def _cause_of_repetition(run: Run, before: Event, after: Event, further: list[float]) -> str | None:
    """Return why a photo was sent again; a further job of it, once each, is taken out of `further`."""
    holder = before.facts["by"]
    causes = {
        "the provider's fault": before.facts["answer"] != "ok",
        "a process's end": run.is_gone(holder, after.at),
        "a process's halt": run.during("stop", before.at, after.at, target=holder),
        "the database's end": run.during("postgres", before.at, after.at),
        "a process's starvation": run.starved_sec(holder, before.at, after.at) > STARVED_SEC,
    }
    created = [created_at for created_at in further if created_at <= after.at]
    if created and not any(causes.values()):
        further.remove(created[0])
        return "another job"
    return next((cause for cause, holds in causes.items() if holds), None)


def one_job_per_key_and_twins(run: Run) -> Verdict:
    """One Idempotency-Key, and one photo of one slot version, is one job, unless that has failed."""
    verdict = Verdict(invariant="one key is one job, and so are twins")
    for key, told in _told_by_key(run).items():
        verdict.checked += 1
        if len(told) > 1:
            verdict.violated(f"key {key} has had {len(told)} jobs: {sorted(told)}")
    groups: dict[tuple[object, ...], list[JobFact]] = defaultdict(list)
    for job in run.jobs.values():
        groups[job.slot_id, job.slot_version, job.content_hash, job.idempotency_key].append(job)
    for jobs in groups.values():
        verdict.checked += 1
        jobs.sort(key=lambda job: job.created_at)
        for earlier, later in pairwise(jobs):
            over_at = min(earlier.finalized_at or run.end, earlier.deadline)
            was_answerable = earlier.state == "completed" or over_at > later.created_at
            if was_answerable or earlier.idempotency_key is not None:
                verdict.violated("the same photo was done twice", earlier, later)
    for number, mine in run.jobs_by_photo.items():
        delivering = [call for call in run.calls.get(number, []) if call.facts["answer"] == "ok"]
        if (
            len(mine) == 1
            and mine[0].state == "completed"
            and mine[0].source == "provider"
            and not delivering
        ):
            verdict.violated(f"photo {number} is done, and the provider never drew it", mine[0])
    return verdict


def _told_by_key(run: Run) -> Mapping[tuple[str, str], set[str]]:
    told: dict[tuple[str, str], set[str]] = defaultdict(set)
    for request in run.photos:
        job_id, key = request.facts.get("job_id"), request.invoked.facts.get("key")
        if key is not None and job_id is not None:
            told[request.invoked.facts["slot_id"], key].add(job_id)
    return told
