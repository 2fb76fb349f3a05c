"""Every error that PhotoChanger raises on purpose, as one tree.

    PhotoChangerError
    ├── CallerError                     the request is at fault; repeating it will not help
    │   ├── InvalidRequest                  invalid_request
    │   ├── InvalidPassword                 invalid_password
    │   ├── NotAuthenticated                not_authenticated
    │   │   └── TokenExpired                    token_expired
    │   ├── InvalidCredentials              invalid_credentials
    │   ├── Forbidden                       forbidden
    │   ├── TooManyAttempts                 too_many_attempts
    │   ├── ValidationFailed                validation_failed
    │   ├── PayloadTooLarge                 payload_too_large
    │   ├── UnsupportedMediaType            unsupported_media_type
    │   ├── InvalidImage                    invalid_image
    │   ├── IdempotencyKeyReused            idempotency_key_reused
    │   ├── NotFound
    │   │   ├── SlotNotFound                slot_not_found
    │   │   ├── SlotDisabled                slot_disabled
    │   │   ├── GalleryDisabled             gallery_disabled
    │   │   ├── JobNotFound                 job_not_found
    │   │   ├── ResultNotFound              result_not_found
    │   │   ├── MediaNotFound               media_not_found
    │   │   └── TemplateNotFound            template_not_found
    │   ├── Conflict
    │   │   ├── VersionConflict             version_conflict
    │   │   ├── TemplateInUse               template_in_use
    │   │   └── JobFinalized                job_finalized
    │   └── Gone
    │       ├── ResultExpired               result_expired
    │       └── MediaExpired                media_expired
    ├── ProviderFault                   the image provider is at fault
    │   ├── ProviderError                   provider_error
    │   │   └── ProviderRejected                (the same code)
    │   ├── ProviderRefused                 provider_refused
    │   ├── ProviderNoImage                 provider_no_image
    │   ├── ProviderMisconfigured           provider_misconfigured
    │   │   └── ProviderModelGone               (the same code)
    │   └── ProviderQuotaExhausted          provider_quota_exhausted
    ├── DeadlineExceeded                nobody's fault: the time is up (timeout)
    ├── Unavailable                     ours, and passing: repeating it later may help
    │   ├── RateLimited                     rate_limited
    │   ├── SlotBusy                        slot_busy
    │   ├── Overloaded                      overloaded
    │   ├── StorageUnavailable              storage_unavailable
    │   ├── DatabaseUnavailable             database_unavailable
    │   └── ShuttingDown                    shutting_down
    └── InternalError                   ours, and a defect (internal_error)
        └── InvalidTransition

`code` is the word on the wire: stable for ever, the same in HTTP answers, `failure_reason` and exit codes.
Messages are safe to show to a caller: they hold no secret, no path and no personal data.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar


class PhotoChangerError(Exception):
    """Base of all errors raised on purpose."""

    code: ClassVar[str]
    title: ClassVar[str]
    retry_after_sec: float | None = None
    """When it may be worth trying again, in seconds; None where nobody can say."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or self.title)

    @property
    def message(self) -> str:
        """What happened, in a sentence that may be shown to the caller."""
        return str(self.args[0])


class CallerError(PhotoChangerError):
    """The request is at fault."""


class InvalidRequest(CallerError):
    """The request cannot be understood."""

    code = "invalid_request"
    title = "The request cannot be understood"


class InvalidPassword(CallerError):
    """The ingest password is missing or wrong."""

    code = "invalid_password"
    title = "The ingest password is missing or wrong"


class NotAuthenticated(CallerError):
    """Nobody is logged in, or the token proves nothing. Why exactly is not told."""

    code = "not_authenticated"
    title = "Please log in"


class TokenExpired(NotAuthenticated):
    """The token was good once; its time is over."""

    code = "token_expired"
    title = "The login has expired"


class InvalidCredentials(CallerError):
    """The user name or the password is wrong; which of them is not told."""

    code = "invalid_credentials"
    title = "The user name or the password is wrong"


