"""The checker: what may not be, whatever went wrong. It is given an observation, and reads nothing else.

Each invariant is a function that returns how much it looked at and what it found; `check` has them all. An
excuse is never given by halves: who says that a fault explains something names the fault and the time.
"""

from collections.abc import Sequence
from typing import Final

from tests.chaos import deliveries, promises, refusals, remains
from tests.chaos.observed import Observation
from tests.chaos.reading import Run, Verdict

INVARIANTS: Final = (
    promises.every_job_ends_in_time,
    promises.nothing_told_is_untrue,
    promises.everybody_is_answered,
    promises.answers_come_in_time,
    promises.no_time_out_is_early,
    refusals.refusals_have_a_cause,
    deliveries.results_stay_what_they_were,
    deliveries.no_job_has_two_pictures,
    deliveries.no_call_is_wasted,
    deliveries.one_job_per_key_and_twins,
    remains.temporary_files_go,
    remains.store_and_database_agree,
    remains.counters_add_up,
    remains.logs_are_clean,
    remains.processes_end_when_asked,
    remains.processes_stay_small,
)


def check(observation: Observation) -> Sequence[Verdict]:
    """Return the verdict on every invariant."""
    run = Run(observation)
    return [look(run) for look in INVARIANTS]
