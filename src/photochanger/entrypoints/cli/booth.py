"""A photo booth in software: sends a photo exactly as DSLR Remote Pro 3.30 for Windows was seen to do.

Observed on 2025-09-18 (headers complete): `Host`, `Content-Type: multipart/form-data` with a boundary of
twelve dashes and twenty-four digits, `Content-Length`, `Expect: 100-continue`; no User-Agent, no Accept.
Fields: `fileToUpload`, `password`, `time`, `user_id`, `name`, `id`, `model`, `version`, `profile`, `status`,
`hash`. Each photo comes on a connection of its own.
"""

import secrets
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import msgspec

from photochanger.domain.errors import InternalError, PhotoChangerError, Unavailable, error_with_code
from photochanger.entrypoints.cli.exit_codes import ExitCode, exit_code_of

_CHUNK = 64 * 1024
_AUTOMATIC_HEADERS = ("User-Agent", "Accept", "Accept-Encoding")

Progress = Callable[[int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """The picture that came back, and how long it took, in seconds."""

    picture: bytes
    content_type: str
    job_id: str
    result_url: str
    result_expires_at: str
    result_source: str
    replayed: bool
    upload_sec: float
    total_sec: float


@dataclass(slots=True, kw_only=True)
class Refusal(Exception):
    """The server answered with an error."""

    status: int
    error: type[PhotoChangerError]
    detail: str
    job_id: str | None = None
    retry_after_sec: int | None = None

    @property
    def exit_code(self) -> ExitCode:
        """The exit status that it means."""
        return exit_code_of(self.error)

    def as_json(self) -> dict[str, object]:
        """Return what a script would want to know."""
        return {
            "status": self.status,
            "code": self.error.code,
            "detail": self.detail,
            "job_id": self.job_id,
            "retry_after_sec": self.retry_after_sec,
        }


def form(password: str, boundary: str) -> tuple[bytes, bytes]:
    """Return what comes before and after the photo's bytes in the request's body."""
    fields = {
        "password": password,
        "time": str(int(time.time())),
        "user_id": "photochanger",
        "name": "photochanger-send",
        "id": "0",
        "model": "Windows",
        "version": "3.30.2",
        "profile": "send.xml",
        "status": "preview.jpg",
        "hash": secrets.token_hex(20),
    }
    head = "".join(_field(boundary, name, value) for name, value in fields.items())
    file = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="fileToUpload"; filename="IMG_0001.JPG"\r\n'
        "Content-Type: image/jpeg\r\n\r\n"
    )
    return (head + file).encode(), f"\r\n--{boundary}--\r\n".encode()


def _field(boundary: str, name: str, value: str) -> str:
    return f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'


async def send_photo(
    url: str, password: str, photo: Path, *, timeout_sec: float, on_progress: Progress
) -> Delivery:
    """Send the photo to an ingest URL and wait for the picture, for at most `timeout_sec` seconds.

    `on_progress` is told how many bytes of the photo have left. Raises `Refusal` for an answer that is an
    error, `Unavailable` where the server cannot be reached, and `TimeoutError` as the booth would.
    """
    boundary = "-" * 12 + "".join(secrets.choice("0123456789") for _ in range(24))
    head, tail = form(password, boundary)
    headers = {
        "Content-Type": f"multipart/form-data; boundary={boundary}",
        "Content-Length": str(len(head) + photo.stat().st_size + len(tail)),
    }
    sent = _Body(head, photo, tail, on_progress)
    began = time.monotonic()
    try:
        async with (
            aiohttp.ClientSession(
                skip_auto_headers=_AUTOMATIC_HEADERS, timeout=aiohttp.ClientTimeout(total=timeout_sec)
            ) as session,
            session.post(
                url, data=sent.chunks(), headers=headers, expect100=True, allow_redirects=False
            ) as response,
        ):
            body = await response.read()
    except aiohttp.ClientConnectionError as error:
        raise Unavailable(f"The server cannot be reached: {type(error).__name__}") from error
    if response.status != 200:
        raise _refusal(response.status, body)
    return _delivery(response.headers, body, upload_sec=sent.done_at - began, began=began)


class _Body:
    def __init__(self, head: bytes, photo: Path, tail: bytes, on_progress: Progress) -> None:
        self._head = head
        self._photo = photo
        self._tail = tail
        self._on_progress = on_progress
        self.done_at = time.monotonic()

    async def chunks(self) -> AsyncIterator[bytes]:
        yield self._head
        sent = 0
        with self._photo.open("rb") as file:
            while chunk := file.read(_CHUNK):
                yield chunk
                sent += len(chunk)
                self._on_progress(sent)
        yield self._tail
        self.done_at = time.monotonic()


def _delivery(headers: Mapping[str, str], body: bytes, *, upload_sec: float, began: float) -> Delivery:
    return Delivery(
        picture=body,
        content_type=headers.get("Content-Type", ""),
        job_id=headers.get("X-Job-Id", ""),
        result_url=headers.get("X-Result-Url", ""),
        result_expires_at=headers.get("X-Result-Expires-At", ""),
        result_source=headers.get("X-Result-Source", ""),
        replayed=headers.get("Idempotent-Replayed") == "true",
        upload_sec=upload_sec,
        total_sec=time.monotonic() - began,
    )


class _ProblemDocument(msgspec.Struct):
    code: str = InternalError.code
    detail: str = ""
    title: str = ""
    job_id: str | None = None
    retry_after_sec: int | None = None


def _refusal(status: int, body: bytes) -> Refusal:
    try:
        problem = msgspec.json.decode(body, type=_ProblemDocument)
    except msgspec.DecodeError:
        problem = _ProblemDocument(detail="The answer does not come from PhotoChanger")
    return Refusal(
        status=status,
        error=error_with_code(problem.code),
        detail=problem.detail or problem.title,
        job_id=problem.job_id,
        retry_after_sec=problem.retry_after_sec,
    )
