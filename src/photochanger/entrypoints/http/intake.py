"""Taking a booth's form in: from the bytes of a request to a job."""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import TypeAlias

from litestar.types import Scope

from photochanger.adapters.telemetry.tracing import current_traceparent
from photochanger.application.doorkeeper import Admission
from photochanger.application.ingest_password import CheckIngestPassword
from photochanger.application.ports import Submitted
from photochanger.application.submit_photo import SubmitPhoto
from photochanger.domain.errors import DeadlineExceeded, InvalidRequest
from photochanger.domain.job import JobId
from photochanger.entrypoints.http.forms import form_events
from photochanger.entrypoints.http.heads import AnyRequest, first_header, only_header, only_query
from photochanger.entrypoints.http.multipart import Field, PhotoBegins

SubmitAgain: TypeAlias = Callable[[], Awaitable[Submitted | None]]

_KEY = re.compile(rb"[ -~]{1,255}")


class Inline(StrEnum):
    """What a JSON answer holds in `result_inline_base64`."""

    TRUE = "true"
    """The picture."""
    PREVIEW = "preview"
    """Its preview."""
    FALSE = "false"
    """Nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """What became of a form: its job, and the caller's wish for the JSON answer; the query's wish wins.

    `again` makes it a job once more, where it has one that ran out of an earlier time than its own.
    """

    submitted: Submitted
    inline: Inline
    again: SubmitAgain


class PhotoIntake:
    """Receives the photo of an admitted request and makes it a job.

    The password is checked at the first moment it is known: before the body where the head has it, else when
    its field arrives; without any, at the end. Nothing is stored before the photo itself begins, and what
    was stored of a refused request is discarded. A photo is let in, and so counts for the limits, when it
    begins, or when its password has arrived, whichever is later.
    """

    def __init__(self, *, submit_photo: SubmitPhoto, check_password: CheckIngestPassword) -> None:
        self._submit_photo = submit_photo
        self._check_password = check_password

    async def __call__(self, admission: Admission, request: AnyRequest, *, job_id: JobId) -> Received:
        """Return the job: `job_id`, or the one that the photo has already.

        Raises whatever refuses the photo, and `ClientGone`.
        """
        scope = request.scope
        gate = _PasswordGate(self._check_password, admission)
        await gate.show(_password_in(scope))
        idempotency_key = _idempotency_key_in(scope)
        inline_in_query = inline_of(only_query(scope, "inline"))
        inline_in_form = None
        async with AsyncExitStack() as stack:
            upload = None
            async for event in form_events(request, limit_bytes=admission.limit_bytes):
                match event:
                    case PhotoBegins():
                        upload = await stack.enter_async_context(
                            self._submit_photo.receive(admission, is_trusted=gate.is_open)
                        )
                    case Field(name="password"):
                        await gate.show(event.value)
                    case Field(name="inline"):
                        inline_in_form = inline_of(event.value)
                    case bytes() if upload is not None:
                        await upload.write(event)
            await gate.pass_through()
            if upload is None:
                raise InvalidRequest("The form has no photo: send it as fileToUpload")
            submitted = await self._submit_photo.submit(
                upload,
                job_id=job_id,
                idempotency_key=idempotency_key,
                trace_context=current_traceparent(),
                anew=_is_wanted_anew(scope),
            )
        return Received(
            submitted=submitted,
            inline=inline_in_query or inline_in_form or Inline.TRUE,
            again=partial(self._submit_photo.again, upload),
        )


class _PasswordGate:
    """Lets a request through once its password was right; the first one shown counts."""

    def __init__(self, check: CheckIngestPassword, admission: Admission) -> None:
        self._check = check
        self._admission = admission
        self.is_open = False

    async def show(self, password: bytes | None) -> None:
        if password is None or self.is_open:
            return
        try:
            text = password.decode("utf-8")
        except UnicodeDecodeError as error:
            raise InvalidRequest("The password is not valid UTF-8") from error
        await self._check(text, self._admission.slot, self._admission.settings)
        self.is_open = True

    async def pass_through(self) -> None:
        if not self.is_open:
            await self._check(None, self._admission.slot, self._admission.settings)


@asynccontextmanager
async def ended_at(deadline: float) -> AsyncIterator[None]:
    """Turn whatever is still going on at `deadline` (monotonic) into `DeadlineExceeded`."""
    limit = asyncio.timeout_at(deadline)
    try:
        async with limit:
            yield
    except TimeoutError as error:
        if limit.expired():
            raise DeadlineExceeded from error
        raise


def _password_in(scope: Scope) -> bytes | None:
    in_header = only_header(scope, b"x-ingest-password")
    return in_header if in_header is not None else only_query(scope, "key")


def inline_of(wish: bytes | None) -> Inline | None:
    """Return a caller's wish; raises `InvalidRequest` for what is none."""
    if wish is None:
        return None
    try:
        return Inline(wish.decode("latin-1"))
    except ValueError as error:
        raise InvalidRequest("inline must be true, preview or false") from error


def _is_wanted_anew(scope: Scope) -> bool:
    """Say whether the caller wants no picture of before (RFC 9111, 5.2.1.4)."""
    directives = (first_header(scope, b"cache-control") or "").lower().split(",")
    return "no-cache" in {directive.strip() for directive in directives}


def _idempotency_key_in(scope: Scope) -> str | None:
    key = only_header(scope, b"idempotency-key")
    if key is None:
        return None
    if not _KEY.fullmatch(key):
        raise InvalidRequest("Idempotency-Key must be 1 to 255 printable ASCII characters")
    return key.decode("ascii")
