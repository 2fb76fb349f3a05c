"""The provider: its configuration, and one attempt at a picture."""

import asyncio
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import BinaryIO, Final

from photochanger.adapters.gemini.answer import picture_in, write_picture
from photochanger.adapters.gemini.errors import complaint, fault_of
from photochanger.adapters.gemini.models import RETIRED
from photochanger.adapters.gemini.operations import OPERATIONS
from photochanger.adapters.gemini.request import body_of
from photochanger.adapters.outbound_http import (
    Answer,
    AnswerTooLarge,
    Body,
    Interrupted,
    NotSent,
    Origin,
    OutboundHttp,
    parse_base_url,
)
from photochanger.application.ports.providers import ImageProvider, TransformRequest
from photochanger.domain.errors import (
    Problem,
    ProviderError,
    ProviderMisconfigured,
    ProviderModelGone,
    ValidationFailed,
)
from photochanger.domain.image import ImageRequirements
from photochanger.domain.operation import ProviderDescription

DEFAULT_BASE_URL: Final = "https://generativelanguage.googleapis.com"
DEFAULT_API_VERSION: Final = "v1beta"
"""The version whose published definition has `imageConfig`."""

MAX_PICTURE_BYTES: Final = 64_000_000
_BESIDE_THE_PICTURE: Final = 1_000_000

LEAST_SERVER_TIMEOUT_SEC: Final = 10
"""Gemini answers 400 to an X-Server-Timeout below this."""


class GeminiProvider(ImageProvider):
    """Offers `edit_image` and `style_transfer`.

    Calls go through the proxy of the usual variables, except to this machine itself. `max_picture_bytes`
    bounds the answer, drafts included.
    """

    def __init__(
        self,
        *,
        api_key: str | None,
        base_url: str = DEFAULT_BASE_URL,
        api_version: str = DEFAULT_API_VERSION,
        max_picture_bytes: int = MAX_PICTURE_BYTES,
    ) -> None:
        self._api_key = api_key
        self._models_url = f"{base_url}/{api_version}/models"
        self._max_bytes = max_picture_bytes * 4 // 3 + _BESIDE_THE_PICTURE
        self._http = OutboundHttp(use_proxy=not Origin.of(base_url).is_loopback)
        self._description = ProviderDescription(
            name="gemini",
            display_name="Google Gemini",
            operations=OPERATIONS,
            is_configured=api_key is not None,
            # Together at most 17.4 MB as base64, which leaves room for the prompt in MAX_REQUEST_BYTES.
            image_requirements=ImageRequirements(max_side_px=3072, max_bytes=7_000_000),
            max_templates_bytes=6_000_000,
            least_useful_sec=10,
        )

    @classmethod
    def from_variables(cls, variables: Mapping[str, str]) -> "GeminiProvider":
        """Make the provider from GEMINI_API_KEY, GEMINI_BASE_URL and GEMINI_API_VERSION; see the port."""
        problems: list[Problem] = []

        def read(name: str, check: Callable[[str], str], default: str | None = None) -> str | None:
            text = variables.get(name, "").strip()
            try:
                return check(text) if text else default
            except ValueError as error:
                problems.append(Problem(field=name, code="wrong_form", message=str(error)))
                return default

        key = read("GEMINI_API_KEY", _checked_key)
        base_url = read("GEMINI_BASE_URL", parse_base_url, DEFAULT_BASE_URL)
        version = read("GEMINI_API_VERSION", _checked_version, DEFAULT_API_VERSION)
        if problems:
            raise ValidationFailed(problems)
        return cls(api_key=key, base_url=str(base_url), api_version=str(version))

    @property
    def description(self) -> ProviderDescription:
        """What the provider offers; see the port."""
        return self._description

    async def transform(self, request: TransformRequest, into: BinaryIO) -> None:
        """Ask Gemini once, and write its picture to `into`; see the port."""
        if self._api_key is None:
            raise ProviderMisconfigured("GEMINI_API_KEY is not set")
        wanted = self._checked(request)
        remaining = request.deadline - asyncio.get_running_loop().time()
        if remaining <= 0:
            raise ProviderError("There is no time left to ask Gemini")
        headers = {
            "x-goog-api-key": self._api_key,
            "Content-Type": "application/json",
            "X-Server-Timeout": str(max(LEAST_SERVER_TIMEOUT_SEC, math.ceil(remaining))),
        }
        url = f"{self._models_url}/{wanted.model}:generateContent"
        body = body_of(wanted)
        try:
            async with asyncio.timeout_at(request.deadline):
                answer = await self._answer(url, headers, body)
                await write_picture(picture_in(answer.body), into)
        except TimeoutError:
            raise ProviderError("Gemini did not answer in time", maybe_billed=True) from None

    async def close(self) -> None:
        """Close the connections."""
        await self._http.close()

    def _checked(self, request: TransformRequest) -> TransformRequest:
        """Return the request with its model and every parameter.

        A slot may still list a model that was retired after it had been set up.
        """
        operation = self._description.operation(request.operation)
        if operation is None:
            raise ProviderMisconfigured("Gemini has no such operation")
        roles = [template.role for template in request.templates]
        problems = operation.problems(request.params, roles, "")
        if any(problem.code != "retired" for problem in problems):
            raise ProviderMisconfigured("The parameters for Gemini are not valid")
        params = operation.with_defaults(request.params)
        model = request.model or operation.models_in(params)[0]
        if model in RETIRED:
            raise ProviderModelGone(f"The model {RETIRED[model]}")
        return replace(request, params=params, model=model)

    async def _answer(self, url: str, headers: Mapping[str, str], body: Body) -> Answer:
        """Return Gemini's answer, if it is one of success."""
        try:
            answer = await self._http.call("POST", url, headers=headers, body=body, max_bytes=self._max_bytes)
        except NotSent:
            raise ProviderError("Gemini could not be reached") from None
        except Interrupted:
            raise ProviderError("The connection to Gemini broke", maybe_billed=True) from None
        except AnswerTooLarge:
            raise ProviderError("Gemini's answer is too large", maybe_billed=True) from None
        if not 200 <= answer.status < 300:
            retry_after = answer.headers.get("retry-after", "")
            said = complaint(answer.body, code=answer.status, retry_after=retry_after)
            raise fault_of(said)
        return answer


def _checked_key(text: str) -> str:
    # Its prefix says nothing: there have been several kinds of keys, and there will be more.
    if not re.fullmatch(r"[!-~]+", text):
        raise ValueError("must be visible ASCII characters without spaces")
    return text


def _checked_version(text: str) -> str:
    if not re.fullmatch(r"v[0-9]+(?:(?:alpha|beta)[0-9]*)?", text):
        raise ValueError("must look like v1 or v1beta")
    return text