class Forbidden(CallerError):
    """The account lacks the permission."""

    code = "forbidden"
    title = "This account is not permitted to do that"


class TooManyAttempts(CallerError):
    """Too many logins have failed; `retry_after_sec` says when the next may be tried."""

    code = "too_many_attempts"
    title = "Too many failed logins"

    def __init__(self, message: str | None = None, *, retry_after_sec: float = 1) -> None:
        self.retry_after_sec = retry_after_sec
        super().__init__(message)


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing wrong with one field; `field` is a path such as `params.delay_ms`."""

    field: str
    code: str
    message: str


class ValidationFailed(CallerError):
    """What was sent has problems; `problems` holds all of them, not only the first."""

    code = "validation_failed"
    title = "Some fields are not valid"

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(f"{problem.field}: {problem.message}" for problem in self.problems))


class PayloadTooLarge(CallerError):
    """The upload, or some part of it, has more bytes than are allowed."""

    code = "payload_too_large"
    title = "The upload is too large"

    def __init__(self, limit_bytes: int, message: str | None = None) -> None:
        self.limit_bytes = limit_bytes
        super().__init__(
            message or f"The upload is larger than the {limit_bytes / 1_000_000:g} MB that are allowed"
        )


class UnsupportedMediaType(CallerError):
    """What was sent is of no type that is accepted: no image of ours, or no form or document."""

    code = "unsupported_media_type"
    title = "This type of content is not accepted"


class InvalidImage(CallerError):
    """The bytes claim to be an image, but it is broken, incomplete or beyond the limits."""

    code = "invalid_image"
    title = "The image is broken or beyond the limits"


class IdempotencyKeyReused(CallerError):
    """The same Idempotency-Key came with other bytes."""

    code = "idempotency_key_reused"
    title = "This Idempotency-Key was used for another photo"


class NotFound(CallerError):
    """What was asked for does not exist."""


class SlotNotFound(NotFound):
    """There is no such slot."""

    code = "slot_not_found"
    title = "There is no such slot"


class SlotDisabled(NotFound):
    """The slot is switched off."""

    code = "slot_disabled"
    title = "The slot is switched off"


class GalleryDisabled(NotFound):
    """The slot has no public gallery."""

    code = "gallery_disabled"
    title = "This slot has no public gallery"


class JobNotFound(NotFound):
    """There is no such job, or its time is over."""

    code = "job_not_found"
    title = "There is no such job"


class ResultNotFound(NotFound):
    """There is no such result."""

    code = "result_not_found"
    title = "There is no such result"


class MediaNotFound(NotFound):
    """There is no such temporary link."""

    code = "media_not_found"
    title = "There is no such file"


class TemplateNotFound(NotFound):
    """There is no such template."""

    code = "template_not_found"
    title = "There is no such template"


class Conflict(CallerError):
    """The request contradicts what has happened meanwhile."""


class VersionConflict(Conflict):
    """Somebody else has changed the record since it was read."""

    code = "version_conflict"
    title = "Somebody else has changed this meanwhile"


class TemplateInUse(Conflict):
    """Slots use the template; `slot_ids` says which."""

    code = "template_in_use"
    title = "The template is in use"

    def __init__(self, slot_ids: Sequence[str] = ()) -> None:
        self.slot_ids = tuple(slot_ids)
        super().__init__(f"The template is in use by {', '.join(slot_ids)}" if slot_ids else None)


class JobFinalized(Conflict):
    """The job has already reached its final state."""

    code = "job_finalized"
    title = "The job is already final"


class Gone(CallerError):
    """What was asked for existed, and its time is over."""


class ResultExpired(Gone):
    """The result's time is over."""

    code = "result_expired"
    title = "The result has expired"


class MediaExpired(Gone):
    """The temporary link's time is over."""

    code = "media_expired"
    title = "The link has expired"


