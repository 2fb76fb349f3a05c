"""The public addresses of this installation."""

from dataclasses import dataclass

from photochanger.domain.job import JobId
from photochanger.domain.slot import SlotId
from photochanger.entrypoints.http.heads import AnyRequest


@dataclass(frozen=True, slots=True)
class ResultLinks:
    """Makes absolute links below `base`."""

    base: str

    @classmethod
    def for_request(cls, request: AnyRequest, public_base_url: str | None) -> "ResultLinks":
        """Return links below the configured address, or below the one that this request was sent to."""
        return cls((public_base_url or str(request.base_url)).rstrip("/"))

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
