"""`ImageProvider` on Turbotext's queue: create, ask until it is ready, download at once."""

import asyncio
import logging
from collections.abc import Mapping
from typing import BinaryIO, Final
from urllib.parse import quote, urlencode, urljoin, urlsplit

from aiohttp.abc import AbstractResolver

from photochanger.adapters.outbound_http import (
    Answer,
    AnswerTooLarge,
    Destinations,
    Downloaded,
    Forbidden,
    GuardedHttp,
    Interrupted,
    NotSent,
    Origin,
    parse_base_url,
)
from photochanger.adapters.turbotext.methods import METHODS, Method, as_form_value, method_of
from photochanger.adapters.turbotext.replies import Reply, read_reply, snippet
from photochanger.application.ports.providers import ImageProvider, TransformRequest
from photochanger.domain.errors import (
    Problem,
    ProviderError,
    ProviderMisconfigured,
    ProviderNoImage,
    ProviderQuotaExhausted,
    ProviderRefused,
    ProviderRejected,
    ValidationFailed,
)
from photochanger.domain.image import ImageRequirements, ImageType, image_type_of
from photochanger.domain.operation import ProviderDescription

DEFAULT_BASE_URL: Final = "https://www.turbotext.ru"
DOMAIN: Final = "turbotext.ru"
POLL_SEC: Final = 2.0
"""Before the first question for a result, and between questions; no interval is documented."""
SILENCE_SEC: Final = 10.0
"""After so long without a byte, a question or a download is begun anew."""
MAX_ANSWER_BYTES: Final = 1_000_000
MAX_PICTURE_BYTES: Final = 64_000_000

_MAX_URL: Final = 4096
_DOWNLOADS_WITHOUT_PICTURE: Final = 3
_DEFAULT_RETRY_AFTER_SEC: Final = 60.0
_NOT_LET_IN: Final = frozenset({401, 402, 403})
_PASSING: Final = frozenset({404, 408, 425, 429})
_URL_SYNTAX: Final = "%:/?#[]@!$&'()*+,;=~"
"""What has a meaning in a URL (RFC 3986, 2.2), and is left alone in one that has other characters too."""

_log = logging.getLogger(__name__)