class ProviderFault(PhotoChangerError):
    """The image provider did not deliver a picture.

    `maybe_billed` is true where the call may have been done and charged all the same: the connection broke
    after the request had been handed over, or the answer could not be used. Such a call is only repeated
    where the slot's retry policy says so.
    """

    def __init__(
        self,
        message: str | None = None,
        *,
        maybe_billed: bool = False,
        retry_after_sec: float | None = None,
    ) -> None:
        self.maybe_billed = maybe_billed
        self.retry_after_sec = retry_after_sec
        super().__init__(message)


class ProviderError(ProviderFault):
    """The provider failed, and may succeed when it is asked again."""

    code = "provider_error"
    title = "The image provider failed"


class ProviderRejected(ProviderError):
    """The provider does not take this request as it is: too large, unreadable, ill-formed; never repeated."""


class ProviderRefused(ProviderFault):
    """The provider refuses this photo or prompt by its policy; never repeated."""

    code = "provider_refused"
    title = "The image provider refuses this photo"


class ProviderNoImage(ProviderFault):
    """The provider answered, but without a picture; worth repeating at once.

    `once` is true where a second such answer means that a third would be no better.
    """

    code = "provider_no_image"
    title = "The image provider answered without a picture"

    def __init__(self, message: str | None = None, *, once: bool = False, maybe_billed: bool = False) -> None:
        self.once = once
        super().__init__(message, maybe_billed=maybe_billed)


class ProviderMisconfigured(ProviderFault):
    """Our key, account or address for the provider is not accepted; somebody has to put that right."""

    code = "provider_misconfigured"
    title = "The image provider is not set up correctly"


class ProviderModelGone(ProviderMisconfigured):
    """The provider no longer has the model that was asked for; another may do."""


class ProviderQuotaExhausted(ProviderFault):
    """As many calls have been made as are allowed: by the provider, or by our own settings.

    `retry_after_sec` says when there is room again.
    """

    code = "provider_quota_exhausted"
    title = "The image provider takes no more calls for now"

    def __init__(self, message: str | None = None, *, retry_after_sec: float = 60) -> None:
        super().__init__(message, retry_after_sec=retry_after_sec)


class DeadlineExceeded(PhotoChangerError):
    """The picture was not ready by the deadline."""

    code = "timeout"
    title = "The picture was not ready in time"


class Unavailable(PhotoChangerError):
    """We cannot serve this now; `retry_after_sec` says when to try again."""

    def __init__(self, message: str | None = None, *, retry_after_sec: float = 5) -> None:
        self.retry_after_sec = retry_after_sec
        super().__init__(message)


class RateLimited(Unavailable):
    """More photos come than are let in; `retry_after_sec` says when the next may."""

    code = "rate_limited"
    title = "Too many photos are coming in"


class SlotBusy(Unavailable):
    """The slot has as many photos as it could do in time; `retry_after_sec` says when it takes another."""

    code = "slot_busy"
    title = "Too many photos are waiting at this slot"


class Overloaded(Unavailable):
    """More work is waiting than could be done in time."""

    code = "overloaded"
    title = "Too much work is waiting"


class StorageUnavailable(Unavailable):
    """The media store cannot take or give bytes."""

    code = "storage_unavailable"
    title = "The media store is not available"


class DatabaseUnavailable(Unavailable):
    """The database does not answer."""

    code = "database_unavailable"
    title = "The database is not available"


class ShuttingDown(Unavailable):
    """This process is ending."""

    code = "shutting_down"
    title = "The server is shutting down"


class InternalError(PhotoChangerError):
    """A defect of ours."""

    code = "internal_error"
    title = "Something went wrong inside PhotoChanger"


class InvalidTransition(InternalError):
    """The state machine forbids this event."""


def error_classes(root: type[PhotoChangerError] = PhotoChangerError) -> Iterator[type[PhotoChangerError]]:
    """Yield `root` and every error class below it."""
    yield root
    for child in root.__subclasses__():
        yield from error_classes(child)


def error_with_code(code: str) -> type[PhotoChangerError]:
    """Return the class that carries `code`; `InternalError` where no class does.

    Only meant for codes whose class can be built from a message alone, as every `failure_reason` can.
    """
    for cls in error_classes():
        if cls.__dict__.get("code") == code:
            return cls
    return InternalError
