"""The contract of `JobRepository`."""

from photochanger.testing.job_cancellation import JobCancellationContract
from photochanger.testing.job_machine import JobMachineContract
from photochanger.testing.job_outcome import JobOutcomeContract
from photochanger.testing.job_places import JobPlacesContract
from photochanger.testing.job_queue import JobQueueContract
from photochanger.testing.job_submission import JobSubmissionContract


class JobRepositoryContract(
    JobSubmissionContract,
    JobPlacesContract,
    JobQueueContract,
    JobOutcomeContract,
    JobCancellationContract,
    JobMachineContract,
):
    """All of it. Override the fixture `records`; and `racing_records` where the clock stands still."""