class TurbotextProvider(ImageProvider):
    """Offers what Turbotext's API can do with a photo. Photos and templates go there as public links.

    Without `api_key` it is offered as not configured. `poll_sec` and `silence_sec` are the two waits of the
    conversation; `resolver` finds addresses instead of the system's own.
    """

    def __init__(
        self,
        *,
        api_key: str | None,
        base_url: str = DEFAULT_BASE_URL,
        poll_sec: float = POLL_SEC,
        silence_sec: float = SILENCE_SEC,
        resolver: AbstractResolver | None = None,
    ) -> None:
        self._api_key = api_key
        self._base_url = parse_base_url(base_url)
        self._poll_sec = poll_sec
        self._silence_sec = silence_sec
        self._origin = Origin.of(self._base_url)
        self._http = GuardedHttp(Destinations(domains=(DOMAIN,), origins=(self._origin,)), resolver=resolver)
        self._description = ProviderDescription(
            name="turbotext",
            display_name="Turbotext",
            operations=tuple(method.operation for method in METHODS),
            image_requirements=ImageRequirements(
                types=frozenset({ImageType.JPEG, ImageType.PNG}), max_side_px=2048
            ),
            is_configured=api_key is not None,
            takes_links=True,
            least_useful_sec=6,
        )

    @classmethod
    def from_variables(cls, variables: Mapping[str, str]) -> "TurbotextProvider":
        """Make the provider from `TURBOTEXT_API_KEY` and `TURBOTEXT_BASE_URL`; see `ProviderFactory`."""
        api_key = variables.get("TURBOTEXT_API_KEY", "").strip()
        base_url = variables.get("TURBOTEXT_BASE_URL", "").strip() or DEFAULT_BASE_URL
        problems = []
        if not (api_key.isascii() and api_key.isprintable()) or " " in api_key:
            message = "must be printable ASCII without spaces"
            problems.append(Problem(field="TURBOTEXT_API_KEY", code="wrong_form", message=message))
        try:
            parse_base_url(base_url)
        except ValueError as error:
            problems.append(Problem(field="TURBOTEXT_BASE_URL", code="wrong_form", message=str(error)))
        if problems:
            raise ValidationFailed(problems)
        return cls(api_key=api_key or None, base_url=base_url)

    @property
    def description(self) -> ProviderDescription:
        """What the provider offers; see the port."""
        return self._description

    async def transform(self, request: TransformRequest, into: BinaryIO) -> None:
        """Have the photo transformed, and write the picture to `into`; see the port."""
        if self._api_key is None:
            raise ProviderMisconfigured("TURBOTEXT_API_KEY is not set")
        method = method_of(request)
        form = self._form(method, request)
        if asyncio.get_running_loop().time() >= request.deadline:
            raise ProviderError("There was no time left to ask Turbotext")
        hidden = (self._api_key, *(value for value in request.params.values() if isinstance(value, str)))
        try:
            async with asyncio.timeout_at(request.deadline):
                queue_id = await self._create(method, form, hidden)
                reply = await self._result(method, queue_id, hidden)
                await self._fetch(self._address_of(reply), into)
        except TimeoutError:
            raise ProviderError("Turbotext was not ready in time", maybe_billed=True) from None

    async def close(self) -> None:
        """Close every connection; see the port."""
        await self._http.close()

    def _form(self, method: Method, request: TransformRequest) -> dict[str, str]:
        links = dict(method.links(request))
        for link in links.values():
            if link is None:
                raise ProviderMisconfigured("Turbotext takes public links only: PUBLIC_BASE_URL is not set")
            if not (link.startswith("https://") or self._origin.is_loopback):
                raise ProviderMisconfigured("Turbotext needs links that begin with https://: PUBLIC_BASE_URL")
        params = {name: as_form_value(value) for name, value in request.params.items()}
        return params | {name: link for name, link in links.items() if link is not None}

    async def _create(self, method: Method, form: Mapping[str, str], hidden: tuple[str, ...]) -> str:
        """Put the job into Turbotext's queue, in one attempt, and return its number there."""
        try:
            answer = await self._post(method, {**form, "do": "create_queue"}, silence_sec=None)
        except Forbidden:
            message = "TURBOTEXT_BASE_URL does not lead to the public internet"
            raise ProviderMisconfigured(message) from None
        except NotSent:
            raise ProviderError("Turbotext could not be reached") from None
        except (Interrupted, AnswerTooLarge):
            raise ProviderError("The connection to Turbotext broke off", maybe_billed=True) from None
        _check_status(answer)
        reply = read_reply(answer)
        if reply is not None and reply.success is False and not reply.is_to_be_asked_again:
            raise _rejected(reply, hidden, maybe_billed=False)
        queue_id = None if reply is None else reply.queue_id
        if queue_id is None:
            raise ProviderError("Turbotext answered something that makes no sense", maybe_billed=True)
        return queue_id

    async def _result(self, method: Method, queue_id: str, hidden: tuple[str, ...]) -> Reply:
        """Ask until the result is there; whatever may pass is asked again, until the deadline."""
        question = {"do": "get_result", "queueid": queue_id}
        pause = self._poll_sec
        while True:
            await asyncio.sleep(pause)
            pause = self._poll_sec
            try:
                answer = await self._post(method, question, silence_sec=self._silence_sec)
            except (NotSent, Interrupted, AnswerTooLarge):
                continue
            if answer.status in _NOT_LET_IN:
                raise ProviderMisconfigured("Turbotext does not accept our key", maybe_billed=True)
            if answer.status == 429 or answer.status >= 500:
                pause = max(pause, answer.retry_after_sec or 0)
                continue
            reply = read_reply(answer)
            if reply is None or reply.is_to_be_asked_again:
                continue
            if not reply.success:
                raise _rejected(reply, hidden, maybe_billed=True)
            return reply

    async def _post(self, method: Method, form: Mapping[str, str], *, silence_sec: float | None) -> Answer:
        return await self._http.call(
            "POST",
            f"{self._base_url}/api_ai/{method.operation.name}",
            headers={**self._bearer, "Content-Type": "application/x-www-form-urlencoded"},
            body=urlencode(form, errors="replace").encode("ascii"),
            max_bytes=MAX_ANSWER_BYTES,
            silence_sec=silence_sec,
        )

    @property
    def _bearer(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self._api_key}"}

    def _address_of(self, reply: Reply) -> str:
        if reply.is_forbidden:
            raise ProviderRefused("Turbotext refuses this photo", maybe_billed=True)
        if reply.location is None:
            raise ProviderNoImage(once=True, maybe_billed=True)
        if not reply.location.isprintable() or "\\" in reply.location:
            raise _bad_address()
        try:
            address = quote(reply.location, safe=_URL_SYNTAX)
            if not urlsplit(address).scheme:  # urljoin would mend https:x and https:///x
                address = urljoin(f"{self._base_url}/", address)
        except ValueError:
            raise _bad_address() from None
        if len(address) > _MAX_URL:
            raise _bad_address()
        return address

    async def _fetch(self, address: str, into: BinaryIO) -> None:
        """Download the picture, trying again while that may help."""
        headers: dict[str, str] = {}
        without_picture = 0
        while True:
            got = await self._download(address, into, headers)
            if got is not None:
                if got.status == 200 and image_type_of(got.beginning):
                    return
                if got.status in _NOT_LET_IN and not headers:
                    headers = self._bearer
                    continue
                if got.status == 200:
                    without_picture += 1
                elif got.status < 500 and got.status not in _PASSING:
                    raise ProviderError("Turbotext does not hand out its picture", maybe_billed=True)
            if without_picture == _DOWNLOADS_WITHOUT_PICTURE:
                raise ProviderError("Turbotext handed out something else than a picture", maybe_billed=True)
            await asyncio.sleep(self._poll_sec)

    async def _download(self, address: str, into: BinaryIO, headers: Mapping[str, str]) -> Downloaded | None:
        """Download once; None where the connection failed."""
        try:
            return await self._http.download(
                address, into, max_bytes=MAX_PICTURE_BYTES, headers=headers, silence_sec=self._silence_sec
            )
        except Forbidden:
            raise _bad_address() from None
        except AnswerTooLarge:
            raise ProviderError("Turbotext's picture is too large", maybe_billed=True) from None
        except (NotSent, Interrupted):
            return None


def _check_status(answer: Answer) -> None:
    """Raise what the status of an answer to `create_queue` means, where it means a failure."""
    status = answer.status
    if status in _NOT_LET_IN:
        raise ProviderMisconfigured("Turbotext does not accept our key")
    if status == 429:
        retry_after = answer.retry_after_sec
        raise ProviderQuotaExhausted(
            retry_after_sec=_DEFAULT_RETRY_AFTER_SEC if retry_after is None else retry_after
        )
    if status in {404, 405} or 300 <= status < 400:
        raise ProviderMisconfigured("Turbotext's API is not at TURBOTEXT_BASE_URL")
    if status >= 500 or status == 408:
        raise ProviderError("Turbotext failed", maybe_billed=True)
    if status >= 400:
        raise ProviderRejected("Turbotext does not take this request")


def _rejected(reply: Reply, hidden: tuple[str, ...], *, maybe_billed: bool) -> ProviderRejected:
    _log.info("Turbotext rejected a request: %s", snippet(reply.error, hidden))
    return ProviderRejected("Turbotext does not take this request", maybe_billed=maybe_billed)


def _bad_address() -> ProviderError:
    return ProviderError("Turbotext named a bad address for its picture", maybe_billed=True)
