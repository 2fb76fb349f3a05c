"""What a booth gets: the picture of its finished job, or the same as JSON."""

from collections.abc import AsyncIterator, Mapping
from typing import Final

import msgspec

from photochanger.application.await_outcome import error_of
from photochanger.application.ports import JobReading
from photochanger.application.results import OpenedResult, OpenResult, opened
from photochanger.domain.errors import PhotoChangerError
from photochanger.domain.media import MediaKind
from photochanger.entrypoints.http.errors import JobFailed
from photochanger.entrypoints.http.heads import AnyRequest
from photochanger.entrypoints.http.intake import Inline
from photochanger.entrypoints.http.links import ResultLinks, result_path
from photochanger.entrypoints.http.schemas import PhotoOutcome
from photochanger.entrypoints.http.streaming import (
    StreamedResponse,
    base64_length,
    from_first_chunk,
    in_base64,
)
from photochanger.entrypoints.http.timestamps import rfc3339

JSON: Final = "application/json"

_SHOWN: Final[Mapping[Inline, MediaKind | None]] = {
    Inline.TRUE: MediaKind.RESULT,
    Inline.PREVIEW: MediaKind.PREVIEW,
    Inline.FALSE: None,
}


class BoothAnswer:
    """Answers one request with the outcome of its job; raises `JobFailed` where there is no picture."""

    def __init__(self, request: AnyRequest, open_result: OpenResult, links: ResultLinks) -> None:
        self._request = request
        self._open_result = open_result
        self._links = links

    async def __call__(self, reading: JobReading, *, replayed: bool, inline: Inline) -> StreamedResponse:
        """Return the answer to a job that is final."""
        if error := error_of(reading.job):
            raise JobFailed.of(reading.job, error)
        try:
            if self._prefers_json():
                return await self._json(reading, replayed=replayed, shown=_SHOWN[inline])
            return await self._picture(opened(reading), replayed=replayed)
        except PhotoChangerError as error:
            raise JobFailed.of(reading.job, error) from error

    async def _picture(self, result: OpenedResult, *, replayed: bool) -> StreamedResponse:
        headers = self._headers(result, replayed=replayed) | {
            "Content-Type": result.image.info.image_type.value,
            "Content-Length": str(result.image.file.size_bytes),
        }
        return StreamedResponse(headers, await from_first_chunk(self._open_result.read(result)))

    async def _json(
        self, reading: JobReading, *, replayed: bool, shown: MediaKind | None
    ) -> StreamedResponse:
        result = opened(reading)
        document = msgspec.json.encode(PhotoOutcome.of(result, self._links, replayed=replayed))
        headers = self._headers(result, replayed=replayed) | {"Content-Type": JSON}
        if shown is None:
            return StreamedResponse(headers | {"Content-Length": str(len(document))}, _just(document))
        inlined = opened(reading, shown)
        before, after = document.removesuffix(b"null}") + b'"', b'"}'
        length = len(before) + base64_length(inlined.image.file.size_bytes) + len(after)
        chunks = await from_first_chunk(self._open_result.read(inlined))
        return StreamedResponse(headers | {"Content-Length": str(length)}, in_base64(before, chunks, after))

    def _headers(self, result: OpenedResult, *, replayed: bool) -> dict[str, str]:
        job_id = result.job.job_id
        headers = {
            "Cache-Control": "no-store",
            "Content-Location": result_path(job_id),
            "X-Job-Id": job_id,
            "X-Result-Url": self._links.result(job_id),
            "X-Result-Expires-At": rfc3339(result.expires_at),
            "X-Result-Source": result.source.value,
        }
        return headers | ({"Idempotent-Replayed": "true"} if replayed else {})

    def _prefers_json(self) -> bool:
        return self._request.accept.best_match(["image/jpeg", "image/png", "image/webp", JSON]) == JSON


async def _just(document: bytes) -> AsyncIterator[bytes]:
    yield document
