"""What a booth gets: the picture of its finished job, or the same as JSON."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractContextManager
from typing import Final

import msgspec
import structlog
from litestar.types import Scope

from photochanger.application.await_outcome import AwaitOutcome, Expected, error_of
from photochanger.application.ports import JobReading, ResultReading, Submitted
from photochanger.application.results import OpenedResult, OpenResult, opened
from photochanger.domain.errors import DeadlineExceeded, PhotoChangerError
from photochanger.domain.job import JobState
from photochanger.domain.media import MediaKind
from photochanger.entrypoints.documents.links import ResultLinks, result_path
from photochanger.entrypoints.documents.timestamps import rfc3339
from photochanger.entrypoints.http.errors import JobFailed
from photochanger.entrypoints.http.hangup import while_connected
from photochanger.entrypoints.http.heads import AnyRequest
from photochanger.entrypoints.http.intake import Inline, SubmitAgain, ended_at
from photochanger.entrypoints.http.schemas import PhotoOutcome
from photochanger.entrypoints.http.streaming import (
    Chunks,
    StreamedResponse,
    base64_length,
    from_first_chunk,
    in_base64,
    stored_body,
)

JSON: Final = "application/json"

FIRST_BYTES_SEC: Final = 0.1
"""How long after the deadline a picture that was ready in time may take to begin; it stays on its link."""

_SHOWN: Final[Mapping[Inline, MediaKind | None]] = {
    Inline.TRUE: MediaKind.RESULT,
    Inline.PREVIEW: MediaKind.PREVIEW,
    Inline.FALSE: None,
}


class BoothAnswer:
    """Holds requests until their jobs are final, and answers with the pictures."""

    def __init__(self, *, await_outcome: AwaitOutcome, open_result: OpenResult, links: ResultLinks) -> None:
        self._await_outcome = await_outcome
        self._open_result = open_result
        self._links = links

    def expecting(self) -> AbstractContextManager[Expected]:
        """Give the id of the job that the request is going to make; see `AwaitOutcome.expecting`."""
        return self._await_outcome.expecting()

    async def __call__(
        self,
        request: AnyRequest,
        submitted: Submitted,
        *,
        deadline: float,
        inline: Inline,
        as_json: bool,
        expected: Expected | None = None,
        again: SubmitAgain | None = None,
    ) -> StreamedResponse:
        """Return the answer to the request that made the job; `deadline` is monotonic, in seconds.

        A job that somebody else made for the same photo may run out of its time before `deadline`; then the
        photo is submitted `again`. Raises `JobFailed` where there is no picture, and `ClientGone` where
        nobody waits any more.
        """
        structlog.contextvars.bind_contextvars(job_id=submitted.reading.job.job_id)
        outcome = self._outcome(submitted, deadline, expected, again)
        reading, submitted = await while_connected(outcome, request.receive)
        structlog.contextvars.bind_contextvars(job_id=reading.job.job_id)
        if error := error_of(reading.job):
            raise JobFailed.of(reading.job, error)
        try:
            async with ended_at(max(deadline, asyncio.get_running_loop().time()) + FIRST_BYTES_SEC):
                if as_json:
                    return await self._json(reading, replayed=submitted.replayed, shown=_SHOWN[inline])
                return await self._picture(
                    request.scope, opened(ResultReading.of(reading)), replayed=submitted.replayed
                )
        except PhotoChangerError as error:
            raise JobFailed.of(reading.job, error) from error

    async def _outcome(
        self, submitted: Submitted, deadline: float, expected: Expected | None, again: SubmitAgain | None
    ) -> tuple[JobReading, Submitted]:
        while True:
            reading = await self._final(submitted, deadline, expected)
            is_over = asyncio.get_running_loop().time() >= deadline
            if again is None or is_over or not _ran_out_for_another(reading, submitted):
                return reading, submitted
            anew = await again()
            if anew is None:
                return reading, submitted
            submitted = anew

    async def _final(self, submitted: Submitted, deadline: float, expected: Expected | None) -> JobReading:
        job_id = submitted.reading.job.job_id
        try:
            return await self._await_outcome(
                job_id, deadline=deadline, is_own=not submitted.replayed, expected=expected
            )
        except DeadlineExceeded as error:
            raise JobFailed(error, job_id, failure_reason=None) from error

    async def _picture(self, scope: Scope, result: OpenedResult, *, replayed: bool) -> StreamedResponse:
        headers = self._headers(result, replayed=replayed) | {
            "Content-Type": result.image.info.image_type.value,
            "Content-Length": str(result.image.file.size_bytes),
        }
        content, size_bytes = self._open_result.content(result), result.image.file.size_bytes
        return StreamedResponse(headers, await stored_body(scope, content, 0, size_bytes))

    async def _json(
        self, reading: JobReading, *, replayed: bool, shown: MediaKind | None
    ) -> StreamedResponse:
        result = opened(ResultReading.of(reading))
        document = msgspec.json.encode(PhotoOutcome.of(reading.job, result, self._links, replayed=replayed))
        headers = self._headers(result, replayed=replayed) | {"Content-Type": JSON}
        if shown is None:
            return StreamedResponse(headers | {"Content-Length": str(len(document))}, Chunks(_just(document)))
        inlined = opened(ResultReading.of(reading), shown)
        before, after = document.removesuffix(b"null}") + b'"', b'"}'
        length = len(before) + base64_length(inlined.image.file.size_bytes) + len(after)
        chunks = await from_first_chunk(self._open_result.content(inlined).read())
        body = Chunks(in_base64(before, chunks, after))
        return StreamedResponse(headers | {"Content-Length": str(length)}, body)

    def _headers(self, result: OpenedResult, *, replayed: bool) -> dict[str, str]:
        job_id = result.job_id
        headers = {
            "Cache-Control": "no-store",
            "Content-Location": result_path(job_id),
            "X-Job-Id": job_id,
            "X-Result-Url": self._links.result(job_id),
            "X-Result-Expires-At": rfc3339(result.expires_at),
            "X-Result-Source": result.source.value,
        }
        return headers | ({"Idempotent-Replayed": "true"} if replayed else {})


def _ran_out_for_another(reading: JobReading, submitted: Submitted) -> bool:
    return submitted.replayed and reading.job.state is JobState.FAILED_TIMEOUT


def prefers_json(request: AnyRequest) -> bool:
    """Say whether the caller wants JSON rather than an image."""
    return request.accept.best_match(["image/jpeg", "image/png", "image/webp", JSON]) == JSON


async def _just(document: bytes) -> AsyncIterator[bytes]:
    yield document
