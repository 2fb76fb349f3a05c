"""The public addresses of this installation."""

from dataclasses import dataclass

from photochanger.domain.job import JobId
from photochanger.domain.slot import SlotId


@dataclass(frozen=True, slots=True)
class ResultLinks:
    """Makes absolute links below `base`."""

    base: str

    def result(self, job_id: JobId) -> str:
        """Return where the picture is."""
        return self.base + result_path(job_id)

    def preview(self, job_id: JobId) -> str:
        """Return where its preview is."""
        return f"{self.result(job_id)}/preview"

    def ingest(self, slot_id: SlotId) -> str:
        """Return where a booth sends its photos to."""
        return f"{self.base}/ingest/{slot_id}"

    def at(self, path: str) -> str:
        """Return the address of a path of ours."""
        return self.base + path


def result_path(job_id: JobId) -> str:
    """Return the path of a job's picture."""
    return f"/public/results/{job_id}"
